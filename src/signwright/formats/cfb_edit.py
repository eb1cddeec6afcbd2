# SPDX-License-Identifier: Apache-2.0
"""Streams of a compound file's root, taken out and put in: the directory, and the `Space` that goes with it."""

from __future__ import annotations

import struct
from array import array
from collections.abc import Sequence

from signwright.containers.cfb import (
    END,
    ENTRY_SIZE,
    FREE,
    HEADER_DIFAT,
    HEADER_SIZE,
    MAX_ENTRIES,
    MAX_MINI_STREAM,
    MINI_CUTOFF,
    MINI_SECTOR,
    NO_ENTRY,
    STREAM,
    CompoundFile,
    Entry,
    name_key,
    words,
)
from signwright.errors import FormatError
from signwright.formats.cfb_rest import (
    EMPTY_ENTRY,
    behind_mini_stream,
    behind_stream,
    check_end,
    check_fields,
    is_blank,
    is_blank_entry,
    is_blank_mini,
    is_zero,
    unused_entries,
    without_stream,
)
from signwright.formats.cfb_space import DIFAT_SECTORS, DIRECTORY_SECTORS, Space, Table
from signwright.formats.cfb_tree import Links, NameTree
from signwright.model.view import blocks

#: Sectors of the FAT that are kept at hand for sectors in the middle of the file, in bytes.
HELD_BYTES = 48 << 10
MAX_FREE, MAX_MINI_FREE = 4096, 128
#: Mini sectors by which the mini stream is made shorter at once.
_MOST_CUT = 4096

_START = 116


def check_tail(file: CompoundFile) -> None:
    """Raise `FormatError` (``data-behind-content``) when something stands behind the last sector that a stream or a
    table holds.

    No signature covers it, and Windows takes no signature of such a file; zeros are dropped when a file is signed.
    """
    used = _used(file)
    reached = min(file.sectors, len(file.fat_places) * file.per_sector)
    at = file.offset(used)
    if any(file.next(sector) != FREE for sector in range(used, reached)):
        raise _behind("sectors behind the last one that a stream holds are marked as in use", at)
    for block in blocks(file.view, at, max(file.view.size - at, 0)):
        if any(block):
            raise _behind("data behind the last sector in use, which no signature covers", at)
        at += len(block)


def _behind(found: str, offset: int) -> FormatError:
    hint = "build the file again, or have Windows Installer save it"
    return FormatError(found, offset=offset, code="data-behind-content", hint=hint)


def unused_bytes(file: CompoundFile) -> int:
    """Bytes of whole sectors that belong to nothing."""
    return file.owned.count(0) * file.sector_size


class Editor:
    """``file`` with changes to the streams of its root. ``released``: streams whose room is given back now, whether
    their entries stay or are removed. ``space`` takes new content; `finish` writes the entries down.
    """

    def __init__(self, file: CompoundFile, released: Sequence[Entry]) -> None:
        self._file = file
        self._raw: dict[int, bytearray] = {}
        self._changed: set[int] = set()
        self._places = array("I", file.directory_places)
        inside = file.children(file.root)
        self._keys = {entry.index: name_key(entry.name) for entry in inside}
        links = {entry.index: Links(entry.left, entry.right, entry.color) for entry in inside}
        self._tree = NameTree(file.root.child, links, self._keys.__getitem__)
        self._unused = unused_entries(file)
        self.space = _space(file, released)

    def remove(self, entry: Entry) -> None:
        """Take the entry out of the directory."""
        self._tree.delete(entry.index)
        self._raw[entry.index] = without_stream(bytes(self._entry(entry.index)))
        self._changed.add(entry.index)
        if is_blank_entry(bytes(self._raw[entry.index])):
            self._unused.append(entry.index)

    def add(self, name: bytes) -> int:
        """A new empty stream; ``name``: UTF-16LE. The answer is the number of its entry."""
        if not self._unused:
            self._grow()
        index = self._unused.pop()
        raw = bytearray(ENTRY_SIZE)
        struct.pack_into("<64sHBB3I", raw, 0, name, len(name) + 2, STREAM, 0, NO_ENTRY, NO_ENTRY, NO_ENTRY)
        self._raw[index] = raw
        self._keys[index] = name_key(name)
        self._tree.insert(index)
        self.set_content(index, END, 0)
        return index

    def set_content(self, index: int, start: int, size: int) -> None:
        """Where an entry's content begins, and its size in bytes, whose upper half stays: it is zero or without use."""
        struct.pack_into("<II", self._entry(index), _START, start, size)
        self._changed.add(index)

    def entry(self, index: int) -> tuple[int, bytes]:
        """Offset in the file and the 128 bytes of an entry, as they are after `finish`."""
        return self._offset(index), bytes(self._entry(index))

    def finish(self) -> None:
        """Write every changed entry into ``space``."""
        for index in self._tree.changed:
            links = self._tree.links[index]
            raw = self._entry(index)
            raw[67] = links.color
            struct.pack_into("<II", raw, 68, links.left, links.right)
        if self._tree.top != self._file.root.child:
            struct.pack_into("<I", self._entry(0), 76, self._tree.top)
            self._changed.add(0)
        root = self._file.root
        if (self.space.mini_start, self.space.mini_size) != (root.start, root.size):
            self.set_content(0, self.space.mini_start, self.space.mini_size)
        for index in self._changed | self._tree.changed:
            self.space.write(*self.entry(index))

    def _entry(self, index: int) -> bytearray:
        if index not in self._raw:
            self._raw[index] = bytearray(self._file.directory[index * ENTRY_SIZE : (index + 1) * ENTRY_SIZE])
        return self._raw[index]

    def _offset(self, index: int) -> int:
        place, within = divmod(index * ENTRY_SIZE, self.space.sector_size)
        return self.space.offset(self._places[place]) + within

    def _grow(self) -> None:
        """One more sector of the directory; in version 4 the header counts them."""
        if (len(self._places) + 1) * self.space.sector_size > MAX_ENTRIES * ENTRY_SIZE:
            raise FormatError("no room for another entry in the directory", code="too-large")
        (place,) = self.space.append(self._places[-1], 1)
        first = len(self._places) * self.space.sector_size // ENTRY_SIZE
        self._places.append(place)
        self.space.write(self.space.offset(place), EMPTY_ENTRY * (self.space.sector_size // ENTRY_SIZE))
        if self.space.sector_size != HEADER_SIZE:
            self.space.set_header_word(DIRECTORY_SECTORS, len(self._places))
        self._unused = list(range(first + self.space.sector_size // ENTRY_SIZE - 1, first - 1, -1))
        for index in self._unused:
            self._raw[index] = bytearray(EMPTY_ENTRY)


def _space(file: CompoundFile, released: Sequence[Entry]) -> Space:
    """The room of ``file`` once ``released`` gave theirs back. What stood behind their ends stays where it is."""
    per = file.per_sector
    if len(file.difat_places) != -(-max(len(file.fat_places) - HEADER_DIFAT, 0) // (per - 1)):
        raise FormatError("the DIFAT has sectors that it does not need", offset=DIFAT_SECTORS, code="cfb-header")
    check_fields(file, released)
    fat = Table(per, len(file.fat_places), lambda n: (file.fat_places[n], array("I", file.fat_page(n))))
    mini_fat = Table(
        per, len(file.mini_fat_places), lambda n: (file.mini_fat_places[n], file.mini_fat[n * per : (n + 1) * per])
    )
    mini_left = _release_mini(file, mini_fat, released)
    mini_size = _mini_size(file, mini_left)
    places = file.mini_places[: -(-mini_size // file.sector_size)]
    left = _release(file, released)
    given = left.keys() | set(file.mini_places[len(places) :])
    if places and len(places) < len(file.mini_places):
        fat[places[-1]] = END
    before = _used(file)
    for sector in given:
        fat[sector] = FREE
        file.owned[sector] = 0
    if _held(fat) > HELD_BYTES:
        raise FormatError("the existing signature is too large, or scattered all over the file", code="too-fragmented")
    blank = {sector for sector in given if is_zero(left.get(sector, b""))}
    check_end(file, blank, _used(file), before)
    space = Space(file.sector_size, file.view.read(0, HEADER_SIZE), count=_used(file), fat=fat, mini_fat=mini_fat)
    for sector, content in mini_left.items():
        space.write(file.mini_offset(sector), content)
    for sector in given - blank:
        space.write(file.offset(sector), left[sector])
    space.stale = {sector for sector in blank if sector < space.count}
    space.free = sorted(_free_sectors(file, space), reverse=True)
    if file.difat_places:
        space.difat = (file.difat_places[-1], words(file.sector(file.difat_places[-1])))
    _set_mini(file, space, mini_size, mini_left)
    return space


def _set_mini(file: CompoundFile, space: Space, mini_size: int, left: dict[int, bytes]) -> None:
    """Note where the mini stream is, and what room is in it."""
    places = file.mini_places[: -(-mini_size // file.sector_size)]
    space.mini_size, space.mini_start = mini_size, places[0] if places else END
    space.mini_last = places[-1] if places else END
    space.mini_fat_last = file.mini_fat_places[-1] if file.mini_fat_places else END
    space.mini_free = _free_mini(file, space, left)
    if not space.mini_is_covered:
        raise FormatError(f"a mini stream of {mini_size} bytes, and a table that ends long before", code="cfb-fat")
    if mini_size + 2 * MINI_CUTOFF > MAX_MINI_STREAM:
        raise FormatError(f"no room in a mini stream of {mini_size} bytes", code="too-large")


def _release(file: CompoundFile, released: Sequence[Entry]) -> dict[int, bytes]:
    """Sectors that are given back, with what stays in the last one of each stream; nothing stays in the others."""
    left: dict[int, bytes] = {}
    for entry in released:
        sectors = [] if entry.is_mini else _sectors(file, entry)
        left |= dict.fromkeys(sectors, b"")
        used = entry.size % file.sector_size
        if sectors and used:
            left[sectors[-1]] = behind_stream(file, file.offset(sectors[-1]), file.sector_size, used)
    return left


def _sectors(file: CompoundFile, entry: Entry) -> list[int]:
    if not entry.size:
        return []
    wanted = -(-entry.size // file.sector_size)
    return [
        sector for first, count in file.runs(entry.start, wanted, "a stream") for sector in range(first, first + count)
    ]


def _used(file: CompoundFile) -> int:
    """Sectors up to the last one that a stream or a table holds."""
    return file.owned.rfind(1) + 1


def _free_sectors(file: CompoundFile, space: Space) -> set[int]:
    """What was given back, and as many other free sectors of nothing but zeros as are needed and easily reached."""
    found = set(space.stale)
    at = file.owned.find(0, 0, space.count)
    while at >= 0 and len(found) < MAX_FREE:
        if not _reachable(space.fat, at):
            break
        if space.fat[at] == FREE and is_blank(file, at):
            found.add(at)
        at = file.owned.find(0, at + 1, space.count)
    return found


def _release_mini(file: CompoundFile, mini_fat: Table, released: Sequence[Entry]) -> dict[int, bytes]:
    """Mini sectors that are given back, with what stays in them."""
    left = {}
    for entry in released:
        size = entry.size
        for sector in file.mini_chain(entry) if entry.is_mini and size else ():
            mini_fat[sector] = FREE
            left[sector] = behind_stream(file, file.mini_offset(sector), MINI_SECTOR, min(size, MINI_SECTOR))
            size -= MINI_SECTOR
    if _held(mini_fat) > HELD_BYTES:
        raise FormatError("the existing signature is too large, or scattered all over the file", code="too-fragmented")
    return left


def _mini_size(file: CompoundFile, released: dict[int, bytes]) -> int:
    """Bytes of the mini stream, which ends with its last sector that something stands in, or not far behind, if any was
    given back. Where something stands behind the mini stream already, it takes that in as well.
    """
    if not is_zero(behind_mini_stream(file)):
        return len(file.mini_places) * file.sector_size
    left, least = file.mini_sectors, max(file.mini_sectors - _MOST_CUT, 0)
    while released and left > least and _is_cut(file, left - 1, released):
        left -= 1
    return min(left * MINI_SECTOR, file.root.size)


def _is_cut(file: CompoundFile, sector: int, released: dict[int, bytes]) -> bool:
    """Whether a mini sector at the end of the mini stream may go."""
    if sector in released:
        return is_zero(released[sector])
    return (sector >= len(file.mini_fat) or file.mini_fat[sector] == FREE) and is_blank_mini(file, sector)


def _free_mini(file: CompoundFile, space: Space, left: dict[int, bytes]) -> list[tuple[int, int]]:
    """Free mini sectors within the mini stream, the last first: those given back, and others easily reached. All of
    them hold nothing but zeros.
    """
    end = -(-space.mini_size // MINI_SECTOR)
    free = {sector: file.mini_offset(sector) for sector in left if sector < end and is_zero(left[sector])}
    for sector in range(min(end, len(file.mini_fat))):
        if file.mini_fat[sector] != FREE:
            continue
        if len(free) == MAX_MINI_FREE or not _reachable(space.mini_fat, sector):
            break
        if is_blank_mini(file, sector):
            space.mini_fat.page(sector // space.mini_fat.per)
            free.setdefault(sector, file.mini_offset(sector))
    return sorted(free.items(), reverse=True)


def _held(table: Table) -> int:
    return len(table.pages) * table.per * 4


def _reachable(table: Table, sector: int) -> bool:
    """Whether a sector's word is at hand, or may be brought without holding too much."""
    return sector // table.per in table.pages or _held(table) + table.per * 4 <= HELD_BYTES
