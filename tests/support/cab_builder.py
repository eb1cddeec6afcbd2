# SPDX-License-Identifier: Apache-2.0
"""Small cabinets, structure by structure, with every mistake that a test wants in them."""

from __future__ import annotations

import functools
import operator
import struct
import zlib
from dataclasses import dataclass, replace

from signwright.formats.cab import CabFormat
from signwright.model.patch import Patch
from signwright.model.view import View
from tests.support import signed_files
from tests.support.pki import Identity

STORED, MSZIP, QUANTUM, LZX = 0, 1, 2, 0x1503
BLOCK = 1 << 15


@dataclass(frozen=True)
class Folder:
    """``files``: name and content of each; ``records``: CFFILE as (name, size, offset, folder index) instead of those
    that follow from ``files``; ``method``: of the packing; ``block``: unpacked bytes in each CFDATA.
    """

    files: tuple[tuple[str, bytes], ...] = (("a.txt", b"hello" * 100), ("b.bin", bytes(range(256)) * 3))
    method: int = MSZIP
    records: tuple[tuple[str, int, int, int], ...] | None = None
    block: int = BLOCK
    checksums: bool = True


@dataclass(frozen=True)
class Cab:
    """A cabinet to be built. ``reserves``: in the header (its content), in each folder and block (their size), None
    without the flag; ``previous`` and ``following``: name and disk of the neighbours; ``gap``: bytes between the folder
    table and the files; ``behind``: bytes after the cabinet; ``size``: overrides cbCabinet.
    """

    folders: tuple[Folder, ...] = (Folder(),)
    reserves: tuple[bytes, int, int] | None = None
    previous: tuple[str, str] | None = None
    following: tuple[str, str] | None = None
    index: int = 0
    set_id: int = 1815
    gap: bytes = b""
    behind: bytes = b""
    size: int | None = None
    flags: int = 0
    version: tuple[int, int] = (1, 3)
    reserved: tuple[int, int, int] = (0, 0, 0)

    def build(self) -> bytes:
        header_reserve, folder_reserve, data_reserve = self.reserves or (b"", 0, 0)
        flags = self.flags | (4 if self.reserves else 0) | (1 if self.previous else 0) | (2 if self.following else 0)
        lead = struct.pack("<H2B", len(header_reserve), folder_reserve, data_reserve) if self.reserves else b""
        lead += header_reserve
        for neighbour in (self.previous, self.following):
            lead += b"".join(name.encode() + b"\0" for name in neighbour or ())
        files = b"".join(_records(folder, number) for number, folder in enumerate(self.folders))
        files_at = 36 + len(lead) + len(self.folders) * (8 + folder_reserve) + len(self.gap)
        table, data, at = b"", b"", files_at + len(files)
        for folder in self.folders:
            blocks = _blocks(folder, data_reserve)
            table += struct.pack("<I2H", at, len(blocks), folder.method) + b"r" * folder_reserve
            data += b"".join(blocks)
            at += sum(map(len, blocks))
        size = at if self.size is None else self.size
        count = sum(len(folder.records if folder.records is not None else folder.files) for folder in self.folders)
        one, two, three = self.reserved
        head = struct.pack("<4s5I2B", b"MSCF", one, size, two, files_at, three, *reversed(self.version))
        head += struct.pack("<5H", len(self.folders), count, flags, self.set_id, self.index)
        return head + lead + table + self.gap + files + data + self.behind

    def but(self, **changes: object) -> Cab:
        return replace(self, **changes)  # type: ignore[arg-type]


def compact_cab() -> bytes:
    """A small genuine cabinet, the same with each call."""
    return SHAPES["mszip"].build()


def cabinet(*files: tuple[str, bytes], method: int = MSZIP) -> bytes:
    """A cabinet with one folder."""
    return Cab(folders=(Folder(files=files, method=method),)).build()


def _records(folder: Folder, number: int) -> bytes:
    records, at = [], 0
    for name, content in folder.files:
        records.append((name, len(content), at, number))
        at += len(content)
    if folder.records is not None:
        records = list(folder.records)
    out = b""
    for name, size, offset, index in records:
        attributes = 0x20 if name.isascii() else 0xA0
        out += struct.pack("<2I4H", size, offset, index, 0x5679, 0x6000, attributes) + name.encode() + b"\0"
    return out


def _blocks(folder: Folder, reserve: int) -> list[bytes]:
    content = b"".join(body for _, body in folder.files)
    made, history = [], b""
    for at in range(0, len(content), folder.block):
        piece = content[at : at + folder.block]
        packed = piece
        if folder.method == MSZIP:
            engine = zlib.compressobj(9, zlib.DEFLATED, -15, zdict=history) if history else _plain()
            packed = b"CK" + engine.compress(piece) + engine.flush()
            history = piece
        head = struct.pack("<2H", len(packed), len(piece)) + b"d" * reserve
        checksum = checksum_by_the_book(packed) ^ checksum_by_the_book(head) if folder.checksums else 0
        made.append(struct.pack("<I", checksum) + head + packed)
    return made


def _plain() -> zlib._Compress:
    return zlib.compressobj(9, zlib.DEFLATED, -15)


def checksum_by_the_book(content: bytes) -> int:
    """[MS-CAB] 2.5 word by word."""
    whole = len(content) // 4 * 4
    words = struct.unpack(f"<{whole // 4}I", content[:whole])
    return functools.reduce(operator.xor, words, int.from_bytes(content[whole:], "big"))


def signature_reserve(offset: int = 0, size: int = 0, mark: int = 0x00100000) -> bytes:
    """The 20 bytes that name a signature."""
    return struct.pack("<3I8x", mark, offset, size)


#: One of each shape that signing must cope with.
SHAPES = {
    "mszip": Cab(),
    "stored": Cab(folders=(Folder(method=STORED),)),
    "lzx": Cab(folders=(Folder(method=LZX),)),
    "two-folders": Cab(folders=(Folder(), Folder(files=(("c", b"third" * 9),), method=STORED))),
    "several-blocks": Cab(folders=(Folder(files=(("long.txt", b"0123456789abcdef" * 5000),)),)),
    "empty-file": Cab(folders=(Folder(files=(("empty", b""), ("one", b"1"))),)),
    "first-of-a-set": Cab(following=("disk2.cab", "Disk 2")),
    "second-of-a-set": Cab(previous=("disk1.cab", "Disk 1"), index=1),
    "between-two-of-a-set": Cab(previous=("1.cab", ""), following=("3.cab", "Disk 3"), index=1),
    "reserve-without-size": Cab(reserves=(b"", 0, 0)),
    "reserve-of-20-zeros": Cab(reserves=(bytes(20), 0, 0)),
    "reserve-for-a-signature": Cab(reserves=(signature_reserve(), 0, 0)),
    "reserve-of-6144-zeros": Cab(reserves=(bytes(6144), 0, 0)),
    "no-checksums": Cab(folders=(Folder(checksums=False),)),
}


def sign_view(view: View, signer: Identity | None = None, **options: object) -> Patch:
    """The sealed patch of `CabFormat`."""
    return signed_files.sign_view(CabFormat(), view, signer, **options)


def sign(source: bytes, signer: Identity | None = None, **options: object) -> bytes:
    """The signed file."""
    return signed_files.sign(CabFormat(), source, signer, **options)
