# SPDX-License-Identifier: Apache-2.0
"""A package of any size: a compound file of version 3, 512 byte sectors (the most work), one large stream."""

from __future__ import annotations

import os
import struct
from pathlib import Path

MIB = 1 << 20
_UNIT, _WORDS, _IN_HEADER = 512, 128, 109
_FREE, _END, _FAT, _DIFAT = 0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFFD, 0xFFFFFFFC
_INSTALLER = bytes.fromhex("84100c0000000000c000000000000046")


def make_msi(path: Path, size: int) -> None:
    """About ``size`` bytes, one random MiB over and over: stored, not sparse. The tables stand in front."""
    sectors = size // _UNIT
    tables = lists = 0
    while tables * _WORDS < sectors + 1 + tables + lists:
        tables += 1
        lists = -(-max(tables - _IN_HEADER, 0) // (_WORDS - 1))
    directory = tables + lists
    words = [_FAT] * tables + [_DIFAT] * lists + [_END]
    words += [*range(directory + 2, directory + 1 + sectors), _END]
    words += [_FREE] * (tables * _WORDS - len(words))
    with path.open("wb") as file:
        file.write(_header(tables, lists, directory))
        file.write(struct.pack(f"<{len(words)}I", *words))
        for number in range(lists):
            first = _IN_HEADER + number * (_WORDS - 1)
            row = list(range(first, min(first + _WORDS - 1, tables)))
            row += [_FREE] * (_WORDS - 1 - len(row))
            file.write(struct.pack(f"<{_WORDS}I", *row, tables + number + 1 if number + 1 < lists else _END))
        file.write(_row("Root Entry", 5, 1, _END, 0) + _row("product.cab", 2, _FREE, directory + 1, sectors * _UNIT))
        file.write((bytes(68) + b"\xff" * 12 + bytes(48)) * 2)
        block, left = os.urandom(MIB), sectors * _UNIT
        while left > 0:
            file.write(block[:left])
            left -= len(block)


def _header(tables: int, lists: int, directory: int) -> bytes:
    """MS-CFB 2.2."""
    head = struct.pack("<8s16s5H6x", bytes.fromhex("d0cf11e0a1b11ae1"), bytes(16), 0x3E, 3, 0xFFFE, 9, 6)
    head += struct.pack("<9I", 0, tables, directory, 0, 4096, _END, 0, tables if lists else _END, lists)
    listed = list(range(min(tables, _IN_HEADER)))
    return head + struct.pack(f"<{_IN_HEADER}I", *listed, *[_FREE] * (_IN_HEADER - len(listed)))


def _row(name: str, kind: int, child: int, start: int, size: int) -> bytes:
    """MS-CFB 2.6.1, without siblings."""
    raw = name.encode("utf-16-le")
    clsid = _INSTALLER if kind == 5 else bytes(16)
    row = (raw, len(raw) + 2, kind, 1, _FREE, _FREE, child, clsid, 0, 0, 0, start, size)
    return struct.pack("<64sHBB3I16sI2QIQ", *row)
