# SPDX-License-Identifier: Apache-2.0
"""One pass over a script: where its block stands, what its text is like, its digest, and the text rewritten."""

from __future__ import annotations

import base64
import codecs
import hashlib
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from signwright.errors import FormatError
from signwright.formats.script_block import Block, find_block
from signwright.formats.script_family import Family, ScriptOptions
from signwright.formats.script_text import Survey, TextEncoding, encoding_of, read_range, text_pieces, with_crlf
from signwright.formats.state import bad_state
from signwright.model.digest import Digest
from signwright.model.view import View

MAX_SCRIPT = 64 << 20
#: Largest text that is rewritten, and what of it travels with what was prepared.
MAX_CONVERTED = 4 << 20
MAX_PACKED = 960 << 10
_BY_HAND = "save it with CRLF line ends, as UTF-8 with BOM, before it is signed"
_UTF16 = "utf-16-le"
#: Line ends that every Windows digests alike.
FINE_LINE_ENDS = ("crlf", "none")


@dataclass(frozen=True, slots=True)
class Found:
    """Where things lie in a script: its block, or the place for one, from ``start`` to ``end``."""

    encoding: TextEncoding
    block: Block | None
    start: int
    end: int


def find_script(family: Family, view: View) -> Found:
    """Where the block of a script stands, or belongs; raises `FormatError`."""
    encoding = encoding_of(view)
    if (view.size - len(encoding.mark)) % encoding.unit:
        raise FormatError("half a character at the end", offset=view.size - 1, code="encoding")
    end = family.place_of(view, encoding)
    block = find_block(view, encoding, family.styles.items(), end)
    found = Found(encoding, block, block.start if block else end, end)
    size = view.size - (found.end - found.start)
    if size <= len(encoding.mark):
        raise FormatError("an empty script", code="empty")
    if size > MAX_SCRIPT:
        raise FormatError(f"a script of {size} bytes, at most {MAX_SCRIPT} are signed", code="too-large")
    if family.check_place is not None:
        family.check_place(view, encoding, found.start, found.end)
    return found


class ScriptReading:
    """One pass over the script: digest of the source, what is strange in the text, digest of the text with CRLF.

    Text that is not rewritten has no other line ends, so that one digest serves both.
    """

    def __init__(self, family: Family, found: Found, options: ScriptOptions) -> None:
        self._family = family
        self._found = found
        self.source = hashlib.sha256()
        self.survey = Survey(found.encoding.codec, family.signature, family.folds)
        self._algorithm = algorithm = options.digest.value
        kinds = {True: codecs.BOM_UTF16_LE, False: b""} if family.digests_mark else {False: b""}
        self._digests = {marked: hashlib.new(algorithm, start) for marked, start in kinds.items()}
        self._units = 0
        self._kept: list[str] | None = [] if options.convert else None
        self._kept_size = self._kept_before = 0

    def take_all(self, view: View) -> None:
        """To be called once. Raises `FormatError` for what no conversion mends."""
        found, start = self._found, len(self._found.encoding.mark)
        self.source.update(view.read(0, start))
        self._take_text(view, start, found.start)
        place, self._kept_before = self._units, len(self._kept or ())
        for block in read_range(view, found.start, found.end):
            self.source.update(block)
        self._take_text(view, found.end, view.size)
        if not self._family.digests_mark:
            for digest in self._digests.values():
                digest.update(place.to_bytes(4, "little"))

    def _take_text(self, view: View, start: int, end: int) -> None:
        for offset, piece in text_pieces(self._hashed(view, start, end), self._found.encoding.codec, start):
            self.survey.take(offset, piece)
            text = with_crlf(piece)
            units = text.encode(_UTF16)
            self._units += len(units) // 2
            for digest in self._digests.values():
                digest.update(units)
            self._keep(text)

    def _hashed(self, view: View, start: int, end: int) -> Iterator[bytes]:
        for block in read_range(view, start, end):
            self.source.update(block)
            yield block

    def _keep(self, text: str) -> None:
        self._kept_size += len(text)
        if self._kept is not None and self._kept_size <= MAX_CONVERTED:
            self._kept.append(text)

    def digest(self, encoding: TextEncoding) -> Digest:
        """Of the text as it will stand in the signed file."""
        marked = self._family.digests_mark and bool(encoding.mark)
        return Digest(self._algorithm, self._digests[marked].digest())

    @property
    def written_as(self) -> TextEncoding:
        """The encoding of the source, `TextEncoding.ASCII` where no mark is needed."""
        unmarked = self._found.encoding is TextEncoding.UTF8
        return TextEncoding.ASCII if unmarked and self.survey.is_ascii else self._found.encoding

    def converted(self, encoding: TextEncoding) -> tuple[bytes, int] | None:
        """The new text in ``encoding`` and the offset of the block in it; None where nothing is to be rewritten."""
        if encoding is self.written_as and self.survey.line_ends in FINE_LINE_ENDS:
            return None
        if self._kept is None or self._kept_size > MAX_CONVERTED:
            raise FormatError(
                f"text of more than {MAX_CONVERTED} characters is not rewritten here",
                code="too-large",
                hint=_BY_HAND,
            )
        before = encoding.mark + "".join(self._kept[: self._kept_before]).encode(encoding.codec)
        return before + "".join(self._kept[self._kept_before :]).encode(encoding.codec), len(before)


def pack_text(text: bytes) -> str:
    """Base64 of the deflated text, as it travels in a prepared state; raises `FormatError` (``too-large``)."""
    packed = base64.b64encode(zlib.compress(text)).decode()
    if len(text) > MAX_CONVERTED or len(packed) > MAX_PACKED:
        raise FormatError(
            f"text of {len(text)} bytes is too large to be rewritten here", code="too-large", hint=_BY_HAND
        )
    return packed


def unpack_text(packed: str) -> bytes:
    """`pack_text` back, with its limit; raises `FormatError` (``bad-state``)."""
    try:
        inflater = zlib.decompressobj()
        text = inflater.decompress(base64.b64decode(packed, validate=True), MAX_CONVERTED)
    except (ValueError, zlib.error) as problem:
        raise bad_state("the new text") from problem
    if not inflater.eof:
        raise bad_state("the new text is too long")
    return text
