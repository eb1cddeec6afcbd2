# SPDX-License-Identifier: Apache-2.0
"""What stands in a compound file and belongs to nothing. It is somebody else's: it stays, and no room is taken there.

Programs leave old content in free sectors and behind the ends of streams. Who compares a file before and after signing
would not know it from bytes that were hidden there meanwhile, if a signature could make it vanish or move.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Sequence

from signwright.containers.cfb import (
    BLACK,
    EMPTY,
    END,
    ENTRY_SIZE,
    FREE,
    MINI_CUTOFF,
    MINI_SECTOR,
    NO_ENTRY,
    CompoundFile,
    Entry,
)
from signwright.errors import FormatError

#: An entry that is not in use (MS-CFB 2.6.1).
EMPTY_ENTRY = bytes(68) + b"\xff" * 12 + bytes(48)
_FIRST_MINI_FAT = 0x3C
_NOWHERE = (END, FREE, 0)


def is_zero(content: bytes) -> bool:
    return content == bytes(len(content))


def is_blank(file: CompoundFile, sector: int) -> bool:
    """Whether nothing but zeros stands in a sector, as far as the file has it."""
    return is_zero(_read(file, file.offset(sector), file.sector_size))


def is_blank_mini(file: CompoundFile, sector: int) -> bool:
    return is_zero(_read(file, file.mini_offset(sector), MINI_SECTOR))


def is_blank_entry(raw: bytes) -> bool:
    """Whether an entry that is not in use says nothing."""
    return is_zero(raw[:68] + raw[80:]) and all(word in {0, NO_ENTRY} for word in struct.unpack_from("<3I", raw, 68))


def without_stream(raw: bytes) -> bytearray:
    """The entry of a stream after its removal: one that is not in use, with what stood in fields that a stream of the
    signature does not have.
    """
    left = bytearray(raw)
    length = int.from_bytes(raw[64:66], "little")
    for start, end in ((0, length), (64, 76), (116, 124)):
        left[start:end] = EMPTY_ENTRY[start:end]
    if left[76:80] == bytes(4):
        left[76:80] = EMPTY_ENTRY[76:80]
    return left


def behind_stream(file: CompoundFile, offset: int, size: int, used: int) -> bytes:
    """The ``size`` bytes at ``offset``, zeros in place of the first ``used`` ones, which a stream holds."""
    return bytes(used) + _read(file, offset, size)[used:]


def behind_mini_stream(file: CompoundFile) -> bytes:
    """What stands behind the last mini sector in the sector that holds it."""
    used = file.mini_sectors * MINI_SECTOR % file.sector_size
    return _read(file, file.offset(file.mini_places[-1]), file.sector_size)[used:] if used else b""


def check_fields(file: CompoundFile, released: Sequence[Entry]) -> None:
    """Raise `FormatError` for odd words in fields that will have to say something else once the file is signed."""
    if not file.mini_fat_places and file.header.first_mini_fat not in _NOWHERE:
        raise FormatError("the header has a place for no mini FAT", offset=_FIRST_MINI_FAT, code="cfb-header")
    for entry in (file.root, *released):
        if not entry.size and entry.start not in _NOWHERE:
            raise _bad(file, entry, "a place for no content")
    for entry in file.children(file.root):
        if entry.color > BLACK:
            raise _bad(file, entry, f"color {entry.color}")
    first = file.mini_sectors
    if any(word not in {FREE, END} for word in file.mini_fat[first : first + 2 * MINI_CUTOFF // MINI_SECTOR]):
        raise FormatError("the mini FAT goes on behind the mini stream", code="cfb-fat")


def check_end(file: CompoundFile, given: Collection[int], count: int, before: int) -> None:
    """Raise `FormatError` (``data-behind-content``) when the file would end at sector ``count``, since the room of the
    old signature behind it is ``given`` back, and something else stands between it and sector ``before``.
    """
    reached = len(file.fat_places) * file.per_sector
    for sector in range(count, before):
        if sector not in given and not (is_blank(file, sector) and (sector >= reached or file.next(sector) == FREE)):
            raise FormatError(
                "data that belongs to nothing stands in front of the old signature, and would end the file",
                offset=file.offset(sector),
                code="data-behind-content",
                hint="build the file again, or have Windows Installer save it",
            )


def unused_entries(file: CompoundFile) -> list[int]:
    """Numbers of entries that may be taken, the first at the end."""
    return [
        entry.index
        for entry in reversed(file.entries)
        if entry.kind == EMPTY
        and is_blank_entry(file.directory[entry.index * ENTRY_SIZE : (entry.index + 1) * ENTRY_SIZE])
    ]


def _read(file: CompoundFile, offset: int, size: int) -> bytes:
    """Zeros where the file ends before."""
    return file.view.read(offset, max(min(size, file.view.size - offset), 0)).ljust(size, b"\0")


def _bad(file: CompoundFile, entry: Entry, found: str) -> FormatError:
    return FormatError(f"an entry with {found}", offset=file.entry_offset(entry.index), code="cfb-directory")
