# SPDX-License-Identifier: Apache-2.0
"""A reader's own view of the zip that a package is (PKWARE APPNOTE 6.3.10), as narrow as Windows' own tools write it.

Members stand one behind the other from the first byte on, in the order of the directory; then the directory, the 64-bit
end records where there are any, and the end record, which ends the file. Extra fields are 64-bit ones that are needed.
Everything else is `FormatError`: programs that write such an archive anew to digest it would come to other bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from signwright.errors import FormatError
from signwright.model.view import View
from signwright.readers.zip import MAX_DIRECTORY, Entry

MAX_ENTRIES = 100_000
_END, _END_64, _LOCATOR_64 = struct.Struct("<4s4H2LH"), struct.Struct("<4sQ2H2L4Q"), struct.Struct("<4sLQL")
_RECORD, _LOCAL = struct.Struct("<4s6H3L5H2L"), struct.Struct("<4s5H3L2H")
_ALL, _ALL_16 = 0xFFFFFFFF, 0xFFFF
_DESCRIBED, _KNOWN_FLAGS = 1 << 3, 0x080E


@dataclass(frozen=True, slots=True)
class Archive:
    """``entries`` in order; the directory stands from ``directory`` to ``end``, where the end records start, the 64-bit
    ones first if ``wide``; ``records``: its bytes.
    """

    entries: tuple[Entry, ...]
    directory: int
    end: int
    records: bytes
    tail: bytes
    wide: bool

    def directory_without(self, entry: Entry | None) -> bytes:
        """Directory and end records as they are, or would be without ``entry``, the last one."""
        if entry is None:
            return self.records + self.tail
        count, size, start = len(self.entries) - 1, entry.record - self.directory, entry.local
        records, tail = self.records[:size], self.tail
        if not self.wide:
            return records + tail[:8] + struct.pack("<2H2L", count, count, size, start) + tail[20:]
        wide = tail[:24] + struct.pack("<4Q", count, count, size, start)
        return records + wide + tail[56:64] + struct.pack("<Q", start + size) + tail[72:]


def read_archive(view: View) -> Archive:
    """Raises `FormatError`."""
    start, end, count, tail = _directory(view)
    if end - start > MAX_DIRECTORY or count > MAX_ENTRIES:
        raise FormatError(f"zip: a directory of {end - start} bytes, {count} members", offset=start, code="too-large")
    records = view.read(start, end - start)
    entries = tuple(_entries(view, records, start, count, wide=len(tail) > _END.size))
    if len({entry.name for entry in entries}) != count:
        raise FormatError("zip: two members of one name", offset=start, code="ambiguous-member")
    return Archive(entries, start, end, records, tail, len(tail) > _END.size)


def _bad(found: str, offset: int) -> FormatError:
    return FormatError(f"zip: {found}", offset=offset, code="zip-package")


def _directory(view: View) -> tuple[int, int, int, bytes]:
    """Where it starts and ends, its records by number, and the end records."""
    at = view.size - _END.size
    mark, disk, first, here, count, size, start, comment = _END.unpack(view.read(max(at, 0), _END.size))
    if mark != b"PK\5\6" or comment:
        raise _bad("the file does not end with an end record", max(at, 0))
    if (here, count, size, start) != (_ALL_16, _ALL_16, _ALL, _ALL):
        if disk or first or here != count or start + size != at or count == _ALL_16:
            raise _bad("the end record does not fit the file", at)
        return start, at, count, view.read(at, _END.size)
    if (disk, first) not in ((0, 0), (_ALL_16, _ALL_16)):
        raise _bad("an archive in several volumes", at)
    wide_at = at - _END_64.size - _LOCATOR_64.size
    tail = view.read(wide_at, view.size - wide_at)
    mark, length, _, _, disk, first, here, count, size, start = _END_64.unpack_from(tail)
    locator = _LOCATOR_64.unpack_from(tail, _END_64.size)
    fits = mark == b"PK\6\6" and length == _END_64.size - 12 and locator == (b"PK\6\7", 0, wide_at, 1)
    if not fits or disk or first or here != count or start + size != wide_at:
        raise _bad("the 64-bit end records do not fit the file", wide_at)
    return start, wide_at, count, tail


def _entries(view: View, records: bytes, start: int, count: int, *, wide: bool) -> Iterator[Entry]:
    at = position = 0
    for _ in range(count):
        fixed = records[at : at + _RECORD.size]
        if len(fixed) < _RECORD.size or not fixed.startswith(b"PK\1\2"):
            raise _bad("a record of the directory is none", start + at)
        row = _RECORD.unpack(fixed)
        names, extras = at + _RECORD.size, at + _RECORD.size + row[10]
        stop = extras + row[11]
        if stop > len(records) or row[12] or row[13]:
            raise _bad("a record cut short, with a comment or of another volume", start + at)
        size, packed, local = _numbers(records[extras:stop], (row[9], row[8], row[16]), start + at)
        name = records[names:extras]
        if local != position:
            raise _bad("members with gaps, or not in the order of the directory", position)
        data = _data(view, name, row, (size, packed), position)
        end = data + packed + ((24 if wide else 16) if row[3] & _DESCRIBED else 0)
        if end > start:
            raise _bad("a member beyond the directory", position)
        if row[3] & _DESCRIBED:
            wanted = b"PK\7\x08" + struct.pack("<L2Q" if wide else "<3L", row[7], packed, size)
            if view.read(data + packed, len(wanted)) != wanted:
                raise _bad("a data descriptor that is not what the directory says", data + packed)
        yield Entry(
            name=name,
            flags=row[3],
            method=row[4],
            crc=row[7],
            packed=packed,
            size=size,
            external=row[15],
            local=position,
            record=start + at,
            record_end=start + stop,
            plain=stop == extras,
            data=data,
            end=end,
        )
        at, position = stop, end
    if at != len(records) or position != start:
        raise _bad("bytes that belong to no member", position)


def _numbers(extra: bytes, fields: tuple[int, ...], offset: int) -> list[int]:
    """``fields`` with those of 64 bits in place of the marks for them; no other extra field may be there."""
    missing = sum(value == _ALL for value in fields)
    if len(extra) != 8 * missing + 4 * (missing > 0):
        raise _bad("an extra field that is not needed", offset)
    if missing and struct.unpack_from("<2H", extra) != (1, 8 * missing):
        raise _bad("an extra field of another kind", offset)
    values = iter(struct.unpack_from(f"<{missing}Q", extra, 4 * (missing > 0)))
    return [next(values) if value == _ALL else value for value in fields]


def _data(view: View, name: bytes, record: tuple[int, ...], sizes: tuple[int, int], offset: int) -> int:
    """Where the packed bytes of the member at ``offset`` start, its header compared with its record."""
    row = _LOCAL.unpack(view.read(offset, _LOCAL.size))
    rest = view.read(offset + _LOCAL.size, row[9] + row[10])
    if row[0] != b"PK\3\4" or (row[2], row[3], rest[: row[9]]) != (record[3], record[4], name):
        raise _bad("the two headers of a member differ", offset)
    if record[3] & ~_KNOWN_FLAGS or record[4] not in (0, 8):
        raise _bad("a member that is encrypted, or packed in another way", offset)
    if record[3] & _DESCRIBED:
        if row[6:9] != (0, 0, 0) or row[10]:
            raise _bad("sizes before and behind the data of a member", offset)
    elif row[6] != record[7] or _numbers(rest[row[9] :], (row[8], row[7]), offset) != list(sizes):
        raise _bad("the two headers of a member differ", offset)
    return offset + _LOCAL.size + len(rest)
