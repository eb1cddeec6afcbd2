# SPDX-License-Identifier: Apache-2.0
"""Write a cabinet: one folder, packed with MSZIP, in one pass over the files.

Sources: "Microsoft Cabinet Format" ([MS-CAB]) and "Microsoft ZIP (MSZIP) Compression and Decompression Data Structure"
([MS-MCI]). All numbers are little-endian; the head is written last, when the sizes of the blocks are known.
"""

from __future__ import annotations

import operator
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import reduce
from typing import BinaryIO

from signwright.errors import FormatError
from signwright.model.view import View, blocks

BLOCK = 1 << 15
MAX_FILES, MAX_BLOCKS, MAX_NAME = 65_535, 65_535, 255
_HEADER = struct.Struct("<4s5I2B5H")
_FOLDER = struct.Struct("<I2H")
_FILE = struct.Struct("<2I4H")
_DATA = struct.Struct("<I2H")
_MSZIP = 1
_ARCHIVE, _NAME_IS_UTF8 = 0x20, 0x80


@dataclass(frozen=True, slots=True)
class Packed:
    r"""``name``: as in the cabinet, folders with ``\``."""

    name: str
    view: View


def write_cabinet(out: BinaryIO, files: Sequence[Packed], *, moment: datetime) -> None:
    """``out``: empty and seekable; ``moment``: the date of every file. The same arguments give the same bytes.

    Raises `FormatError` for names, numbers and sizes that a cabinet has no place for.
    """
    records = _records(files, moment)
    count = -(-sum(file.view.size for file in files) // BLOCK)
    if count > MAX_BLOCKS:
        raise FormatError(f"a cabinet takes {MAX_BLOCKS * BLOCK} bytes in one folder, these are more", code="too-large")
    start = _HEADER.size + _FOLDER.size
    out.write(bytes(start) + records)
    size = start + len(records)
    before = b""
    for block in _evenly(files):
        packed = _packed(block, before)
        out.write(packed)
        size += len(packed)
        before = block
    out.seek(0)
    out.write(_HEADER.pack(b"MSCF", 0, size, 0, start, 0, 3, 1, 1, len(files), 0, 0, 0))
    out.write(_FOLDER.pack(start + len(records), count, _MSZIP))
    out.seek(size)


def _records(files: Sequence[Packed], moment: datetime) -> bytes:
    """The CFFILE table."""
    if not files or len(files) > MAX_FILES or len({file.name.casefold() for file in files}) != len(files):
        raise FormatError(f"{len(files)} files: none, too many, or two of one name", code="bad-names")
    if not 1980 <= moment.year <= 2107:
        raise FormatError(f"a cabinet has no place for the year {moment.year}", code="bad-date")
    date = (moment.year - 1980) << 9 | moment.month << 5 | moment.day
    time = moment.hour << 11 | moment.minute << 5 | moment.second // 2
    rows, at = [], 0
    for file in files:
        name = file.name.encode()
        if not name or len(name) > MAX_NAME or b"\0" in name:
            raise FormatError(f"name {file.name[:60]!r} does not fit into a cabinet", code="bad-names")
        flags = _ARCHIVE if name.isascii() else _ARCHIVE | _NAME_IS_UTF8
        rows.append(_FILE.pack(file.view.size, at, 0, date, time, flags) + name + b"\0")
        at += file.view.size
    return b"".join(rows)


def _evenly(files: Sequence[Packed]) -> Iterator[bytes]:
    """The contents one after the other, in blocks of 32 KiB; the last one may be shorter."""
    rest = b""
    for file in files:
        for block in blocks(file.view, 0, file.view.size):
            rest += block
            whole = len(rest) - len(rest) % BLOCK
            yield from (rest[at : at + BLOCK] for at in range(0, whole, BLOCK))
            rest = rest[whole:]
    if rest:
        yield rest


def _packed(block: bytes, before: bytes) -> bytes:
    """CFDATA: ``CK`` and a deflate stream that may point into the block before."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15, 9, zlib.Z_DEFAULT_STRATEGY, before)
    content = b"CK" + packer.compress(block) + packer.flush()
    sizes = struct.pack("<2H", len(content), len(block))
    return _DATA.pack(_checksum(sizes, _checksum(content, 0)), len(content), len(block)) + content


def _checksum(content: bytes, seed: int) -> int:
    """[MS-CAB] 3.1: exclusive or of 32-bit words; of up to three bytes left over the first counts most."""
    whole = len(content) - len(content) % 4
    words = struct.unpack(f"<{whole // 4}I", content[:whole])
    return reduce(operator.xor, words, seed) ^ int.from_bytes(content[whole:], "big")
