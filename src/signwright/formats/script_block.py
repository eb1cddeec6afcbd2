# SPDX-License-Identifier: Apache-2.0
"""Signature blocks of scripts: base64 of the CMS structure in comments, with CRLF, behind an empty line end.

Sources: blocks as Windows writes them (``about_Signing`` for PowerShell, "Digitally Signing Scripts" for the Windows
Script Host): 64 characters of base64 a line for PowerShell, 44 for the others.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable
from dataclasses import dataclass

from signwright.errors import FormatError
from signwright.formats.authenticode import MAX_ENVELOPE
from signwright.formats.script_text import TextEncoding
from signwright.model.view import View

#: Characters of the longest block that is looked for: 1 MiB of CMS in base64, in lines of 44 with 16 around them.
MAX_BLOCK = MAX_ENVELOPE * 2
MAX_LINES = 60_000
_MAX_BASE64 = 200
_BASE64 = re.compile(r"[A-Za-z0-9+/=]++")


@dataclass(frozen=True, slots=True)
class Style:
    """How a block is written: whole first and last line, what stands around each line of base64, and how many
    characters of it.
    """

    begin: str
    end: str
    opening: str
    closing: str
    width: int

    def write(self, envelope: bytes, encoding: TextEncoding) -> bytes:
        """The block from the line end before it to the line end behind it, in the encoding of the script."""
        text = base64.b64encode(envelope).decode("ascii")
        lines = [
            self.opening + text[start : start + self.width] + self.closing for start in range(0, len(text), self.width)
        ]
        return "\r\n".join(("", self.begin, *lines, self.end, "")).encode(encoding.codec)


@dataclass(frozen=True, slots=True)
class Block:
    """A block that was found: bytes from ``start`` to ``end`` of the file, written in ``style``, and what its lines
    hold, which need not be a signature.
    """

    start: int
    end: int
    style: str
    content: bytes


def find_block(view: View, encoding: TextEncoding, styles: Iterable[tuple[str, Style]], end: int) -> Block | None:
    """The block that ends at ``end``, or None; raises `FormatError` (``bad-signature-block``) for a broken one."""
    length = min(end - len(encoding.mark), MAX_BLOCK * encoding.unit)
    length -= length % encoding.unit
    # Only ASCII is looked for: a pair that is cut in two, or is none, must not get in its way.
    codec = "latin-1" if encoding.unit == 1 else encoding.codec
    tail = view.read(end - length, length).decode(codec, "replace")
    for name, style in styles:
        if not tail.endswith(f"\r\n{style.end}\r\n"):
            continue
        start = tail.rfind(f"\r\n{style.begin}\r\n")
        if start < 0:
            raise _broken("its last line without a first one", end)
        if tail.count("\r\n", start) > MAX_LINES:
            raise _broken(f"more than {MAX_LINES} lines", end)
        # The block is ASCII, whatever the text before it is.
        begin = end - len(tail[start:]) * encoding.unit
        content = _content(tail[start:].split("\r\n")[2:-2], style, _Lines(begin, style, encoding.unit))
        return Block(begin, end, name, content)
    return None


@dataclass(frozen=True, slots=True)
class _Lines:
    """Where the lines of a block stand: it begins at ``begin``, with a line end."""

    begin: int
    style: Style
    unit: int

    def broken(self, lines: list[str], at: int, found: str) -> FormatError:
        before = 2 + len(self.style.begin) + 2 + sum(len(line) + 2 for line in lines[:at])
        return _broken(f"{found} (its line {at + 2})", self.begin + before * self.unit)


def _content(lines: list[str], style: Style, place: _Lines) -> bytes:
    """What the lines hold, in the one way in which it is written: base64 has others, which readers take differently."""
    stripped = []
    for at, line in enumerate(lines):
        inner = line.removeprefix(style.opening).removesuffix(style.closing)
        if len(line) - len(inner) != len(style.opening) + len(style.closing) or not inner:
            raise place.broken(lines, at, "a line that is none of it")
        if len(inner) > _MAX_BASE64 or not _BASE64.fullmatch(inner):
            raise place.broken(lines, at, "a line that is not base64")
        stripped.append(inner)
    text = "".join(stripped)
    if not text:
        raise _broken("nothing between its first and its last line", place.begin)
    ending = next((at for at, line in enumerate(stripped) if "=" in line), len(stripped) - 1)
    try:
        content = base64.b64decode(text, validate=True)
    except binascii.Error as problem:
        raise place.broken(lines, ending, "a line that does not end as base64 does") from problem
    if base64.b64encode(content).decode("ascii") != text:
        raise place.broken(lines, ending, "a line that does not end as base64 does in its one form")
    return content


def _broken(found: str, end: int) -> FormatError:
    return FormatError(
        f"a signature block with {found}", offset=end, code="bad-signature-block", hint="remove the old block by hand"
    )
