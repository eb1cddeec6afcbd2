# SPDX-License-Identifier: Apache-2.0
"""What tells one kind of script from another: names, comments, encodings, and where the block stands."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pydantic import field_validator

from signwright.formats.authenticode import AuthenticodeOptions, Existing
from signwright.formats.script_block import Style
from signwright.formats.script_text import HEAD, TextEncoding
from signwright.model.view import View

#: Elements that a script file of the Windows Script Host has outermost, and no XML file of PowerShell.
HOST_ROOTS = frozenset({"job", "package"})


class ScriptOptions(AuthenticodeOptions):
    """``convert``: rewrite text that Windows could read in more than one way (line ends become CRLF, other encodings
    one with a byte order mark); without it such text is refused.
    """

    convert: bool = False

    @field_validator("existing")
    @classmethod
    def _one_block(cls, existing: Existing) -> Existing:
        if existing is Existing.APPEND:
            raise ValueError("existing: a script has one signature block; refuse or replace")
        return existing


@dataclass(frozen=True, slots=True)
class Family:
    """One kind of script. ``styles``: how its blocks may be written; ``signature``: what looks like one in the text,
    which for that is `folded` where ``folds``; ``accepted``: encodings that every Windows reads alike; ``target``: what
    others are rewritten to; ``style_of``: from the head of the text and the options to a style, or `FormatError`;
    ``belongs``: whether a head can be of this kind; ``place_of``: where the block ends, in bytes; ``check_place``:
    raises `FormatError` where the text around a block, from start to end in bytes, can be read in a way that gives it
    no place there.
    """

    name: str
    title: str
    file_names: tuple[str, ...]
    options: type[ScriptOptions]
    verifiers: tuple[str, ...]
    styles: Mapping[str, Style]
    signature: re.Pattern[str]
    accepted: frozenset[TextEncoding]
    target: TextEncoding
    digests_mark: bool
    style_of: Callable[[str, ScriptOptions], str]
    belongs: Callable[[str], bool]
    place_of: Callable[[View, TextEncoding], int]
    folds: bool = True
    check_place: Callable[[View, TextEncoding, int, int], None] | None = None


def end_of_file(view: View, encoding: TextEncoding) -> int:
    """The place of a block that stands at the end of the script."""
    del encoding
    return view.size


def end_text(view: View, encoding: TextEncoding, end: int) -> str:
    """Up to `HEAD` bytes before ``end``, read as ASCII characters where it is ASCII."""
    length = min(end - len(encoding.mark), HEAD)
    return view.read(end - length, length).decode(encoding.codec, "replace")
