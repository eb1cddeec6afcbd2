# SPDX-License-Identifier: Apache-2.0
"""Signature blocks of scripts: base64 of the CMS structure in comments, with CRLF, behind an empty line end.

Sources: blocks as Windows writes them (``about_Signing`` for PowerShell, "Digitally Signing Scripts" for the Windows
Script Host): 64 characters of base64 a line for PowerShell, 44 for the others.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from dataclasses import dataclass

from signwright.errors import FormatError
from signwright.formats.authenticode import MAX_ENVELOPE
from signwright.formats.script_text import TextEncoding
from signwright.model.view import View

#: Characters of the longest block that is looked for: 1 MiB of CMS in base64, in lines of 44 with 16 around them.
MAX_BLOCK = MAX_ENVELOPE * 2
MAX_LINES = 60_000
_MAX_LINE = 256


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
        if not tail.endswith(style.end + "\r\n"):
            continue
        start = tail.rfind(f"\r\n{style.begin}\r\n")
        if start < 0:
            raise _broken("its last line without a first one", end)
        if tail.count("\r\n", start) > MAX_LINES:
            raise _broken(f"more than {MAX_LINES} lines", end)
        # The block is ASCII, whatever the text before it is.
        begin = end - len(tail[start:]) * encoding.unit
        content = _content(tail[start:].split("\r\n")[2:-2], style, end)
        return Block(begin, end, name, content)
    return None


def _content(lines: list[str], style: Style, end: int) -> bytes:
    stripped = []
    for line in lines:
        inner = line.removeprefix(style.opening).removesuffix(style.closing)
        if len(line) > _MAX_LINE or len(line) - len(inner) != len(style.opening) + len(style.closing):
            raise _broken("a line that is none of it", end)
        stripped.append(inner)
    try:
        content = base64.b64decode("".join(stripped).encode("ascii"), validate=True)
    except (UnicodeEncodeError, binascii.Error) as problem:
        raise _broken("lines that are not base64", end) from problem
    if not content:
        raise _broken("nothing between its first and its last line", end)
    return content


def _broken(found: str, end: int) -> FormatError:
    return FormatError(
        f"a signature block with {found}", offset=end, code="bad-signature-block", hint="remove the old block by hand"
    )
