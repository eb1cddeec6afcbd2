# SPDX-License-Identifier: Apache-2.0
"""A strict walk through a cabinet, for looking inside and never for unpacking to a disk.

Source: "Microsoft Cabinet Format" ([MS-CAB]), structures CFHEADER, CFFOLDER, CFFILE and CFDATA; "MSZIP compression"
([MS-MCI]). A folder is one stream, cut into blocks of at most 32 KiB; a file is a piece of a folder. Stored and MSZIP
folders are unpacked, LZX and Quantum are not: reading such a file raises ``cab-lzx`` or ``cab-quantum``, reading one
that begins or ends in another cabinet of its set ``cab-continued``. Bytes of a folder that belong to no file come out
as files with a made-up name. Errors are `FormatError` (``cab-...``) and `LimitError` (``archive-...``).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import islice, pairwise

from signwright.containers.base import ArchiveLimits, Place, Reach, Run, Tally, check_ratio
from signwright.containers.cab_layout import MARK, Folder, Header, read_folders, read_header
from signwright.errors import FormatError, LimitError, SignwrightError
from signwright.model.text import first_bad_character
from signwright.model.view import View, check_range

_FILE = struct.Struct("<2I4H")
_BLOCK_HEADER = struct.Struct("<I2H")
_LARGEST_BLOCK = 1 << 15
#: Incompressible data grows; more than this no reader takes.
_LARGEST_PACKED = _LARGEST_BLOCK + 6144
_MAX_NAME = 256
_UTF8 = 0x80
_FROM_PREVIOUS, _TO_NEXT, _THROUGH = 0xFFFD, 0xFFFE, 0xFFFF
_STORED, _MSZIP, _QUANTUM, _LZX = 0, 1, 2, 3
_WINDOW = 1 << 16
#: Length of CFHEADER without its optional fields.
_FIXED = 36
#: Bytes that look like the start of a cabinet, in one part of a file, and such starts that some reader would follow.
MAX_MENTIONED, MAX_PLACES = 1 << 20, 1 << 12


@dataclass(frozen=True, slots=True)
class CabFile:
    """A piece of folder number ``folder``: ``size`` bytes from ``offset`` of the unpacked folder. ``begins`` and
    ``ends``: whether it does in this cabinet.
    """

    name: str
    folder: int
    offset: int
    size: int
    begins: bool = True
    ends: bool = True
    is_folder: bool = field(default=False, init=False)


class CabContainer:
    """Implements `signwright.containers.base.Container`."""

    kind = "cab"

    def claims(self, view: View) -> Place | None:
        if view.size < len(MARK) or view.read(0, len(MARK)) != MARK:
            return None
        size = int.from_bytes(view.read(8, 4), "little") if view.size >= 12 else view.size
        return Place(self.kind, 0, min(size, view.size))

    def places(self, view: View, first: int, last: int) -> list[Place]:
        """Where self-extracting programs keep theirs. The sizes in the header decide, as in other readers."""
        found: list[Place] = []
        mentioned = 0
        for start in range(first, last, _WINDOW):
            stop = min(start + _WINDOW, last)
            block = view.read(start, min(stop + len(MARK) - 1, view.size) - start)
            at = block.find(MARK)
            while at >= 0:
                mentioned += 1
                if mentioned > MAX_MENTIONED or len(found) > MAX_PLACES:
                    raise LimitError(f"{mentioned} cabinet marks, {len(found)} cabinets", code="archive-members")
                end = _end_of_cabinet(view, start + at)
                if end is not None:
                    found.append(Place(self.kind, start + at, end))
                at = block.find(MARK, at + 1)
        return found

    def reach(self, view: View, place: Place, tally: Tally) -> Reach | None:  # noqa: ARG002 - the shape of a container
        """The fixed part of the header decides; a file that has it and as many bytes behind is followed as well."""
        return Reach(place.mark, min(place.mark + _FIXED, place.end), place.end)

    def open(self, view: View, place: Place, limits: ArchiveLimits) -> CabArchive:
        return CabArchive(_Part(view, place.mark, place.end), limits, place.mark)


def _end_of_cabinet(view: View, position: int) -> int | None:
    """Where the cabinet ends whose mark is at ``position``; None for what no reader follows."""
    if position + 20 > view.size:
        return None
    size, files = struct.unpack("<I4xI", view.read(position + 8, 12))
    # Some readers forgive a cabinet that lacks a few bytes at its end: it is opened here, to be refused.
    room = view.size - position + 32
    return min(position + size, view.size) if files < size < room else None


class _Part:
    """The bytes of a view from ``start`` to ``end``."""

    def __init__(self, view: View, start: int, end: int) -> None:
        check_range(start, end - start, view.size)
        self._view = view
        self._start = start
        self.size = end - start

    def read(self, offset: int, length: int) -> bytes:
        check_range(offset, length, self.size)
        return self._view.read(self._start + offset, length)


@dataclass(frozen=True, slots=True)
class _Extent:
    """Where the blocks of a folder lie in the cabinet, and how much comes out of them."""

    start: int
    end: int
    unpacked: int

    @property
    def packed(self) -> int:
        return self.end - self.start


class CabArchive:
    """The files of a cabinet that is exactly ``view``, in the order of their bytes. Several files may share the same
    bytes: they stand here once, under the first name. ``base``: added to the offsets in ``covered``.

    Implements `signwright.containers.base.Archive`.
    """

    def __init__(self, view: View, limits: ArchiveLimits | None = None, base: int = 0) -> None:
        self._view = view
        self._base = base
        self._limits = limits or ArchiveLimits()
        self.header = read_header(view)
        if self.header.size != view.size:
            raise FormatError(
                f"cab: {view.size} bytes, the header says {self.header.size}", offset=8, code="cab-truncated"
            )
        if self.header.files > self._limits.members:
            raise LimitError(
                f"{self.header.files} files, at most {self._limits.members} are read", code="archive-members"
            )
        self._folders = read_folders(view, self.header)
        self._extents = _extents(view, self.header, self._folders, self._limits)
        files, files_end = _files(view, self.header)
        used = [(0, self.header.folders_end), (self.header.files_offset, files_end)]
        used += [(extent.start, extent.end) for extent in self._extents if extent.packed]
        _check_layout(used)
        self.members = tuple(_in_order(files, self._folders, self._extents))
        self._names: dict[tuple[int, int, int], list[str]] = {}
        for file in files:
            self._names.setdefault((file.folder, file.offset, file.size), []).append(file.name)
        self.covered = tuple((base + start, base + end) for start, end in self._explained(files_end))
        self._reading: _Reading | None = None

    def _explained(self, files_end: int) -> list[tuple[int, int]]:
        """What is structure or packed data. Reserves and names can hold anything, and so are left out."""
        header = self.header
        parts = [(0, header.reserve_offset), (header.files_offset, files_end)]
        if not header.folder_reserve:
            parts.append((header.folders_offset, header.folders_end))
        if not header.data_reserve:
            parts += [(extent.start, extent.end) for extent in self._extents if extent.packed]
        merged: list[tuple[int, int]] = []
        for start, end in sorted(part for part in parts if part[0] < part[1]):
            if merged and start == merged[-1][1]:
                merged[-1] = (merged[-1][0], end)
            else:
                merged.append((start, end))
        return merged

    def runs(self) -> Iterator[Run]:
        """Stored: the part of each block that is of one file. Packed: blocks that nothing but one file comes out of."""
        if self.header.data_reserve:
            return
        whole = [member for member in self.members if member.begins and member.ends and member.size]
        for number, folder in enumerate(self._folders):
            listed = [member for member in whole if member.folder == number]
            runs = _runs(self._view, folder, listed)
            yield from (replace(run, start=self._base + run.start, end=self._base + run.end) for run in runs)

    def names(self, member: CabFile) -> list[str]:
        """Every name under which the bytes of ``member`` are listed; its own alone for what no file has."""
        return self._names.get((member.folder, member.offset, member.size), [member.name])

    def read(self, member: CabFile) -> Iterator[bytes]:
        """The unpacked bytes in blocks of at most 32 KiB. In the order of ``members`` each folder is unpacked once."""
        if not (member.begins and member.ends):
            raise FormatError("cab: the file goes on in another cabinet of the set", code="cab-continued")
        folder, extent = self._folders[member.folder], self._extents[member.folder]
        _check_method(folder)
        check_ratio(extent.unpacked, extent.packed, self._limits.ratio)
        reading = self._reading
        if reading is None or reading.folder != member.folder or reading.position > member.offset:
            blocks = _unpacked(self._view, self.header, folder)
            reading = self._reading = _Reading(member.folder, blocks)
        yield from reading.take(member.offset, member.size)


class _Reading:
    """One pass over a folder. Where it broke once it stays broken: nothing is unpacked again for the files behind."""

    def __init__(self, folder: int, blocks: Iterator[bytes]) -> None:
        self.folder = folder
        self.position = 0
        self._blocks = blocks
        self._rest = b""
        self._failure: SignwrightError | None = None

    def take(self, offset: int, size: int) -> Iterator[bytes]:
        """``size`` bytes from ``offset``, which must not lie behind ``position``."""
        while self.position < offset:
            self._step(offset - self.position)
        end = offset + size
        while self.position < end:
            yield self._step(end - self.position)

    def _step(self, most: int) -> bytes:
        if self._failure is not None:
            raise self._failure
        try:
            while not self._rest:
                self._rest = next(self._blocks)
        except StopIteration:
            self._failure = FormatError("cab: a folder is shorter than its blocks say", code="cab-size")
            raise self._failure from None
        except SignwrightError as problem:
            self._failure = problem
            raise
        piece, self._rest = self._rest[:most], self._rest[most:]
        self.position += len(piece)
        return piece


def _extents(view: View, header: Header, folders: list[Folder], limits: ArchiveLimits) -> list[_Extent]:
    """The block headers of every folder, followed to their end; nothing is unpacked."""
    found, total = [], 0
    for folder in folders:
        at, unpacked = folder.offset, 0
        for _ in range(folder.blocks):
            _, packed, size = _block_header(view, at)
            at += _BLOCK_HEADER.size + header.data_reserve + packed
            if at > view.size:
                raise FormatError("cab: a block beyond the end", offset=folder.offset, code="cab-truncated")
            unpacked += size
        total += unpacked
        if total > limits.total:
            raise LimitError(f"more than {limits.total} bytes in a cabinet", code="archive-total")
        found.append(_Extent(folder.offset, at, unpacked))
    return found


def _block_header(view: View, at: int) -> tuple[int, int, int]:
    """Checksum, packed and unpacked size of the CFDATA at ``at``."""
    if at + _BLOCK_HEADER.size > view.size:
        raise FormatError("cab: a block beyond the end", offset=at, code="cab-truncated")
    checksum, packed, size = _BLOCK_HEADER.unpack(view.read(at, _BLOCK_HEADER.size))
    if not 0 < packed <= _LARGEST_PACKED or size > _LARGEST_BLOCK:
        raise FormatError(f"cab: a block of {packed} bytes for {size}", offset=at, code="cab-block")
    return checksum, packed, size


def _check_layout(used: list[tuple[int, int]]) -> None:
    """No two structures share a byte."""
    for (_, end), (following, _) in pairwise(sorted(used)):
        if end > following:
            raise FormatError("cab: two structures share bytes", offset=following, code="cab-overlap")


def _files(view: View, header: Header) -> tuple[list[CabFile], int]:
    """Every CFFILE, and where the last one ends."""
    files: list[CabFile] = []
    at, window, window_at = header.files_offset, b"", header.files_offset
    largest = _FILE.size + _MAX_NAME
    for _ in range(header.files):
        if at + largest > window_at + len(window):
            window, window_at = view.read(at, min(_WINDOW, view.size - at)), at
        file, length = _file(window[at - window_at : at - window_at + largest], at, header)
        files.append(file)
        at += length
    return files, at


def _file(record: bytes, at: int, header: Header) -> tuple[CabFile, int]:
    end = record.find(b"\0", _FILE.size)
    if end < 0:
        raise FormatError("cab: a file record without an end", offset=at, code="cab-name")
    size, offset, folder, _, _, attributes = _FILE.unpack_from(record)
    name = _name(record[_FILE.size : end], attributes, at)
    begins, ends = folder not in (_FROM_PREVIOUS, _THROUGH), folder not in (_TO_NEXT, _THROUGH)
    if not (begins and ends):
        folder = 0 if not begins else header.folders - 1
    if folder >= header.folders:
        raise FormatError(f"cab: a file in folder {folder}, there are {header.folders}", offset=at, code="cab-folder")
    return CabFile(name, folder, offset, size, begins, ends), end + 1


def _name(raw: bytes, attributes: int, at: int) -> str:
    try:
        name = raw.decode("utf-8" if attributes & _UTF8 else "cp437")
    except UnicodeDecodeError as problem:
        raise FormatError("cab: a name that is not UTF-8", offset=at, code="cab-name") from problem
    if not name or first_bad_character(name) is not None:
        raise FormatError("cab: a name that is empty or not printable", offset=at, code="cab-name")
    return name


def _in_order(files: list[CabFile], folders: list[Folder], extents: list[_Extent]) -> Iterator[CabFile]:
    """The files of each folder in the order of their bytes, and what lies between them."""
    by_folder: dict[int, list[CabFile]] = {}
    for file in files:
        by_folder.setdefault(file.folder, []).append(file)
    for number in range(len(folders)):
        listed = sorted(by_folder.get(number, ()), key=lambda file: (file.offset, file.size))
        begins, ends = all(file.begins for file in listed), all(file.ends for file in listed)
        if begins:
            yield from _tiled(number, listed, extents[number].unpacked, ends=ends)
        else:
            # Where in its folder this cabinet begins is known to the one before it only.
            yield from (replace(file, begins=False) for file in listed)


def _tiled(folder: int, listed: list[CabFile], size: int, *, ends: bool) -> Iterator[CabFile]:
    """``listed`` once for each piece of a folder of ``size`` bytes, with made-up files for pieces that none has."""
    at, before = 0, (-1, -1)
    for file in listed:
        if (file.offset, file.size) == before:
            continue
        if file.offset < at or (file.ends and file.offset + file.size > size):
            raise FormatError(
                f"cab: {file.name!r} shares bytes with another file or ends behind its folder", code="cab-overlap"
            )
        if at < min(file.offset, size):
            yield _unlisted(folder, at, min(file.offset, size))
        yield file
        at, before = file.offset + file.size, (file.offset, file.size)
    if at < size and ends:
        yield _unlisted(folder, at, size)


def _runs(view: View, folder: Folder, listed: list[CabFile]) -> Iterator[Run]:
    """Where in the view the bytes of ``listed`` stand, all of one folder, in order and without a common byte."""
    last: tuple[CabFile, Run] | None = None
    for file, run in _shares(view, folder, listed):
        if last is not None and run.packed and last[0] is file:
            run = replace(run, start=last[1].start)
        elif last is not None:
            yield last[1]
        last = file, run
    if last is not None:
        yield last[1]


def _shares(view: View, folder: Folder, listed: list[CabFile]) -> Iterator[tuple[CabFile, Run]]:
    """`_runs`, block by block."""
    at, position, number = folder.offset, 0, 0
    for _ in range(folder.blocks):
        _, packed, size = _block_header(view, at)
        start, stop = at + _BLOCK_HEADER.size, position + size
        while number < len(listed) and _end(listed[number]) <= position:
            number += 1
        for file in islice(listed, number, None):
            if file.offset >= stop:
                break
            first, last = max(file.offset, position), min(_end(file), stop)
            if folder.method == _STORED and packed == size:
                yield file, Run(start + first - position, start + last - position, _end(file) - last)
            elif folder.method != _STORED and (first, last) == (position, stop):
                yield file, Run(at, start + packed, packed=True)
        at, position = start + packed, stop


def _end(file: CabFile) -> int:
    return file.offset + file.size


def _unlisted(folder: int, start: int, end: int) -> CabFile:
    return CabFile(f"(folder {folder}, bytes {start} to {end})", folder, start, end - start)


def _check_method(folder: Folder) -> None:
    method = folder.method & 0x0F
    if method in (_QUANTUM, _LZX):
        name = "quantum" if method == _QUANTUM else "lzx"
        raise FormatError(f"cab: a folder packed with {name}", offset=folder.offset, code=f"cab-{name}")
    if folder.method not in (_STORED, _MSZIP):
        raise FormatError(f"cab: packing method 0x{folder.method:04x}", offset=folder.offset, code="cab-method")


def _unpacked(view: View, header: Header, folder: Folder) -> Iterator[bytes]:
    """What comes out of each block of a folder. All blocks but the last hold 32 KiB: readers differ in what an earlier
    short one means for the matches behind it.
    """
    at, history = folder.offset, b""
    for number in range(folder.blocks):
        checksum, packed, size = _block_header(view, at)
        head = view.read(at + 4, _BLOCK_HEADER.size - 4 + header.data_reserve)
        content = view.read(at + 4 + len(head), packed)
        if checksum and checksum != _checksum(content) ^ _checksum(head):
            raise FormatError("cab: the checksum of a block differs", offset=at, code="cab-checksum")
        if folder.method == _MSZIP:
            if size < _LARGEST_BLOCK and number + 1 < folder.blocks:
                raise FormatError(f"cab: {size} bytes in a block that is not the last", offset=at, code="cab-block")
            content = history = _inflated(content, history, size, at)
        elif packed != size:
            raise FormatError(f"cab: a stored block of {packed} bytes for {size}", offset=at, code="cab-block")
        yield content
        at += 4 + len(head) + packed


def _inflated(content: bytes, history: bytes, size: int, at: int) -> bytes:
    """One MSZIP block: ``CK`` and a deflate stream of its own, which may refer to the block before ([MS-MCI] 2.2)."""
    if content[:2] != b"CK":
        raise FormatError("cab: a block that is not MSZIP", offset=at, code="cab-packed")
    engine = zlib.decompressobj(-15, zdict=history)
    try:
        result = engine.decompress(content[2:], size + 1)
    except zlib.error as problem:
        raise FormatError("cab: a block does not unpack", offset=at, code="cab-packed") from problem
    if not engine.eof or len(result) != size or engine.unused_data.strip(b"\0"):
        raise FormatError("cab: a block of another length than it says", offset=at, code="cab-size")
    return result


def _checksum(content: bytes) -> int:
    """CSUMCompute of [MS-CAB]: the 32-bit words, little-endian, XOR; what is left over counts backwards."""
    words = len(content) // 4
    value = int.from_bytes(content[: words * 4], "little")
    while words > 1:
        half = (words + 1) // 2
        value = (value >> (32 * half)) ^ (value & ((1 << (32 * half)) - 1))
        words = half
    return value ^ int.from_bytes(content[len(content) // 4 * 4 :], "big")
