# SPDX-License-Identifier: Apache-2.0
"""A strict look at a compound file (MS-CFB): installers, patches, older office documents.

A compound file is a small file system: sectors, chains of sectors in an allocation table (FAT), a directory whose
entries are binary trees of names, and a second allocation table for streams below 4,096 bytes (mini stream). Everything
is checked before anything is handed out: a chain that leaves the file, runs in a circle, shares a sector with another
or has another length than its stream, an entry that no tree reaches, two names that Windows takes for one. Memory is
the directory and one byte per sector; streams come out in blocks. Errors are `FormatError` (``cfb-...``).
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Iterator
from dataclasses import dataclass

from signwright.containers.cfb_runs import AT_ONCE, is_straight, joined, runs_in
from signwright.errors import FormatError
from signwright.model.view import View, blocks

MAGIC = bytes.fromhex("d0cf11e0a1b11ae1")
HEADER_SIZE, ENTRY_SIZE, MINI_SECTOR = 512, 128, 64
#: Streams below this size stand in the mini stream.
MINI_CUTOFF = 4096
HEADER_DIFAT = 109

FREE, END, FAT_MARK, DIFAT_MARK, NO_ENTRY = 0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFFD, 0xFFFFFFFC, 0xFFFFFFFF
EMPTY, STORAGE, STREAM, ROOT = 0, 1, 2, 5
RED, BLACK = 0, 1

#: From here on the sector of the range lock (MS-CFB 2.8) would have to be kept free.
MAX_SIZE = 0x7FFFFF00
MAX_ENTRIES = 1 << 15
MAX_MINI_STREAM = MAX_ENTRIES * MINI_CUTOFF
MAX_DEPTH = 32
#: Sectors of the tables that a file may have and not need.
SPARE_TABLES = 128

_HEADER = struct.Struct("<8s16s5H6s9I")
_ENTRY = struct.Struct("<64sHBB3I16sI2QIQ")
_PAGES = 64
#: Streams in at most so many runs are found again without the FAT.
_MOST_KNOWN = 8


@dataclass(frozen=True, slots=True)
class Header:
    """MS-CFB 2.2. Counts are of sectors."""

    sector_size: int
    directory_sectors: int
    fat_sectors: int
    first_directory: int
    first_mini_fat: int
    mini_fat_sectors: int
    first_difat: int
    difat_sectors: int


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of the directory (MS-CFB 2.6.1). ``name``: UTF-16LE without its terminator; ``clsid``, ``state``,
    ``created``, ``modified``: as they stand there.
    """

    index: int
    name: bytes
    kind: int
    color: int
    left: int
    right: int
    child: int
    clsid: bytes
    state: int
    created: int
    modified: int
    start: int
    size: int

    @property
    def text(self) -> str:
        """The name; half of a surrogate pair stays what it is."""
        return self.name.decode("utf-16-le", "surrogatepass")

    @property
    def is_mini(self) -> bool:
        return self.kind == STREAM and self.size < MINI_CUTOFF


def looks_like_cfb(view: View) -> bool:
    """By content: the first eight bytes."""
    return view.size >= HEADER_SIZE and view.read(0, len(MAGIC)) == MAGIC


def name_key(name: bytes) -> tuple[int, bytes]:
    """Orders names as the directory does (MS-CFB 2.6.4): the shorter first, then by upper-case code units."""
    text = "".join(map(_upper, name.decode("utf-16-le", "surrogatepass")))
    return len(name), text.encode("utf-16-be", "surrogatepass")


def _upper(character: str) -> str:
    """Simple case folding: only what stays one 16-bit unit."""
    upper = character.upper()
    return upper if len(upper) == 1 and ord(character) <= 0xFFFF and ord(upper) <= 0xFFFF else character


def words(content: bytes) -> array[int]:
    """Little-endian 32-bit numbers."""
    numbers = array("I", content)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


def read_header(view: View) -> Header:
    """Raises `FormatError` (``not-a-cfb``, ``cfb-header``, ``too-large``)."""
    if not looks_like_cfb(view):
        raise FormatError("not a compound file", code="not-a-cfb")
    row = _HEADER.unpack(view.read(0, _HEADER.size))
    major, order, shift, mini_shift = row[3], row[4], row[5], row[6]
    directory_sectors, fat_sectors, first_directory, _, cutoff = row[8:13]
    if (major, shift) not in {(3, 9), (4, 12)} or order != 0xFFFE or mini_shift != 6 or cutoff != MINI_CUTOFF:
        raise _bad("header", f"version {major}, sectors of 2^{shift} bytes, cutoff {cutoff}", 0x18)
    if view.size >= MAX_SIZE:
        raise FormatError(f"a compound file of {view.size} bytes, below 2 GiB are read", code="too-large")
    if view.size < 1 << shift:
        raise _bad("truncated", "ends within its header", view.size)
    return Header(1 << shift, directory_sectors, fat_sectors, first_directory, row[13], row[14], row[15], row[16])


class CompoundFile:
    """The streams of ``view``, everything checked.

    ``entries``: by number, unused ones too; ``directory_places``: sectors of the directory; ``sectors``: of the file
    behind its header, the last one maybe cut short; ``fat_places``, ``difat_places``: sectors of the tables in order;
    ``mini_fat``, ``mini_fat_places``, ``mini_places``: the mini stream's table, its sectors, and the sectors that hold
    the mini stream; ``owned``: one byte for each sector, 1 where it belongs to a table or a stream.
    """

    def __init__(self, view: View) -> None:
        self.view = view
        self.header = read_header(view)
        self.sector_size = self.header.sector_size
        self.per_sector = self.sector_size // 4
        self.sectors = -(-view.size // self.sector_size) - 1
        self.owned = bytearray(self.sectors)
        self._pages: dict[int, array[int]] = {}
        self._known: dict[int, list[tuple[int, int]]] = {}
        self.fat_places, self.difat_places = self._read_difat()
        self._check_marks()
        self.directory_places = self._read_directory_chain()
        self.directory = b"".join(self.sector(place) for place in self.directory_places)
        self.entries = [_entry(self.directory, i, self.header) for i in range(len(self.directory) // ENTRY_SIZE)]
        if self.root.kind != ROOT:
            raise _bad("directory", "the first entry is not the root", self.entry_offset(0))
        self._children = self._read_trees()
        self.mini_fat_places, self.mini_fat = self._read_mini_fat()
        self.mini_places = self._read_mini_places()
        self._mini_owned = bytearray(self.mini_sectors)
        self._own_streams()

    @property
    def root(self) -> Entry:
        return self.entries[0]

    @property
    def mini_sectors(self) -> int:
        """Number of mini sectors that the mini stream holds."""
        return -(-self.root.size // MINI_SECTOR)

    def children(self, storage: Entry) -> list[Entry]:
        """The entries of a storage, in no particular order."""
        return [self.entries[index] for index in self._children.get(storage.index, ())]

    def child(self, storage: Entry, name: bytes) -> Entry | None:
        """The entry that Windows finds under ``name``, whatever the case of its letters."""
        key = name_key(name)
        return next((entry for entry in self.children(storage) if name_key(entry.name) == key), None)

    def offset(self, sector: int) -> int:
        """Where a sector stands in the file."""
        return (sector + 1) * self.sector_size

    def mini_offset(self, sector: int) -> int:
        """Where a mini sector stands in the file."""
        place, within = divmod(sector * MINI_SECTOR, self.sector_size)
        return self.offset(self.mini_places[place]) + within

    def entry_offset(self, index: int) -> int:
        """Where an entry of the directory stands in the file."""
        place, within = divmod(index * ENTRY_SIZE, self.sector_size)
        return self.offset(self.directory_places[place]) + within

    def sector(self, sector: int) -> bytes:
        """The whole sector."""
        offset = self.offset(sector)
        if offset + self.sector_size > self.view.size:
            raise _bad("truncated", f"sector {sector} is beyond the end", offset)
        return self.view.read(offset, self.sector_size)

    def fat_page(self, page: int) -> array[int]:
        """A sector of the FAT; the last ones that were asked for stay in memory."""
        if page >= len(self.fat_places):
            raise _bad("chain", f"a chain runs beyond the FAT of {len(self.fat_places)} sectors", 0)
        found = self._pages.get(page)
        if found is None:
            if len(self._pages) == _PAGES:
                self._pages.clear()
            found = self._pages[page] = words(self.sector(self.fat_places[page]))
        return found

    def next(self, sector: int) -> int:
        """The FAT's word about a sector."""
        return self.fat_page(sector // self.per_sector)[sector % self.per_sector]

    def runs(self, start: int, at_most: int, what: str) -> Iterator[tuple[int, int]]:
        """The chain from ``start`` as runs of consecutive sectors (first, count); no run leaves the file and all
        together have at most ``at_most`` sectors.
        """
        total, sector = 0, start
        while sector != END:
            first = sector
            if first >= self.sectors:
                raise _bad("chain", f"{what} names sector {first} of {self.sectors}", 0)
            page, at = self.fat_page(first // self.per_sector), first % self.per_sector
            while page[at] == sector + 1:
                sector, at = sector + 1, at + 1
                if at == self.per_sector:
                    sector += self._straight_ahead(sector)
                    page, at = self.fat_page(sector // self.per_sector), 0
            count = sector + 1 - first
            total += count
            if sector >= self.sectors or total > at_most:
                raise _bad("chain", f"{what} has more than {at_most} sectors, or leaves the file", self.offset(first))
            yield first, count
            sector = page[at]

    def _straight_ahead(self, sector: int) -> int:
        """How many sectors from ``sector`` on, the first that a page of the FAT is about, name the following one. Only
        whole pages count, more and more of them at once.
        """
        page, found, most = sector // self.per_sector, 0, 1
        while (at := page + found) < len(self.fat_places):
            count = self._together(at, most)
            if is_straight(self._fat_pages(at, count), at * self.per_sector):
                found += count
                most = min(2 * most, AT_ONCE // self.per_sector)
            elif count > 1:
                most = 1
            else:
                break
        return found * self.per_sector

    def _together(self, page: int, most: int) -> int:
        """How many pages of the FAT from ``page`` on stand behind each other: ``most``, a power of two, or a lesser."""
        first = self.fat_places[page]
        while most > 1 and self.fat_places[page : page + most] != array("I", range(first, first + most)):
            most //= 2
        return most

    def _fat_pages(self, page: int, count: int) -> array[int]:
        """The words of pages that stand behind each other."""
        if count == 1:
            return self.fat_page(page)
        return words(self.view.read(self.offset(self.fat_places[page]), count * self.sector_size))

    def pieces(self, entry: Entry) -> Iterator[tuple[int, int]]:
        """Where a stream's bytes stand in the file: (offset, length), neighbours joined."""
        unit = MINI_SECTOR if entry.is_mini else self.sector_size
        left = entry.size
        for offset, length in joined(self._mini_pieces(entry) if entry.is_mini else self._large_pieces(entry)):
            length = min(length, left)
            if offset + length > self.view.size:
                raise _bad("truncated", "a stream ends behind the file", offset)
            yield offset, length
            left -= length
        if left:
            raise _bad("chain", f"a stream of {entry.size} bytes lacks {left}, in units of {unit}", 0)

    def blocks(self, entry: Entry) -> Iterator[bytes]:
        """A stream's content in blocks of at most 1 MiB."""
        for offset, length in self.pieces(entry):
            yield from blocks(self.view, offset, length)

    def read(self, entry: Entry, limit: int) -> bytes:
        """A whole stream; raises `FormatError` (``too-large``) when it is longer than ``limit``."""
        if entry.size > limit:
            raise FormatError(f"a stream of {entry.size} bytes, at most {limit} are read", code="too-large")
        return b"".join(self.blocks(entry))

    def check_order(self, storage: Entry) -> None:
        """Raise `FormatError` (``cfb-order``) unless every name of a storage is found where it is looked for."""
        last: tuple[int, bytes] | None = None
        waiting: list[Entry] = []
        at = storage.child
        while waiting or at != NO_ENTRY:
            while at != NO_ENTRY:
                waiting.append(self.entries[at])
                at = waiting[-1].left
            entry = waiting.pop()
            key = name_key(entry.name)
            if last is not None and key <= last:
                raise _bad("order", "names of the directory are out of order", self.entry_offset(entry.index))
            last, at = key, entry.right

    def _large_pieces(self, entry: Entry) -> Iterator[tuple[int, int]]:
        if entry.index in self._known:
            yield from self._known[entry.index]
        elif entry.size:
            for first, count in self.runs(entry.start, -(-entry.size // self.sector_size), "a stream"):
                yield self.offset(first), count * self.sector_size

    def _mini_pieces(self, entry: Entry) -> Iterator[tuple[int, int]]:
        if entry.size:
            for sector in self.mini_chain(entry):
                yield self.mini_offset(sector), MINI_SECTOR

    def mini_chain(self, entry: Entry) -> Iterator[int]:
        sector = entry.start
        for _ in range(-(-entry.size // MINI_SECTOR)):
            if sector >= self.mini_sectors or sector >= len(self.mini_fat):
                raise _bad("chain", f"a stream names mini sector {sector} of {self.mini_sectors}", 0)
            yield sector
            sector = self.mini_fat[sector]
        if sector != END:
            raise _bad("chain", "a small stream goes on behind its end", self.entry_offset(entry.index))

    def own(self, first: int, count: int, what: str) -> None:
        """Note that sectors belong to something; each may belong to one thing only."""
        if self.owned.find(1, first, first + count) >= 0:
            raise _bad("shared", f"a sector of {what} belongs to something else as well", self.offset(first))
        self.owned[first : first + count] = b"\1" * count

    def _chain(self, start: int, at_most: int, what: str) -> array[int]:
        places = array("I")
        for first, count in self.runs(start, at_most, what):
            self.own(first, count, what)
            places.extend(range(first, first + count))
        return places

    def _read_difat(self) -> tuple[array[int], array[int]]:
        """Sectors of the FAT, and those of the list of them that does not fit the header (MS-CFB 2.5)."""
        header = self.header
        most = self.sectors // self.per_sector + SPARE_TABLES
        if header.fat_sectors > most or header.difat_sectors > most // self.per_sector + SPARE_TABLES:
            raise _bad("header", f"{header.fat_sectors} FAT sectors in a file of {self.sectors}", 0x2C)
        listed = words(self.view.read(_HEADER.size, 4 * HEADER_DIFAT))
        places, sector = array("I"), header.first_difat
        for _ in range(header.difat_sectors):
            self._inside(sector, "the DIFAT")
            self.own(sector, 1, "the DIFAT")
            places.append(sector)
            row = words(self.sector(sector))
            sector = row.pop()
            listed.extend(row)
        if sector not in {END, FREE}:
            raise _bad("header", "the DIFAT goes on behind its end", 0x44)
        fat = listed[: header.fat_sectors]
        if len(fat) != header.fat_sectors or any(word != FREE for word in listed[header.fat_sectors :]):
            raise _bad("header", f"the DIFAT does not list {header.fat_sectors} FAT sectors", 0x2C)
        for first, count in runs_in(fat):
            self._inside(first + count - 1, "the FAT")
            if self.offset(first + count) > self.view.size:
                raise _bad("truncated", "the last sector of the FAT is cut short", self.offset(first))
            self.own(first, count, "the FAT")
        return fat, places

    def _inside(self, sector: int, what: str) -> None:
        if sector >= self.sectors:
            raise _bad("chain", f"{what} names sector {sector} of {self.sectors}", 0)

    def _check_marks(self) -> None:
        """Tables are marked as such in the FAT, and nothing behind the end of the file is in use."""
        for places, mark in ((self.fat_places, FAT_MARK), (self.difat_places, DIFAT_MARK)):
            for first, count in runs_in(places):
                self._check_marked(first, first + count, mark)
        for number in range(self.sectors // self.per_sector, len(self.fat_places)):
            behind = self.fat_page(number)[max(self.sectors - number * self.per_sector, 0) :]
            if any(word != FREE for word in behind):
                raise _bad("fat", "the FAT has sectors behind the end of the file", 0)

    def _check_marked(self, first: int, end: int, mark: int) -> None:
        while first < end:
            page, at = divmod(first, self.per_sector)
            for word in self.fat_page(page)[at : at + end - first]:
                if word != mark:
                    raise _bad("fat", f"sector {first} of a table is not marked as one", self.offset(first))
                first += 1

    def _read_directory_chain(self) -> array[int]:
        at_most = MAX_ENTRIES * ENTRY_SIZE // self.sector_size
        places = self._chain(self.header.first_directory, at_most, "the directory")
        counted = self.header.directory_sectors
        if not places or (self.sector_size != HEADER_SIZE and counted != len(places)):
            raise _bad("directory", f"the directory has {len(places)} sectors, the header says {counted}", 0x28)
        return places

    def _read_trees(self) -> dict[int, list[int]]:
        """The entries of each storage, by its number."""
        found: dict[int, list[int]] = {}
        seen = bytearray(len(self.entries))
        seen[0] = 1
        storages = [(0, 1)]
        while storages:
            storage, depth = storages.pop()
            if depth > MAX_DEPTH:
                raise _bad("directory", "storages are nested too deep", self.entry_offset(storage))
            inside = found[storage] = list(self._tree(self.entries[storage].child, seen))
            if len({name_key(self.entries[index].name) for index in inside}) != len(inside):
                raise _bad("directory", "two entries of one name", self.entry_offset(storage))
            storages += [(index, depth + 1) for index in inside if self.entries[index].kind == STORAGE]
        lost = [entry.index for entry in self.entries if entry.kind != EMPTY and not seen[entry.index]]
        if lost:
            raise _bad("directory", "an entry that no storage holds", self.entry_offset(lost[0]))
        return found

    def _tree(self, top: int, seen: bytearray) -> Iterator[int]:
        waiting = [top]
        while waiting:
            index = waiting.pop()
            if index == NO_ENTRY:
                continue
            if index >= len(self.entries) or seen[index] or self.entries[index].kind not in {STORAGE, STREAM}:
                raise _bad("directory", f"entry {index} is none, or stands in two places", 0)
            seen[index] = 1
            yield index
            waiting += [self.entries[index].left, self.entries[index].right]

    def _read_mini_fat(self) -> tuple[array[int], array[int]]:
        header = self.header
        at_most = MAX_MINI_STREAM // MINI_SECTOR // self.per_sector
        if header.mini_fat_sectors > min(at_most, self.sectors):
            raise _bad("header", f"{header.mini_fat_sectors} sectors of the mini FAT", 0x40)
        start = header.first_mini_fat if header.mini_fat_sectors else END
        places = self._chain(start, header.mini_fat_sectors, "the mini FAT")
        if len(places) != header.mini_fat_sectors:
            raise _bad("chain", f"the mini FAT has {len(places)} sectors, the header says otherwise", 0x40)
        table = array("I")
        for place in places:
            table.extend(words(self.sector(place)))
        return places, table

    def _read_mini_places(self) -> array[int]:
        if self.root.size > min(MAX_MINI_STREAM, self.sectors * self.sector_size):
            raise _bad("directory", f"a mini stream of {self.root.size} bytes", self.entry_offset(0))
        wanted = -(-self.root.size // self.sector_size)
        places = self._chain(self.root.start, wanted, "the mini stream") if wanted else array("I")
        if len(places) != wanted:
            raise _bad("chain", f"the mini stream has {len(places)} sectors of {wanted}", self.entry_offset(0))
        return places

    def _own_streams(self) -> None:
        for entry in self.entries:
            if entry.kind != STREAM or not entry.size:
                continue
            if entry.size > self.sectors * self.sector_size:
                raise _bad("directory", f"a stream of {entry.size} bytes", self.entry_offset(entry.index))
            if entry.is_mini:
                self._own_mini(entry)
                continue
            wanted = -(-entry.size // self.sector_size)
            found: list[tuple[int, int]] = []
            for first, count in self.runs(entry.start, wanted, "a stream"):
                self.own(first, count, "a stream")
                wanted -= count
                if len(found) <= _MOST_KNOWN:
                    found.append((self.offset(first), count * self.sector_size))
            if wanted:
                raise _bad("chain", "a stream ends before its size", self.entry_offset(entry.index))
            if len(found) <= _MOST_KNOWN:
                self._known[entry.index] = found

    def _own_mini(self, entry: Entry) -> None:
        for sector in self.mini_chain(entry):
            if self._mini_owned[sector]:
                raise _bad("shared", "two streams share a mini sector", self.entry_offset(entry.index))
            self._mini_owned[sector] = 1


def _entry(directory: bytes, index: int, header: Header) -> Entry:
    row = _ENTRY.unpack_from(directory, index * ENTRY_SIZE)
    raw, length, kind = row[0], row[1], row[2]
    name = raw[: max(length - 2, 0)]
    if kind != EMPTY:
        ends = length % 2 == 0 and 2 <= length <= len(raw) and raw[length - 2 : length] == b"\0\0"
        inner = any(name[at : at + 2] == b"\0\0" for at in range(0, len(name), 2))
        if kind not in {STORAGE, STREAM, ROOT} or not ends or inner:
            raise _bad("directory", f"entry {index} has no proper name or kind", 0)
    # Writers of version 3 leave anything in the upper half of a size (MS-CFB 2.6.1).
    size = row[12] if header.sector_size != HEADER_SIZE else row[12] & 0xFFFFFFFF
    left, right, child, clsid, state, created, modified, start = row[4:12]
    return Entry(index, name, kind, row[3], left, right, child, clsid, state, created, modified, start, size)


def _bad(code: str, found: str, offset: int) -> FormatError:
    return FormatError(f"compound file: {found}", offset=offset, code=f"cfb-{code}")
