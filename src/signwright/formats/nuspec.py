# SPDX-License-Identifier: Apache-2.0
"""Identity of a NuGet package, from its ``.nuspec``: an XML document of which three elements are read.

Source: ".nuspec reference" (NuGet). The document comes from whoever made the package: no DTD and so no entities, one
encoding, bounded depth and size. Names are compared without their namespace, of which there have been several.
"""

from __future__ import annotations

import re

from signwright.errors import FormatError, MalformedError
from signwright.model.operation import Parameter
from signwright.model.strict_xml import local_names, read_xml
from signwright.model.text import check_text

MAX_NUSPEC = 1 << 20
MAX_TEXT = 1024

_WANTED = ("id", "version", "authors")
#: NuGet's own rule for names of packages, and the characters of a version (SemVer 2 with up to four numbers).
_ID = re.compile(r"\w+(?:[.-]\w+)*")
_VERSION = re.compile(r"[0-9A-Za-z.+-]{1,128}")
_ENCODINGS = frozenset({"utf-8", "utf8", "us-ascii", "utf-16"})


def nuspec_facts(content: bytes) -> dict[str, Parameter]:
    """``id``, ``version`` and, where it stands there, ``authors``. Raises `FormatError` (``bad-nuspec``)."""
    reading = _Reading()
    text = _as_utf8(content)
    read_xml(
        text,
        what=".nuspec",
        code="bad-nuspec",
        start=reading.start,
        end=reading.end,
        text=reading.characters,
        encodings=_ENCODINGS if text == content else None,
    )
    return reading.facts()


def _bad(found: str) -> FormatError:
    return FormatError(f".nuspec: {found}", code="bad-nuspec")


def _as_utf8(content: bytes) -> bytes:
    """UTF-16 is known by its byte order mark; anything else has to be UTF-8."""
    wide = content[:2] in {b"\xff\xfe", b"\xfe\xff"}
    try:
        text = content.decode("utf-16" if wide else "utf-8")
    except UnicodeDecodeError as problem:
        raise _bad("neither UTF-8 nor UTF-16") from problem
    return text.encode() if wide else content


class _Reading:
    """Handlers of one document."""

    def __init__(self) -> None:
        self._found: dict[str, str] = {}
        self._current: str | None = None

    def start(self, path: tuple[str, ...], attributes: dict[str, str], offset: int) -> None:
        del attributes, offset
        names = local_names(path)
        local = names[-1]
        if self._current is not None:
            raise _bad(f"element {local[:60]!r} where none is wanted")
        if len(names) == 3 and names[:2] == ("package", "metadata") and local in _WANTED:
            if local in self._found:
                raise _bad(f"{local} stands twice")
            self._found[local], self._current = "", local

    def end(self, path: tuple[str, ...], offset: int) -> None:
        del path, offset
        self._current = None

    def characters(self, text: str) -> None:
        if self._current is not None:
            self._found[self._current] += text
            if len(self._found[self._current]) > MAX_TEXT:
                raise _bad(f"{self._current} is longer than {MAX_TEXT} characters")

    def facts(self) -> dict[str, Parameter]:
        values = {name: " ".join(text.split()) for name, text in self._found.items()}
        for name, form in (("id", _ID), ("version", _VERSION)):
            if not form.fullmatch(values.get(name, "")) or len(values[name]) > 128:
                raise _bad(f"{name} {values.get(name, '')[:60]!r} is none")
        try:
            return {name: check_text(text, name) for name, text in values.items() if text}
        except MalformedError as problem:
            raise _bad(problem.message) from problem
