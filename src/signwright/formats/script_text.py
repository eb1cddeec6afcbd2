# SPDX-License-Identifier: Apache-2.0
"""Scripts as text: which encoding, which line ends, and the one form in which every Windows reads them alike.

Windows digests a script as the UTF-16 text that it reads, and what it reads depends on the byte order mark and, without
one, on the code page of the machine. Text of which that could differ is never signed as it is.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from signwright.errors import FormatError
from signwright.model.view import View, blocks

HEAD = 4 << 10
PIECE = 256 << 10

_UTF32 = (b"\xff\xfe\0\0", b"\0\0\xfe\xff")
_BINARY = re.compile(r"[\x00-\x06\x0e-\x19\x1c-\x1f]")
_SPACES = re.compile(r"[^\S\r\n]+")
_DECLARATION = re.compile(r"<\?xml\s[^>]*>")
_DECLARED = re.compile(r"\sencoding\s*=\s*[\"']([^\"']*)[\"']")
_ROOT = re.compile(r"<([A-Za-z_][\w.:-]*)")


class TextEncoding(StrEnum):
    """How a script is written. ``UTF8`` is without a mark; ``ASCII`` is `UTF8` in which nothing needs a mark."""

    ASCII = "ascii"
    UTF8 = "utf-8"
    UTF8_BOM = "utf-8-bom"
    UTF16_LE = "utf-16le-bom"
    UTF16_BE = "utf-16be-bom"

    @property
    def mark(self) -> bytes:
        """The byte order mark, or nothing."""
        return _MARKS.get(self, b"")

    @property
    def codec(self) -> str:
        return _CODECS.get(self, "utf-8")

    @property
    def unit(self) -> int:
        """Bytes of an ASCII character."""
        return 2 if self in _CODECS else 1


_MARKS = {
    TextEncoding.UTF8_BOM: codecs.BOM_UTF8,
    TextEncoding.UTF16_LE: codecs.BOM_UTF16_LE,
    TextEncoding.UTF16_BE: codecs.BOM_UTF16_BE,
}

_CODECS = {TextEncoding.UTF16_LE: "utf-16-le", TextEncoding.UTF16_BE: "utf-16-be"}

#: Names that an XML declaration may give, by how the file is written. ASCII reads the same under all of its three.
_DECLARABLE = {
    TextEncoding.ASCII: ("utf-8", "us-ascii", "ascii", "iso-8859-1", "windows-1252"),
    TextEncoding.UTF8_BOM: ("utf-8",),
    TextEncoding.UTF16_LE: ("utf-16", "utf-16le"),
}


def encoding_of(view: View) -> TextEncoding:
    """What the byte order mark says, `TextEncoding.UTF8` without one; raises `FormatError` for UTF-32."""
    start = view.read(0, min(4, view.size))
    if start in _UTF32:
        raise FormatError(
            "text in UTF-32, which Windows does not read as a script", code="encoding", hint="save it as UTF-8 with BOM"
        )
    return next((encoding for encoding, mark in _MARKS.items() if start.startswith(mark)), TextEncoding.UTF8)


def head_of(view: View, encoding: TextEncoding, end: int | None = None) -> str:
    """The beginning of the text without its mark, of what lies before ``end`` (in bytes; the whole file without it);
    what does not decode, or is cut in two, reads as U+FFFD.
    """
    start = len(encoding.mark)
    return view.read(start, min(HEAD, (view.size if end is None else end) - start)).decode(encoding.codec, "replace")


def looks_like_text(view: View) -> bool:
    """Whether the head is text: cheap, and false for programs, archives and other binary files."""
    if not view.size:
        return False
    try:
        encoding = encoding_of(view)
    except FormatError:
        return False
    return _BINARY.search(head_of(view, encoding)) is None


def is_xml(head: str) -> bool:
    """XML begins with ``<``; ``<#`` begins a comment of PowerShell."""
    text = head.lstrip()
    return text.startswith("<") and not text.startswith("<#")


def xml_root(head: str) -> str | None:
    """Name of the first element in ``head``."""
    found = _ROOT.search(head) if is_xml(head) else None
    return found.group(1) if found else None


def check_declaration(head: str, encoding: TextEncoding) -> None:
    """Raise `FormatError` when XML declares another encoding than ``encoding``: programs would read it differently."""
    if not re.match(r"<\?xml\s", head.lstrip()):
        return
    declaration = _DECLARATION.match(head.lstrip())
    if declaration is None:
        raise FormatError(f"an XML declaration of more than {HEAD} bytes", code="encoding")
    declared = _DECLARED.search(declaration.group())
    if declared and declared.group(1).lower() not in _DECLARABLE[encoding]:
        raise FormatError(
            f"XML declares encoding {declared.group(1)[:40]!a}, the text is {encoding}",
            code="encoding",
            hint=f"declare {_DECLARABLE[encoding][0]}",
        )


def folded(text: str) -> str:
    """``text`` without white space other than line ends, and without differences of letter case."""
    return _SPACES.sub("", text).casefold()


@dataclass(slots=True)
class Survey:
    """What a pass over the text of a script has seen. ``codec``: of the file, to count bytes; ``signature``: what must
    not stand in the text, behind the line end before it, with ``folds`` in text that was `folded`; every piece given
    to `take` continues the one before.
    """

    codec: str
    signature: re.Pattern[str]
    folds: bool
    crlf: int = 0
    lf: int = 0
    cr: int = 0
    is_ascii: bool = True
    _before: str = "\n"
    _folded_before: str = "\n"

    def take(self, offset: int, piece: str) -> None:
        """``offset``: of the piece, in bytes. Raises `FormatError` for what no conversion mends."""
        for character, name in (("\0", "NUL"), ("\x1a", "U+001A"), ("\ufffe", "U+FFFE")):
            if character in piece:
                raise FormatError(
                    f"the text holds {name}, at which programs stop or guess",
                    offset=offset + self._bytes(piece[: piece.index(character)]),
                    code="bad-character",
                )
        if self._before == "\n" and piece.startswith("\ufeff"):
            raise FormatError("a second byte order mark", offset=offset, code="bad-character")
        self._check_signature(offset, piece)
        crlf = piece.count("\r\n")
        self.crlf += crlf
        self.lf += piece.count("\n") - crlf
        self.cr += piece.count("\r") - crlf
        self.is_ascii = self.is_ascii and piece.isascii()

    def _check_signature(self, offset: int, piece: str) -> None:
        window = self._folded_before + (folded(piece) if self.folds else piece)
        if self.signature.search(window) is not None:
            raise FormatError(
                "a signature block, or what looks like one, in the middle of the text, twice, written otherwise than "
                "Windows writes it, or with LF line ends",
                offset=offset + self._bytes(piece[: self._place_in(piece)]),
                code="signature-in-text",
                hint="remove the old block, or restore its CRLF line ends",
            )
        self._folded_before = window[-64:]
        self._before = (self._before + piece)[-64:]

    def _place_in(self, piece: str) -> int:
        """Where in ``piece`` the line with the signature begins; its beginning when that is in a piece before."""
        window = self._before + piece
        for line in re.finditer(r"[\r\n][^\r\n]*", window):
            if self.signature.search(folded(line.group()) if self.folds else line.group()):
                return max(line.start() + 1 - len(self._before), 0)
        return 0

    def _bytes(self, text: str) -> int:
        return len(text.encode(self.codec))

    @property
    def line_ends(self) -> str:
        """``crlf``, ``lf``, ``cr``, ``mixed``, or ``none`` for a single line."""
        found = [name for name, count in (("crlf", self.crlf), ("lf", self.lf), ("cr", self.cr)) if count]
        return "mixed" if len(found) > 1 else found[0] if found else "none"


def text_pieces(content: Iterable[bytes], codec: str, offset: int) -> Iterator[tuple[int, str]]:
    """Decoded text with the byte offset at which each piece begins; none ends between CR and LF.

    Raises `FormatError` for bytes that are not of the encoding.
    """
    decoder = codecs.getincrementaldecoder(codec)("strict")
    unit = len("\r".encode(codec))
    held, at, done = "", offset, offset
    for block in _with_end(content):
        buffered = len(decoder.getstate()[0])
        try:
            text = held + decoder.decode(block or b"", final=block is None)
        except UnicodeDecodeError as problem:
            where = done - buffered + problem.start
            raise FormatError(
                f"bytes that are not {codec}", offset=where, code="encoding", hint="save it as UTF-8 with BOM"
            ) from problem
        done += len(block or b"")
        held = "\r" if block is not None and text.endswith("\r") else ""
        if text[: len(text) - len(held)]:
            yield at, text[: len(text) - len(held)]
        at = done - len(decoder.getstate()[0]) - len(held) * unit


def _with_end(content: Iterable[bytes]) -> Iterator[bytes | None]:
    yield from content
    yield None


def read_range(view: View, start: int, end: int) -> Iterator[bytes]:
    """The bytes of a range in blocks that leave memory small when decoded."""
    return blocks(view, start, end - start, PIECE)


def with_crlf(text: str) -> str:
    """Every line end (CRLF, CR or LF) as CRLF; text that has no other is returned as it is."""
    return text.replace("\r\n", "\n").replace("\r", "\n").replace("\n", "\r\n")
