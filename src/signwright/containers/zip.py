# SPDX-License-Identifier: Apache-2.0
"""A strict walk through a zip archive (PKWARE APPNOTE 6.3.10), for looking inside and never for unpacking to a disk.

Programs read the same zip in different ways; what one of them could see and this walker could not is refused: a
second end record, members that overlap or lie between the listed ones, a local header that contradicts the
directory. Members come out as blocks, in constant memory; checksums and sizes are checked at their end. Errors are
`FormatError` (``zip-...``) for what is not as it should be and `LimitError` (``zip-...``) for what is well formed
and too much.
"""

from __future__ import annotations

import bz2
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise

from signwright.containers.base import ArchiveLimits, Place, Reach, Run, Tally, check_ratio
from signwright.containers.zip_reach import reach
from signwright.errors import FormatError, LimitError
from signwright.model.text import first_bad_character
from signwright.model.view import Head, View, blocks

END, END64, LOCATOR64 = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"
CENTRAL, LOCAL, DESCRIPTOR = b"PK\x01\x02", b"PK\x03\x04", b"PK\x07\x08"

_END = struct.Struct("<4s4H2LH")
_END64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR64 = struct.Struct("<4sLQL")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")

_ENCRYPTED, _DESCRIBED, _STRONG, _UTF8, _MASKED = 1 << 0, 1 << 3, 1 << 6, 1 << 11, 1 << 13
_STORED, _DEFLATED, _BZIP2, _AES = 0, 8, 12, 99
_MAX_DIRECTORY = 64 << 20
_FULL32, _FULL16 = 0xFFFFFFFF, 0xFFFF
_BLOCK = 1 << 18
#: Archives in the middle of a file, what leads to a directory, and what begins like the end of an archive, that are
#: looked at.
MAX_EMBEDDED, MAX_PLACES, MAX_MENTIONED = 256, 1 << 14, 1 << 20


@dataclass(frozen=True, slots=True)
class Member:
    """As the directory lists it. ``start``: offset of the packed bytes in the view; ``header``: of the local header;
    ``end``: behind its last byte, which may be its descriptor's; ``entry``, ``entry_size``: of its record in the
    directory.
    """

    name: str
    method: int
    flags: int
    crc: int
    packed: int
    size: int
    header: int
    start: int = field(default=0, compare=False)
    end: int = field(default=0, compare=False)
    entry: int = field(default=0, compare=False)
    entry_size: int = field(default=0, compare=False)

    @property
    def encrypted(self) -> bool:
        return bool(self.flags & (_ENCRYPTED | _STRONG | _MASKED)) or self.method == _AES

    @property
    def is_folder(self) -> bool:
        return self.name.endswith("/") and self.size == 0


@dataclass(frozen=True, slots=True)
class Directory:
    """Where the directory stands in the view: ``start``, ``size``, number of records, and the end record at ``end``.

    ``base``: what stands before the archive and is not counted in its offsets; ``end64``: offset of the 64-bit end
    record, None without one.
    """

    base: int
    start: int
    size: int
    count: int
    end: int
    end64: int | None


def looks_like_zip(view: View) -> bool:
    """By content: a zip's first record at the start, or an end record that a lenient reader would follow.

    Such a reader also opens archives with something before and behind them. `ZipArchive` reads only those whose end
    record ends with the view and refuses the others: what might be opened elsewhere is never passed over here.
    """
    if view.size < _END.size:
        return False
    return view.read(0, 4) in {LOCAL, END, DESCRIPTOR} or bool(_end_records(view)) or bool(_early_ends(view))


def embedded_ends(view: View, below: int) -> list[int]:
    """Where archives end that stand in the first ``below`` bytes of ``view``, the last one first.

    Some readers open an archive wherever it stands. Each is to be read from a `Head` of that size, and what ends within
    it, from `ZipArchive.start` on, is part of it. Raises `LimitError` for a file that is full of such ends.
    """
    ends = {place.end for place in ZipContainer().places(view, 0, below)}
    return sorted((end for end in ends if end <= below), reverse=True)


class ZipContainer:
    """Implements `signwright.containers.base.Container`."""

    kind = "zip"

    def claims(self, view: View) -> Place | None:
        if not looks_like_zip(view):
            return None
        ends = _end_records(view) or _early_ends(view)
        return Place(self.kind, ends[-1] if ends else 0, view.size)

    def places(self, view: View, first: int, last: int) -> list[Place]:
        """End records that lead to a directory; where the archive starts is known when it is opened."""
        found: list[Place] = []
        mentioned = 0
        for start in range(first, last, _BLOCK):
            stop = min(start + _BLOCK, last)
            block = view.read(start, min(stop + len(END) - 1, view.size) - start)
            at = block.find(END)
            while at >= 0:
                mentioned += 1
                end = _end_of_archive(view, start + at)
                if end is not None:
                    found.append(Place(self.kind, start + at, end))
                if mentioned > MAX_MENTIONED or len(found) > MAX_PLACES:
                    raise LimitError(f"{mentioned} end records, {len(found)} archives", code="archive-members")
                at = block.find(END, at + 1)
        return found

    def reach(self, view: View, place: Place, tally: Tally) -> Reach | None:
        return reach(view, place.mark, tally)

    def open(self, view: View, place: Place, limits: ArchiveLimits) -> ZipArchive:
        return ZipArchive(Head(view, place.end), limits)


def _end_of_archive(view: View, position: int) -> int | None:
    """Where the archive ends whose end record is at ``position``; None for what leads to no directory."""
    if position + _END.size > view.size:
        return None
    if not _leads_to_directory(view, position):
        return None
    return min(position + _END.size + int.from_bytes(view.read(position + 20, 2), "little"), view.size)


def _leads_to_directory(view: View, position: int) -> bool:
    """Whether a reader that takes the end record at ``position`` could find a record of a directory, or a 64-bit end
    record. Most go by the size or the offset; the number of records says nothing, and `ZipArchive` compares it.
    """
    if position >= _LOCATOR64.size and view.read(position - _LOCATOR64.size, 4) == LOCATOR64:
        return True
    _, _, _, _, _, size, offset, _ = _END.unpack(view.read(position, _END.size))
    starts = (position - size, offset)
    return any(0 <= start <= view.size - 4 and view.read(start, 4) == CENTRAL for start in starts)


class ZipArchive:
    """The members of ``view`` in the order of the directory, all checks of structure done.

    ``start``: where its first byte stands; what is before it is no part of it.
    Implements `signwright.containers.base.Archive`.
    """

    def __init__(self, view: View, limits: ArchiveLimits | None = None) -> None:
        self._view = view
        self._limits = limits or ArchiveLimits()
        self.directory, listed = _listed(view, self._limits)
        start, end = self.directory.start, self.directory.end + _END.size
        self.members = tuple(_located(view, member) for member in listed)
        self._check_layout(start)
        self.start = min((member.header for member in self.members), default=start)
        self.covered = _merged([*sorted((m.header, m.end) for m in self.members), (start, end)])

    def runs(self) -> Iterator[Run]:
        """The packed bytes of each member."""
        for member in self.members:
            if not member.is_folder:
                yield Run(member.start, member.start + member.packed, packed=member.method != _STORED)

    def _check_layout(self, directory: int) -> None:
        """No two members share a byte, and nothing that starts like a member lies where none is listed."""
        extents = sorted((m.header, m.end) for m in self.members)
        for (_, end), (following, _) in pairwise([*extents, (directory, directory)]):
            if end > following:
                raise FormatError("zip: two members share bytes", offset=following, code="zip-overlap")
        borders = [(0, extents[0][0] if extents else directory)]
        borders += [(end, following) for (_, end), (following, _) in pairwise([*extents, (directory, directory)])]
        for start, end in borders:
            if end - start >= 4 and self._view.read(start, 4) == LOCAL:
                raise FormatError("zip: a member that the directory does not list", offset=start, code="zip-hidden")

    def read(self, member: Member) -> Iterator[bytes]:
        """The unpacked bytes in blocks of at most 256 KiB; the checks of size and checksum come with the last one."""
        if member.encrypted:
            raise FormatError("zip: the member is encrypted", offset=member.header, code="zip-encrypted")
        if member.method not in _UNPACKERS:
            raise FormatError(f"zip: packing method {member.method}", offset=member.header, code="zip-method")
        if member.size > self._limits.total:
            raise LimitError(f"a member of {member.size} bytes", code="archive-total")
        check_ratio(member.size, member.packed, self._limits.ratio)
        seen, crc = 0, 0
        for block in _UNPACKERS[member.method](blocks(self._view, member.start, member.packed, _BLOCK)):
            seen += len(block)
            if seen > member.size:
                raise FormatError("zip: the member is longer than it says", offset=member.header, code="zip-size")
            crc = zlib.crc32(block, crc)
            yield block
        if seen != member.size or crc != member.crc:
            raise FormatError(
                "zip: size or checksum differ from the directory", offset=member.header, code="zip-checksum"
            )


def listed_names(view: View, limits: ArchiveLimits | None = None) -> list[str]:
    """Names of the members as the directory alone has them; nothing else was looked at. Raises as `ZipArchive`."""
    return [member.name for member in _listed(view, limits or ArchiveLimits())[1]]


def _listed(view: View, limits: ArchiveLimits) -> tuple[Directory, list[Member]]:
    found = _find_directory(view)
    if found.count > limits.members:
        raise LimitError(f"{found.count} members, at most {limits.members} are read", code="archive-members")
    if found.size > _MAX_DIRECTORY:
        raise LimitError(
            f"a directory of {found.size} bytes, at most {_MAX_DIRECTORY} are read", code="archive-members"
        )
    return found, _directory(view.read(found.start, found.size), found)


def _end_records(view: View) -> list[int]:
    """Offsets of end records whose comment ends exactly where the view ends."""
    tail = min(view.size, _END.size + 0xFFFF)
    first = view.size - tail
    content = view.read(first, tail)
    found, at = [], content.find(END)
    while at >= 0:
        if at + _END.size <= tail and at + _END.size + int.from_bytes(content[at + 20 : at + 22], "little") == tail:
            found.append(first + at)
        at = content.find(END, at + 1)
    return found


def _early_ends(view: View) -> list[int]:
    """End records in the view's tail, with more behind them than their comment, that lead to a directory."""
    first = view.size - min(view.size, _END.size + 0xFFFF)
    content = view.read(first, view.size - first)
    found, at = [], content.find(END)
    while 0 <= at <= len(content) - _END.size:
        _, _, _, _, count, size, offset, _ = _END.unpack_from(content, at)
        position = first + at
        wide = size == _FULL32 or offset == _FULL32 or count == _FULL16
        if wide or _leads_to_directory(view, position):
            found.append(position)
        at = content.find(END, at + 1)
    return found


def _find_directory(view: View) -> Directory:
    ends = _end_records(view)
    if len(ends) != 1:
        found = "no end record" if not ends else f"{len(ends)} end records"
        raise FormatError(f"zip: {found} that fit the file", offset=view.size, code="zip-end")
    end = position = ends[0]
    if END in view.read(end + _END.size, view.size - end - _END.size):  # where many programs begin to look
        raise FormatError("zip: another end record in the comment", offset=end, code="ambiguous-end")
    _, disk, first_disk, here, count, size, offset, _ = _END.unpack(view.read(position, _END.size))
    wide = _find_end64(view, position)
    if wide is not None:
        position, disk, first_disk, here, count, size, offset = wide
    elif _FULL32 in {size, offset} or count == _FULL16:
        raise FormatError("zip: the 64-bit end record is missing", offset=position, code="zip-end")
    if disk or first_disk or here != count:
        raise FormatError("zip: an archive in several volumes", offset=position, code="zip-volumes")
    base = position - size - offset
    if base and wide is not None:
        raise FormatError("zip: bytes before a 64-bit archive that it does not count", offset=position, code="zip-end")
    if base < 0:
        raise FormatError(
            "zip: the directory does not end where its end record starts", offset=position, code="zip-end"
        )
    return Directory(base, position - size, size, count, end, None if wide is None else position)


def _merged(extents: list[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """``extents``, in order, with those that touch as one."""
    merged: list[tuple[int, int]] = []
    for start, end in extents:
        if merged and start == merged[-1][1]:
            merged[-1] = (merged[-1][0], end)
        else:
            merged.append((start, end))
    return tuple(merged)


def _find_end64(view: View, end: int) -> tuple[int, int, int, int, int, int, int] | None:
    """Position and fields of the zip64 end record that the locator before ``end`` names; None without a locator."""
    at = end - _LOCATOR64.size
    if at < 0 or view.read(at, 4) != LOCATOR64:
        return None
    position = at - _END64.size  # a record with an extensible data sector is not written by anybody and refused
    if position < 0 or view.read(position, 4) != END64:
        raise FormatError("zip: the 64-bit end record is not before its locator", offset=at, code="zip-end")
    row = _END64.unpack(view.read(position, _END64.size))
    if row[1] != _END64.size - 12:
        raise FormatError("zip: the 64-bit end record has another length", offset=position, code="zip-end")
    check_wide_end(view.read(position, _END64.size + _LOCATOR64.size + _END.size), position)
    return position, row[4], row[5], row[6], row[7], row[8], row[9]


def check_wide_end(tail: bytes, position: int) -> None:
    """``tail``: a 64-bit end record, its locator and the end record, as they stand from ``position`` of a file on.

    Readers differ in which of them they believe, and some look for the first where the locator says, counted from the
    start of the file. So the locator names this record in that way, and each number of the end record is the same as
    the 64-bit one or all ones; else `FormatError` (``zip-end``).
    """
    wide, locator = _END64.unpack_from(tail), _LOCATOR64.unpack_from(tail, _END64.size)
    narrow = _END.unpack_from(tail, _END64.size + _LOCATOR64.size)
    same = all(
        short in (full, long)
        for short, long, full in zip(narrow[3:7], wide[6:10], (_FULL16, _FULL16, _FULL32, _FULL32), strict=True)
    )
    if locator[1:] != (0, position, 1):
        raise FormatError("zip: the locator names another 64-bit end record", offset=position, code="zip-end")
    if not same:
        raise FormatError("zip: the two end records contradict each other", offset=position, code="zip-end")


def _directory(content: bytes, found: Directory) -> list[Member]:
    members, at, start = [], 0, found.start
    for _ in range(found.count):
        if at + _CENTRAL.size > len(content) or content[at : at + 4] != CENTRAL:
            raise FormatError("zip: the directory ends early", offset=start + at, code="zip-directory")
        row = _CENTRAL.unpack_from(content, at)
        flags, method, crc, packed, size = row[3], row[4], row[7], row[8], row[9]
        names, extras, comment = row[10], row[11], row[12]
        name_at = at + _CENTRAL.size
        following = name_at + names + extras + comment
        if following > len(content):
            raise FormatError("zip: the directory ends early", offset=start + at, code="zip-directory")
        name = _name(content[name_at : name_at + names], flags, start + at)
        extra = content[name_at + names : name_at + names + extras]
        size, packed, header = _wide(extra, [size, packed, row[16]], start + at)
        place = {"entry": start + at, "entry_size": following - at}
        members.append(Member(name, method, flags, crc, packed, size, found.base + header, **place))
        at = following
    if at != len(content):
        raise FormatError("zip: more in the directory than its count", offset=start + at, code="zip-directory")
    return members


def _name(raw: bytes, flags: int, offset: int) -> str:
    try:
        name = raw.decode("utf-8" if flags & _UTF8 else "cp437")
    except UnicodeDecodeError as problem:
        raise FormatError("zip: a name that is not UTF-8", offset=offset, code="zip-name") from problem
    if not name or len(name) > 1024 or first_bad_character(name) is not None:
        raise FormatError("zip: a name that is empty, too long or not printable", offset=offset, code="zip-name")
    return name


def _wide(extra: bytes, fields: list[int], offset: int) -> list[int]:
    """``fields`` (unpacked size, packed size, header offset) with each 0xFFFFFFFF replaced from extra field 1
    (APPNOTE 4.5.3).
    """
    if _FULL32 not in fields:
        return fields
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, at)
        if kind == 1:
            values = list(struct.unpack_from(f"<{min(length, len(extra) - at - 4) // 8}Q", extra, at + 4))
            if len(values) < fields.count(_FULL32):
                break
            return [values.pop(0) if value == _FULL32 else value for value in fields]
        at += 4 + length
    raise FormatError("zip: a 64-bit size is missing", offset=offset, code="zip-directory")


def _located(view: View, member: Member) -> Member:
    """``member`` with the place of its packed bytes, after its local header was compared with the directory."""
    at = member.header
    if at + _LOCAL.size > view.size:
        raise FormatError("zip: a member beyond the end", offset=at, code="zip-local")
    row = _LOCAL.unpack(view.read(at, _LOCAL.size))
    signature, flags, method, crc, packed, size, names, extras = row[0], row[2], row[3], *row[6:11]
    if signature != LOCAL or method != member.method or (flags ^ member.flags) & (_ENCRYPTED | _UTF8 | _DESCRIBED):
        raise FormatError("zip: the local header contradicts the directory", offset=at, code="zip-local")
    start = at + _LOCAL.size + names + extras
    end = start + member.packed
    if end > view.size:
        raise FormatError("zip: a member beyond the end", offset=at, code="zip-local")
    name_and_extra = view.read(at + _LOCAL.size, names + extras)
    size, packed = _wide(name_and_extra[names:], [size, packed], at)
    same_name = _name(name_and_extra[:names], flags, at) == member.name
    same = (crc, packed, size) == (member.crc, member.packed, member.size)
    later = bool(flags & _DESCRIBED) and crc in {0, member.crc} and {packed, size} <= {0, member.packed, member.size}
    if not same_name or not (same or later):
        raise FormatError("zip: the local header contradicts the directory", offset=at, code="zip-local")
    if flags & _DESCRIBED:
        end += _descriptor_length(view, end, member)
    return replace(member, start=start, end=end)


def _descriptor_length(view: View, at: int, member: Member) -> int:
    """Length of the data descriptor at ``at`` (APPNOTE 4.3.9), 0 when none stands there (some writers leave it out)."""
    content = view.read(at, min(24, view.size - at))
    for mark in (DESCRIPTOR, b""):
        for width in ("Q", "L"):
            if width == "L" and max(member.packed, member.size) > _FULL32:
                continue
            expected = mark + struct.pack(f"<L2{width}", member.crc, member.packed, member.size)
            if content.startswith(expected):
                return len(expected)
    return 0


def _inflate(packed: Iterator[bytes]) -> Iterator[bytes]:
    engine = zlib.decompressobj(-15)
    try:
        for piece in packed:
            waiting = piece
            while waiting and not engine.eof:
                yield engine.decompress(waiting, _BLOCK)
                waiting = engine.unconsumed_tail
            if engine.unused_data or (engine.eof and waiting):
                raise FormatError("zip: bytes after the end of a packed member", code="zip-size")
        while not engine.eof and (rest := engine.decompress(b"", _BLOCK)):
            yield rest
    except zlib.error as problem:
        raise FormatError("zip: a member does not unpack", code="zip-packed") from problem
    if not engine.eof:
        raise FormatError("zip: a packed member ends early", code="zip-packed")


def _bunzip(packed: Iterator[bytes]) -> Iterator[bytes]:
    engine = bz2.BZ2Decompressor()
    try:
        for piece in packed:
            if engine.eof:
                raise FormatError("zip: bytes after the end of a packed member", code="zip-size")
            yield engine.decompress(piece, _BLOCK)
            while not engine.needs_input and not engine.eof:
                yield engine.decompress(b"", _BLOCK)
    except OSError as problem:
        raise FormatError("zip: a member does not unpack", code="zip-packed") from problem
    if not engine.eof or engine.unused_data:
        raise FormatError("zip: a packed member ends early or late", code="zip-packed")


_UNPACKERS: dict[int, Callable[[Iterator[bytes]], Iterator[bytes]]] = {
    _STORED: lambda packed: packed,
    _DEFLATED: _inflate,
    _BZIP2: _bunzip,
}
