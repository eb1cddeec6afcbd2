# SPDX-License-Identifier: Apache-2.0
"""Records of a zip archive as they are written (PKWARE APPNOTE 6.3.10): new members, moved offsets, end records."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from signwright.containers.zip import CENTRAL, LOCAL
from signwright.errors import FormatError

END = struct.Struct("<4s4H2LH")
END64 = struct.Struct("<4sQ2H2L4Q")
LOCATOR64 = struct.Struct("<4sLQL")
FULL32, FULL16 = 0xFFFFFFFF, 0xFFFF
#: Version needed (times ten) by who reads 64-bit structures.
NEEDS_ZIP64 = 45
#: The first day that a zip can name: new members have no time of their own.
NO_TIME = 0x00210000

_CENTRAL = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_UTF8, _ZIP64, _DESCRIBED = 1 << 11, 1, 1 << 3


@dataclass(frozen=True, slots=True)
class NewMember:
    """A member to be written: stored, or deflated. ``time``: MS-DOS time and date as one number; ``needed``,
    ``made_by``: versions times ten; ``extra``: extra fields of both headers.
    """

    name: str
    content: bytes
    deflate: bool = False
    time: int = NO_TIME
    needed: int = 20
    made_by: int = 20
    extra: bytes = b""

    def records(self) -> tuple[bytes, bytes]:
        """The local header with the packed content, and the record of the directory for offset 0. `FormatError`."""
        name = self.name.encode()
        packed = _deflated(self.content) if self.deflate else self.content
        if not 0 < len(name) <= FULL16 or max(len(packed), len(self.content)) >= FULL32 or len(self.extra) > FULL16:
            raise FormatError(f"a member named {self.name[:60]!r} does not fit into a zip", code="too-large")
        flags = 0 if self.name.isascii() else _UTF8
        common = (flags, 8 * self.deflate, self.time & FULL16, self.time >> 16, zlib.crc32(self.content))
        sizes = (len(packed), len(self.content), len(name), len(self.extra))
        local = _LOCAL.pack(LOCAL, self.needed, *common, *sizes) + name + self.extra + packed
        entry = _CENTRAL.pack(CENTRAL, self.made_by, self.needed, *common, *sizes, 0, 0, 0, 0, 0) + name + self.extra
        return local, entry


def _deflated(content: bytes) -> bytes:
    engine = zlib.compressobj(9, zlib.DEFLATED, -15)
    return engine.compress(content) + engine.flush()


@dataclass(frozen=True, slots=True)
class ChangedMember:
    """A member whose content changed: ``local``, ``entry``: its local header and its record of the directory as they
    were, each with everything behind it; ``crc``, ``packed``, ``size``: of the new content, of which ``data`` follows
    the header. Without a data descriptor; everything else that the headers say stays, but for 64-bit sizes.
    """

    local: bytes
    entry: bytes
    crc: int
    packed: int
    size: int
    data: bytes = b""

    def records(self) -> tuple[bytes, bytes]:
        """As `NewMember.records`."""
        if max(self.packed, self.size) >= FULL32:
            raise FormatError("a member that changes has 4 GiB or more", code="too-large")
        sizes = (self.crc, self.packed, self.size)
        row = list(_LOCAL.unpack_from(self.local))
        names, rest = row[9], self.local[_LOCAL.size :]
        extra = _narrow(rest[names : names + row[10]])
        row[2], row[6:9], row[10] = row[2] & ~_DESCRIBED, sizes, len(extra)
        local = _LOCAL.pack(*row) + rest[:names] + extra + self.data
        row = list(_CENTRAL.unpack_from(self.entry))
        names, extras, rest = row[10], row[11], self.entry[_CENTRAL.size :]
        extra = _narrow(rest[names : names + extras])
        row[3], row[7:10], row[11], row[16] = row[3] & ~_DESCRIBED, sizes, len(extra), 0
        return local, _CENTRAL.pack(*row) + rest[:names] + extra + rest[names + extras :]


def _narrow(extra: bytes) -> bytes:
    """Extra fields without that of 64-bit numbers; bytes behind the last whole field stay."""
    kept, at = b"", 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, at)
        kept += b"" if kind == _ZIP64 else extra[at : at + 4 + length]
        at += 4 + length
    return kept + extra[at:]


def records(directory: bytes, start: int) -> Iterator[tuple[int, bytes]]:
    """Each record of a directory with its offset; ``start``: of the first. `FormatError` for bytes that are none."""
    at = 0
    while at < len(directory):
        head = directory[at : at + _CENTRAL.size]
        size = _CENTRAL.size + sum(_CENTRAL.unpack(head)[10:13]) if len(head) == _CENTRAL.size else 0
        if not head.startswith(CENTRAL) or not 0 < size <= len(directory) - at:
            raise FormatError("zip: the directory is not one", offset=start + at, code="bad-state")
        yield start + at, directory[at : at + size]
        at += size


def offset_of(record: bytes) -> int:
    """The offset of the local header that a record of the directory names (APPNOTE 4.5.3). `FormatError`."""
    row = _CENTRAL.unpack_from(record)
    if row[16] != FULL32:
        return int(row[16])
    at, before = _zip64_field(record)
    if at < 0:
        raise FormatError("zip: a 64-bit offset is missing", code="zip-directory")
    return int.from_bytes(record[at + 4 + before : at + 12 + before], "little")


def placed(record: bytes, offset: int) -> bytes | None:
    """``record`` with another offset, its size kept; None where it has no room for that many bits."""
    row = _CENTRAL.unpack_from(record)
    if row[16] != FULL32:
        return record[:42] + offset.to_bytes(4, "little") + record[46:] if offset < FULL32 else None
    at, before = _zip64_field(record)
    return record[: at + 4 + before] + offset.to_bytes(8, "little") + record[at + 12 + before :]


def placed_wide(record: bytes, offset: int) -> bytes:
    """``record``, which has a 32-bit offset, with one of 64 bits. Other bytes stay as they are. `FormatError`."""
    row = list(_CENTRAL.unpack_from(record))
    at, before = _zip64_field(record)
    value = offset.to_bytes(8, "little")
    if at < 0:
        at, rest = _CENTRAL.size + row[10], record[_CENTRAL.size + row[10] :]
        grown = struct.pack("<2H", _ZIP64, len(value)) + value + rest
    else:
        size = int.from_bytes(record[at + 2 : at + 4], "little")
        middle = at + 4 + before
        grown = record[at : at + 2] + (size + 8).to_bytes(2, "little") + record[at + 4 : middle] + value
        grown += record[middle:]
    row[2], row[11], row[16] = max(row[2], NEEDS_ZIP64), row[11] + len(grown) - len(record) + at, FULL32
    if row[11] > FULL16:
        raise FormatError("zip: no room for a 64-bit offset", code="too-large")
    return _CENTRAL.pack(*row) + record[_CENTRAL.size : at] + grown


def _zip64_field(record: bytes) -> tuple[int, int]:
    """Where the 64-bit extra field of a record starts, -1 without a usable one; bytes in it before the offset."""
    row = _CENTRAL.unpack_from(record)
    before = 8 * [row[9], row[8]].count(FULL32)
    at, end = _CENTRAL.size + row[10], _CENTRAL.size + row[10] + row[11]
    while at + 4 <= end:
        kind, length = struct.unpack_from("<2H", record, at)
        if at + 4 + length > end:
            break
        if kind == _ZIP64:
            return (at, before) if length >= before + 8 * (row[16] == FULL32) else (-1, before)
        at += 4 + length
    return -1, before
