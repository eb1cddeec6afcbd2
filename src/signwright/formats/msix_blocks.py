# SPDX-License-Identifier: Apache-2.0
"""Whether a package is what its block map says: every file, in blocks of 64 KiB, while the package is read once."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Sequence

from signwright.containers.zip import Member
from signwright.errors import FormatError
from signwright.formats.msix_parts import BLOCK_SIZE, FileBlocks

_STEP = 1 << 18


class BlockCheck:
    """``expected``: members in the order of the file, each with its row of the block map."""

    def __init__(self, expected: Sequence[tuple[Member, FileBlocks]], algorithm: str) -> None:
        self._expected = expected
        self._algorithm = algorithm
        self._at = 0
        self._file: _FileCheck | None = None

    def take(self, block: memoryview, offset: int) -> None:
        """The next bytes of the package; raises `FormatError` for the first file that differs."""
        end = offset + len(block)
        while self._at < len(self._expected):
            member, blocks = self._expected[self._at]
            first, last = max(member.start, offset), min(member.start + member.packed, end)
            if member.start > end or first > last:
                return
            if self._file is None:
                self._file = _FileCheck(member, blocks, self._algorithm)
            self._file.packed(block[first - offset : last - offset])
            if member.start + member.packed > end:
                return
            self._file.finish()
            self._file = None
            self._at += 1

    def finish(self) -> None:
        """Every file was seen to its end."""
        if self._at != len(self._expected):
            raise FormatError("the package ends before its last file", code="block-map")


class _FileCheck:
    def __init__(self, member: Member, blocks: FileBlocks, algorithm: str) -> None:
        self._member, self._blocks = member, blocks
        self._algorithm = algorithm
        self._hash = hashlib.new(algorithm)
        self._engine = zlib.decompressobj(-zlib.MAX_WBITS) if member.method else None
        self._size = self._crc = self._checked = 0

    def _differs(self, what: str) -> FormatError:
        return FormatError(
            f"{self._member.name[:80]} is not what the block map says: {what}",
            offset=self._member.header,
            code="block-map",
        )

    def packed(self, piece: memoryview) -> None:
        if self._engine is None:
            self._content(piece)
            return
        waiting: bytes | memoryview = piece
        try:
            while len(waiting) and not self._engine.eof:
                self._content(memoryview(self._engine.decompress(waiting, _STEP)))
                waiting = self._engine.unconsumed_tail
        except zlib.error as problem:
            raise self._differs("it does not unpack") from problem
        if self._engine.unused_data or len(waiting):
            raise self._differs("bytes stand behind its packed end")

    def _content(self, data: memoryview) -> None:
        self._crc = zlib.crc32(data, self._crc)
        while len(data):
            room = BLOCK_SIZE - self._size % BLOCK_SIZE
            self._hash.update(data[:room])
            self._size += len(data[:room])
            if self._size > self._blocks.size:
                raise self._differs("it is longer")
            if self._size % BLOCK_SIZE == 0:
                self._compare()
            data = data[room:]

    def _compare(self) -> None:
        value, width = self._hash.digest(), self._hash.digest_size
        if self._blocks.hashes[self._checked * width : (self._checked + 1) * width] != value:
            raise self._differs(f"its block {self._checked + 1} has another hash")
        self._hash = hashlib.new(self._algorithm)
        self._checked += 1

    def finish(self) -> None:
        try:
            while self._engine is not None and not self._engine.eof and (rest := self._engine.decompress(b"", _STEP)):
                self._content(memoryview(rest))
        except zlib.error as problem:
            raise self._differs("it does not unpack") from problem
        if self._size % BLOCK_SIZE:
            self._compare()
        if self._engine is not None and not self._engine.eof:
            raise self._differs("its packed bytes end early")
        if (self._size, self._checked) != (self._blocks.size, self._blocks.count):
            raise self._differs(f"{self._size} bytes in {self._checked} blocks")
        if self._crc != self._member.crc:
            raise self._differs("its zip checksum differs")
