# SPDX-License-Identifier: Apache-2.0
"""A reader's own view of compound files (MS-CFB), written from the specification. No writer's code.

What two programs could read in two ways is an error: sectors in two places, chains that are longer or shorter than
their stream, names out of order, of equal sound or out of reach, a header that miscounts the directory.
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

from signwright.errors import FormatError
from signwright.model.view import View, blocks

SIGNATURE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
MAX_ENTRIES = 32768
MAX_DEPTH = 32
MAX_SMALL = 128 << 20

_LAST, _UNUSED, _NONE = 0xFFFFFFFE, 0xFFFFFFFF, 0xFFFFFFFF
_OF_FAT, _OF_DIFAT = 0xFFFFFFFD, 0xFFFFFFFC
_LIMIT = 0x7FFFFF00
_CUTOFF, _SMALL = 4096, 64
#: Words of the FAT that are compared at once.
_AT_ONCE = 1024
#: Sectors of tables that a file may have and not need.
_SPARE = 128


@dataclass(slots=True)
class Item:
    """A storage or a stream. ``name``: UTF-16LE; ``row``: of the directory; ``items``: what a storage holds, in the
    order of the directory's tree.
    """

    row: int
    name: bytes
    is_stream: bool
    clsid: bytes
    state: int
    created: int
    modified: int
    start: int
    size: int
    items: list[Item] = field(default_factory=list)


@dataclass(slots=True)
class _Row:
    kind: int
    left: int
    right: int
    child: int
    item: Item


class CompoundReader:
    """``root``: the tree of items. ``unused``: whole sectors that nothing holds; ``behind``: offset of what follows the
    last sector in use, which is the size of the file when nothing does.

    For who looks at what no stream holds: ``unit``, bytes of a sector; ``taken``, a byte for each sector, 0 where it
    belongs to nothing; ``fat`` and ``small_fat``, the tables; ``directory``, its sectors joined; ``small_places``, the
    sectors that hold the small ones; ``small_used``, how many bytes of each small sector a stream holds; ``ends``, last
    sectors of long streams, with the number of bytes there, where they are not full.
    """

    def __init__(self, view: View) -> None:
        self.view = view
        self._read_header()
        self.taken = bytearray(self._sectors)
        self.ends: list[tuple[int, int]] = []
        self.fat = self._read_fat()
        self.directory, self._rows = self._read_directory()
        self.root = self._rows[0].item
        self._read_small()
        self._build_trees()
        self._check_chains()
        in_use = self.taken.rfind(1) + 1
        self.unused = self.taken.count(0)
        self.behind = min((in_use + 1) * self.unit, view.size)

    def content(self, item: Item) -> Iterator[bytes]:
        """A stream's bytes in blocks of at most 1 MiB."""
        for offset, length in self.spans(item):
            yield from blocks(self.view, offset, length)

    def read(self, item: Item, limit: int) -> bytes:
        """A whole stream, or `FormatError` (``too-large``)."""
        if item.size > limit:
            raise FormatError(f"stream of {item.size} bytes, at most {limit} are read", code="too-large")
        return b"".join(self.content(item))

    def streams(self) -> Iterator[tuple[int, Item]]:
        """Every item but the root, with its depth (1: in the root)."""
        waiting = [(1, item) for item in self.root.items]
        while waiting:
            depth, item = waiting.pop()
            yield depth, item
            waiting += [(depth + 1, inner) for inner in item.items]

    def _read_header(self) -> None:
        view = self.view
        if view.size < 512 or view.read(0, 8) != SIGNATURE:
            raise FormatError("not a compound file", code="not-a-cfb")
        head = view.read(0, 512)
        version, order, shift, small = struct.unpack_from("<4H", head, 26)
        (cutoff,) = struct.unpack_from("<I", head, 56)
        if {3: 9, 4: 12}.get(version) != shift or order != 0xFFFE or small != 6 or cutoff != _CUTOFF:
            raise FormatError("header of an unknown compound file", offset=26, code="cfb-header")
        if view.size >= _LIMIT:
            raise FormatError("a compound file of 2 GiB or more", code="too-large")
        self.unit = 1 << shift
        self.is_wide = version == 4
        self._sectors = max((view.size + self.unit - 1) // self.unit - 1, 0)
        self._directory_count, self._fat_count, self._directory_start = struct.unpack_from("<3I", head, 40)
        self._small_table_start, self._small_table_count = struct.unpack_from("<2I", head, 60)
        self._difat_start, self._difat_count = struct.unpack_from("<2I", head, 68)
        self._head_difat = _numbers(head[76:])

    def _whole(self, sector: int) -> bytes:
        """A sector that must be there in full."""
        if sector >= self._sectors or (sector + 2) * self.unit > self.view.size:
            raise FormatError(f"sector {sector} is not in the file", code="cfb-truncated")
        return self.view.read((sector + 1) * self.unit, self.unit)

    def _take(self, first: int, count: int) -> None:
        held = self.taken.find(1, first, first + count)
        if held >= 0:
            raise FormatError(f"sector {held} is in two places", offset=(held + 1) * self.unit, code="cfb-shared")
        self.taken[first : first + count] = b"\1" * count

    def _read_fat(self) -> array[int]:
        words = self.unit // 4
        if self._fat_count > self._sectors // words + _SPARE or self._difat_count > self._fat_count // words + _SPARE:
            raise FormatError("more tables than a file of this size has", offset=44, code="cfb-header")
        listed, lists, at = list(self._head_difat), [], self._difat_start
        for _ in range(self._difat_count):
            row = _numbers(self._whole(at))
            lists.append(at)
            listed += row[:-1]
            at = row[-1]
        if at not in (_LAST, _UNUSED):
            raise FormatError("the list of tables goes on", offset=68, code="cfb-header")
        own, rest = listed[: self._fat_count], listed[self._fat_count :]
        if len(own) < self._fat_count or any(sector != _UNUSED for sector in rest):
            raise FormatError("tables are miscounted", offset=44, code="cfb-header")
        fat = array("I")
        for sector in own:
            fat.extend(_numbers(self._whole(sector)))
        for marks, sectors in ((_OF_FAT, own), (_OF_DIFAT, lists)):
            for sector in sectors:
                self._take(sector, 1)
                if sector >= len(fat) or fat[sector] != marks:
                    raise FormatError(f"table in sector {sector} is not marked", code="cfb-fat")
        if any(word != _UNUSED for word in fat[self._sectors :]):
            raise FormatError("the table goes on behind the file", code="cfb-fat")
        return fat

    def _chain(self, start: int, wanted: int | None, what: str) -> array[int]:
        """All sectors of a chain, taken. ``wanted``: how many there must be; None: of the directory, whose size is in
        no place.
        """
        places = array("I")
        for first, count in self._walk(start, wanted, what):
            places.extend(range(first, first + count))
        return places

    def _walk(self, start: int, wanted: int | None, what: str) -> Iterator[tuple[int, int]]:
        """`_chain`, as runs of sectors that follow each other: (first, count)."""
        found = 0
        for first, count in self._runs(start, what):
            self._take(first, count)
            yield first, count
            found += count
            if wanted is not None and found > wanted:
                break
        if wanted is not None and found != wanted:
            raise FormatError(f"{what} has {found} sectors or more, wanted {wanted}", code="cfb-chain")

    def _runs(self, start: int, what: str) -> Iterator[tuple[int, int]]:
        """The same, and nothing is taken: of a chain that runs in a circle there is no end."""
        sector, end = start, min(self._sectors, len(self.fat))
        while sector != _LAST:
            if sector >= end:
                raise FormatError(f"{what} leaves the file at sector {sector}", code="cfb-chain")
            first = sector
            while (following := self.fat[sector]) == sector + 1 and following < end:
                sector = following
                if sector % _AT_ONCE == 0:
                    sector = self._far_ahead(sector, end)
            yield first, sector + 1 - first
            sector = self.fat[sector]

    def _far_ahead(self, sector: int, end: int) -> int:
        """A later sector of the same run, or the same one."""
        while sector + _AT_ONCE < end:
            following = array("I", range(sector + 1, sector + _AT_ONCE + 1))
            if self.fat[sector : sector + _AT_ONCE] != following:
                break
            sector += _AT_ONCE
        return sector

    def _read_directory(self) -> tuple[bytes, list[_Row]]:
        places = self._chain(self._directory_start, None, "the directory")
        if not places or len(places) * self.unit > MAX_ENTRIES * 128:
            raise FormatError(f"a directory of {len(places)} sectors", code="cfb-directory")
        if self.is_wide and self._directory_count != len(places):
            raise FormatError("the header miscounts the directory", offset=40, code="cfb-directory")
        content = b"".join(self._whole(place) for place in places)
        rows = [self._row(at // 128, content[at : at + 128]) for at in range(0, len(content), 128)]
        if rows[0].kind != 5:
            raise FormatError("the directory begins with no root", code="cfb-directory")
        return content, rows

    def _row(self, number: int, raw: bytes) -> _Row:
        length, kind = struct.unpack_from("<HB", raw, 64)
        left, right, child = struct.unpack_from("<3I", raw, 68)
        state, created, modified, start, size = struct.unpack_from("<I2QIQ", raw, 96)
        name = raw[: length - 2] if 2 <= length <= 64 else b""
        if kind not in (0, 1, 2, 5):
            raise FormatError(f"directory row {number} is of kind {kind}", code="cfb-directory")
        if kind and (length % 2 or not 2 <= length <= 64 or "\0" in name.decode("utf-16-le", "replace")):
            raise FormatError(f"directory row {number} has a name of {length} bytes", code="cfb-directory")
        if kind and raw[length - 2 : length] != b"\0\0":
            raise FormatError(f"directory row {number} has a name without an end", code="cfb-directory")
        if not self.is_wide:
            size %= 1 << 32
        item = Item(number, name, kind == 2, raw[80:96], state, created, modified, start, size)
        return _Row(kind, left, right, child, item)

    def _read_small(self) -> None:
        """The stream of small streams and its table."""
        if self._small_table_count > min(self._sectors, MAX_SMALL // _SMALL * 4 // self.unit):
            raise FormatError("a table of small sectors that is too large", offset=64, code="cfb-header")
        size = self.root.size
        if size > min(MAX_SMALL, self._sectors * self.unit):
            raise FormatError(f"small streams of {size} bytes together", code="cfb-directory")
        start = self._small_table_start if self._small_table_count else _LAST
        self.small_fat = array("I")
        for place in self._chain(start, self._small_table_count, "the table of small sectors"):
            self.small_fat.extend(_numbers(self._whole(place)))
        wanted = -(-size // self.unit)
        self.small_places = self._chain(self.root.start if wanted else _LAST, wanted, "the small streams")
        self.small_used = bytearray(-(-size // _SMALL))

    def _build_trees(self) -> None:
        reached = {0}
        waiting = [(self._rows[0], 1)]
        while waiting:
            storage, depth = waiting.pop()
            if depth > MAX_DEPTH:
                raise FormatError("storages are too deep", code="cfb-directory")
            inside = self._in_order(storage.child, reached)
            keys = [_sort_key(row.item.name) for row in inside]
            if any(before >= after for before, after in pairwise(keys)):
                raise FormatError("names are out of order, or twice there", code="cfb-order")
            storage.item.items = [row.item for row in inside]
            waiting += [(row, depth + 1) for row in inside if not row.item.is_stream]
        for row in self._rows:
            if row.kind and row.item.row not in reached:
                raise FormatError(f"directory row {row.item.row} is out of reach", code="cfb-directory")

    def _in_order(self, top: int, reached: set[int]) -> list[_Row]:
        found: list[_Row] = []
        above: list[_Row] = []
        at = top
        while above or at != _NONE:
            while at != _NONE:
                if at >= len(self._rows) or at in reached or self._rows[at].kind not in (1, 2):
                    raise FormatError(f"directory row {at} is none, or in two places", code="cfb-directory")
                reached.add(at)
                above.append(self._rows[at])
                at = above[-1].left
            found.append(above.pop())
            at = found[-1].right
        return found

    def _check_chains(self) -> None:
        """Walk every stream once: each sector has one owner, each chain the length of its stream."""
        for _, item in self.streams():
            if not item.is_stream or not item.size:
                continue
            if item.size > self._sectors * self.unit:
                raise FormatError(f"stream of {item.size} bytes", code="cfb-directory")
            if item.size >= _CUTOFF:
                end = 0
                for first, count in self._walk(item.start, -(-item.size // self.unit), "a stream"):
                    end = first + count - 1
                if item.size % self.unit:
                    self.ends.append((end, item.size % self.unit))
                continue
            self._take_small(item)

    def _take_small(self, item: Item) -> None:
        last = 0
        for first, count in self._small_runs(item):
            if any(self.small_used[first : first + count]):
                raise FormatError(f"small sectors from {first} on are in two places", code="cfb-shared")
            self.small_used[first : first + count] = bytes([_SMALL]) * count
            last = first + count - 1
        self.small_used[last] = (item.size - 1) % _SMALL + 1

    def _small_runs(self, item: Item) -> Iterator[tuple[int, int]]:
        """A small stream as runs of small sectors that follow each other: (first, count)."""
        table, end = self.small_fat, min(len(self.small_used), len(self.small_fat))
        sector, left = item.start, -(-item.size // _SMALL)
        while left:
            if sector >= end:
                raise FormatError(f"a small stream leaves the others at {sector}", code="cfb-chain")
            first = sector
            while left > 1 and table[sector] == sector + 1 < end:
                sector, left = sector + 1, left - 1
            yield first, sector + 1 - first
            sector, left = table[sector], left - 1
        if sector != _LAST:
            raise FormatError("a small stream goes on behind its end", code="cfb-chain")

    def spans(self, item: Item) -> Iterator[tuple[int, int]]:
        """Where a stream stands in the file, (offset, length) in order, those that follow each other as one."""
        if item.size < _CUTOFF:
            yield from self._small_spans(item)
            return
        left = item.size
        for first, count in self._runs(item.start, "a stream"):
            yield (first + 1) * self.unit, min(count * self.unit, left)
            left -= count * self.unit

    def _small_spans(self, item: Item) -> Iterator[tuple[int, int]]:
        start, length, left = 0, 0, item.size
        for offset, step in self._small_pieces(item) if item.size else ():
            step = min(step, left)
            left -= step
            if length and offset == start + length:
                length += step
                continue
            if length:
                yield start, length
            start, length = offset, step
        if length:
            yield start, length

    def _small_pieces(self, item: Item) -> Iterator[tuple[int, int]]:
        """A small stream's small sectors, those in one sector together."""
        for first, count in self._small_runs(item):
            at, end = first * _SMALL, (first + count) * _SMALL
            while at < end:
                place, within = divmod(at, self.unit)
                step = min(self.unit - within, end - at)
                yield (self.small_places[place] + 1) * self.unit + within, step
                at += step


def _numbers(raw: bytes) -> array[int]:
    numbers = array("I", raw)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


def _sort_key(name: bytes) -> tuple[int, list[int]]:
    """MS-CFB 2.6.4: shorter names first, then the upper case of each 16-bit unit."""
    units = struct.unpack(f"<{len(name) // 2}H", name)
    return len(name), [_raised(unit) for unit in units]


def _raised(unit: int) -> int:
    upper = chr(unit).upper()
    return ord(upper) if len(upper) == 1 and ord(upper) < 0x10000 else unit
