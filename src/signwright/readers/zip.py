# SPDX-License-Identifier: Apache-2.0
"""A reader's own view of a zip archive (PKWARE APPNOTE 6.3.10), for formats that sign inside one. No writer's code.

Read is only what every program reads in one way: one end record, at the end, a directory that ends where that begins,
members that share no byte and whose two headers agree. Bytes before the archive and structures of 64 bits are read
where the format has them (``free``), else refused, and so are both together unless all offsets count those bytes.
Everything else is `FormatError`.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from signwright.errors import FormatError
from signwright.model.view import View, blocks

MAX_DIRECTORY = 16 << 20

_END, _RECORD, _LOCAL, _LOCATOR64 = b"PK\x05\x06", b"PK\x01\x02", b"PK\x03\x04", b"PK\x06\x07"
_END_SIZE, _RECORD_SIZE, _LOCAL_SIZE = 22, 46, 30
_END64, _END64_SIZE, _LOCATOR64_SIZE = b"PK\x06\x06", 56, 20
_FULL16, _FULL32 = 0xFFFF, 0xFFFFFFFF
_DESCRIBED = 1 << 3
#: Flags that change what is read: encrypted, described, UTF-8. Others are hints, which some writers forget.
_MEANT = 1 << 0 | _DESCRIBED | 1 << 11
_ZIP64 = 1
_BLOCK = 1 << 18


@dataclass(frozen=True, slots=True)
class Entry:
    """One member. ``name``: raw; ``packed``, ``size``: bytes; ``local``: offset of its header, ``data`` of its packed
    bytes, ``end`` behind its last byte; ``record``, ``record_end``: of its record in the directory; ``plain``: neither
    header has an extra field, nor the record a comment.
    """

    name: bytes
    flags: int
    method: int
    crc: int
    packed: int
    size: int
    external: int
    local: int
    record: int
    record_end: int
    plain: bool
    data: int = 0
    end: int = 0


@dataclass(frozen=True, slots=True)
class Archive:
    """``entries`` in the order of the directory, which stands from ``directory`` to the end records, the last of them
    at ``end``; ``start``: of the first member, what is before it is no part of the archive.
    """

    entries: tuple[Entry, ...]
    directory: int
    end: int
    start: int = 0


@dataclass(frozen=True, slots=True)
class _Directory:
    """From ``start`` to ``stop``, with ``count`` records whose offsets count from ``base``; end record at ``end``."""

    base: int
    start: int
    stop: int
    count: int
    end: int


def entry_names(view: View, *, free: bool = False) -> list[bytes]:
    """Names in the directory of something that may be an archive; nothing else is checked."""
    return [entry.name for entry in _records(view, _directory(view, free=free), free=free)]


def read_archive(view: View, *, free: bool = False) -> Archive:
    """Every member located, and compared with the directory. Raises `FormatError`.

    ``free``: 64-bit structures may be there, and something before the archive, whether its offsets count that or not;
    those of 64-bit structures do.
    """
    found = _directory(view, free=free)
    entries = tuple(_located(view, entry, found.start, free=free) for entry in _records(view, found, free=free))
    _check_order(view, entries, found.start, free=free)
    start = min((entry.local for entry in entries), default=found.start)
    return Archive(entries, found.start, found.end, start)


def read_entry(view: View, entry: Entry) -> Iterator[bytes]:
    """The unpacked bytes, stored or deflated, in blocks; size and checksum are compared behind the last one."""
    if entry.flags & 1 or entry.method not in (0, 8):
        raise FormatError(f"zip: a member encrypted, or packed by method {entry.method}", offset=entry.local)
    packed = blocks(view, entry.data, entry.packed, _BLOCK)
    size = crc = 0
    for block in packed if entry.method == 0 else _inflated(packed, entry):
        size, crc = size + len(block), zlib.crc32(block, crc)
        if size > entry.size:
            break
        yield block
    if (size, crc) != (entry.size, entry.crc):
        raise FormatError("zip: a member is not what its headers say", offset=entry.local, code="zip-checksum")


def _inflated(packed: Iterator[bytes], entry: Entry) -> Iterator[bytes]:
    engine = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        for piece in packed:
            rest = piece
            while rest:
                yield engine.decompress(rest, _BLOCK)
                rest = engine.unconsumed_tail
        while not engine.eof and (more := engine.decompress(b"", _BLOCK)):
            yield more
    except zlib.error as problem:
        raise FormatError("zip: a member does not unpack", offset=entry.local, code="zip-packed") from problem
    if not engine.eof or engine.unused_data:
        raise FormatError("zip: a packed member ends early or late", offset=entry.local, code="zip-packed")


def _directory(view: View, *, free: bool) -> _Directory:
    first = max(view.size - _END_SIZE - 0xFFFF, 0)
    tail = view.read(first, view.size - first)
    at = tail.rfind(_END)
    if at < 0 or len(tail) - at < _END_SIZE:
        raise FormatError("zip: no end record", offset=view.size, code="zip-end")
    disk, disk_of_start, here, count, size, start, comment = struct.unpack("<4H2LH", tail[at + 4 : at + _END_SIZE])
    end = stop = first + at
    if at + _END_SIZE + comment != len(tail):
        raise FormatError("zip: bytes behind the end record, or too few", offset=end, code="zip-end")
    wide = end >= _LOCATOR64_SIZE and view.read(end - _LOCATOR64_SIZE, 4) == _LOCATOR64
    if wide and free:
        # All ones: the 64-bit record says on which disks (APPNOTE 4.4.19), as Windows' packager has it.
        disk, disk_of_start = (0 if number == _FULL16 else number for number in (disk, disk_of_start))
        stop, here, count, size, start = _wide_end(view, end, (here, count, size, start))
    base = stop - size - start
    if disk or disk_of_start or here != count or base < 0 or (base and not free):
        raise FormatError("zip: the end record does not fit the file", offset=end, code="zip-end")
    if not free and (wide or count == _FULL16):
        raise FormatError("zip: an archive of 64 bits", offset=end, code="zip64")
    if size > MAX_DIRECTORY:
        raise FormatError(f"zip: a directory of {size} bytes", offset=start, code="too-large")
    _check_single_end(tail, at, end)
    return _Directory(base, stop - size, stop, count, end)


def _wide_end(view: View, end: int, narrow: tuple[int, ...]) -> tuple[int, int, int, int, int]:
    """Where the 64-bit end record stands, and what it says of records, size and start of the directory (APPNOTE
    4.3.14). Each number of the other record is the same, or all ones. The locator's number counts from the start of the
    file: Java goes by it, so an archive whose offsets count from elsewhere would let it find another record.
    """
    at = end - _LOCATOR64_SIZE - _END64_SIZE
    record = view.read(at, _END64_SIZE) if at >= 0 else b""
    if not record.startswith(_END64):
        raise FormatError("zip: no 64-bit end record before its locator", offset=end, code="zip-end")
    length, _, _, disk, disk_of_start, here, count, size, start = struct.unpack("<Q2H2L4Q", record[4:])
    first_disk, named, disks = struct.unpack("<LQL", view.read(at + _END64_SIZE, _LOCATOR64_SIZE)[4:])
    base = at - size - start
    agreed = all(
        short in (long, full)
        for short, long, full in zip(
            narrow, (here, count, size, start), (_FULL16, _FULL16, _FULL32, _FULL32), strict=True
        )
    )
    if length != _END64_SIZE - 12 or disk or disk_of_start or first_disk or disks != 1:
        raise FormatError("zip: the 64-bit end record does not fit the file", offset=at, code="zip-end")
    if base or named != at:
        raise FormatError("zip: a 64-bit archive that counts from elsewhere", offset=at, code="zip-end")
    if not agreed:
        raise FormatError("zip: the two end records contradict each other", offset=at, code="zip-end")
    return at, here, count, size, start


def _check_single_end(tail: bytes, at: int, end: int) -> None:
    """No other end record in reach whose comment would reach the end of the file as well."""
    other = tail.find(_END)
    while 0 <= other < at:
        comment = int.from_bytes(tail[other + 20 : other + 22], "little")
        if other + _END_SIZE + comment == len(tail):
            raise FormatError("zip: two end records", offset=end, code="zip-end")
        other = tail.find(_END, other + 1)


def _records(view: View, found: _Directory, *, free: bool) -> Iterator[Entry]:
    start = found.start
    content, at = view.read(start, found.stop - start), 0
    for _ in range(found.count):
        fixed = content[at : at + _RECORD_SIZE]
        if len(fixed) < _RECORD_SIZE or not fixed.startswith(_RECORD):
            raise FormatError("zip: a record of the directory is none", offset=start + at, code="zip-directory")
        flags, method = struct.unpack_from("<2H", fixed, 8)
        crc, packed, size, names, extras, comments, disk = struct.unpack_from("<3L4H", fixed, 16)
        external, local = struct.unpack_from("<2L", fixed, 38)
        stop = at + _RECORD_SIZE + names + extras + comments
        name = content[at + _RECORD_SIZE : at + _RECORD_SIZE + names]
        extra = content[at + _RECORD_SIZE + names : at + _RECORD_SIZE + names + extras]
        if stop > len(content) or disk or (not free and _zip64(extra) is not None):
            raise FormatError("zip: a record cut short or of 64 bits", offset=start + at, code="zip-directory")
        if free:
            size, packed, local = _widened((size, packed, local), extra, start + at)
        plain = not extras and not comments
        place = (local + found.base, start + at, start + stop, plain)
        yield Entry(name, flags, method, crc, packed, size, external, *place)
        at = stop
    if at != len(content):
        raise FormatError("zip: the directory is longer than its records", offset=start + at, code="zip-directory")


def _zip64(extra: bytes) -> bytes | None:
    """Content of the 64-bit extra field."""
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, at)
        if kind == _ZIP64:
            return extra[at + 4 : at + 4 + length]
        at += 4 + length
    return None


def _widened(numbers: tuple[int, ...], extra: bytes, offset: int) -> list[int]:
    """Each number that is all ones is one of 64 bits, in this order, in the extra field (APPNOTE 4.5.3)."""
    field, at, wide = _zip64(extra) or b"", 0, []
    for number in numbers:
        if number != _FULL32:
            wide.append(number)
            continue
        if at + 8 > len(field):
            raise FormatError("zip: a 64-bit number is missing", offset=offset, code="zip-directory")
        wide.append(int.from_bytes(field[at : at + 8], "little"))
        at += 8
    return wide


def _located(view: View, entry: Entry, directory: int, *, free: bool) -> Entry:
    fixed = view.read(entry.local, _LOCAL_SIZE)
    flags, method = struct.unpack_from("<2H", fixed, 6)
    crc, packed, size, names, extras = struct.unpack_from("<3L2H", fixed, 14)
    name_and_extra = view.read(entry.local + _LOCAL_SIZE, names + extras)
    if free:
        size, packed = _widened((size, packed), name_and_extra[names:], entry.local)
    numbers = (entry.crc, entry.packed, entry.size)
    described = bool(flags & _DESCRIBED)
    agreed = (crc, packed, size) == numbers or (
        described and all(found in (0, wanted) for found, wanted in zip((crc, packed, size), numbers, strict=True))
    )
    differing = (flags ^ entry.flags) & (_MEANT if free else 0xFFFF)
    same = not differing and (method, name_and_extra[:names]) == (entry.method, entry.name)
    if (
        not fixed.startswith(_LOCAL)
        or not same
        or not agreed
        or (not free and _zip64(name_and_extra[names:]) is not None)
    ):
        raise FormatError("zip: the two headers of a member differ", offset=entry.local, code="zip-local")
    data = entry.local + _LOCAL_SIZE + names + extras
    end = data + entry.packed
    if described and end <= directory:
        end += _descriptor_size(view.read(end, min(24, directory - end)), numbers, free=free)
    return Entry(
        *(entry.name, entry.flags, entry.method, entry.crc, entry.packed, entry.size, entry.external),
        *(entry.local, entry.record, entry.record_end, entry.plain and not extras),
        *(data, end),
    )


def _descriptor_size(found: bytes, numbers: tuple[int, int, int], *, free: bool) -> int:
    """How many of the bytes behind a member are its data descriptor (APPNOTE 4.3.9): with or without a mark, sizes of
    32 bits or of 64.
    """
    for form in ("<LQQ", "<LLL") if free else ("<LLL",):
        if max(numbers) > _FULL32 and form == "<LLL":
            continue
        descriptor = struct.pack(form, *numbers)
        for mark in (b"PK\x07\x08", b""):
            if found.startswith(mark + descriptor):
                return len(mark + descriptor)
    return 0


def _check_order(view: View, entries: Sequence[Entry], directory: int, *, free: bool) -> None:
    """From the first byte on, members share nothing; between them no member is hidden."""
    extents = [(0, 0), *sorted((entry.local, entry.end) for entry in entries), (directory, directory)]
    if entries and extents[1][0] != 0 and not free:
        raise FormatError(f"zip: {extents[1][0]} bytes before the archive", code="zip-prefix")
    for (_, end), (start, _) in pairwise(extents):
        if end > start:
            raise FormatError("zip: members share bytes", offset=start, code="zip-overlap")
        if start - end >= 4 and view.read(end, 4) == _LOCAL:
            raise FormatError("zip: a member that the directory does not list", offset=end, code="zip-hidden")
