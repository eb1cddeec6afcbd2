# SPDX-License-Identifier: Apache-2.0
"""Room in a compound file: taking and giving back sectors, and the bytes that change by it (MS-CFB 2.2 to 2.5).

New sectors are those that are free, then such behind the end; tables grow with them. What a `Space` needs to know of a
file is small (header, a few sectors of its tables), so that it can be written down, and go on without the file.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Callable, Iterable
from itertools import pairwise

from signwright.containers.cfb import (
    DIFAT_MARK,
    END,
    FAT_MARK,
    FREE,
    HEADER_DIFAT,
    MAX_SIZE,
    MINI_CUTOFF,
    MINI_SECTOR,
)
from signwright.errors import FormatError
from signwright.formats.state import bad_state
from signwright.model.patch import Splice

# Offsets in the header.
DIRECTORY_SECTORS, FAT_SECTORS, FIRST_MINI_FAT, MINI_FAT_SECTORS = 0x28, 0x2C, 0x3C, 0x40
FIRST_DIFAT, DIFAT_SECTORS, DIFAT = 0x44, 0x48, 0x4C

#: Everything that is written here starts and ends at a multiple of this.
_GRAIN = 64
#: Mini sectors that a writer may leave behind the end of the mini FAT.
_SPARE_MINI = 4096


def packed(numbers: array[int]) -> bytes:
    """Little-endian 32-bit words."""
    if sys.byteorder == "big":
        numbers = array("I", numbers)
        numbers.byteswap()
    return numbers.tobytes()


class Table:
    """The FAT or the mini FAT: ``count`` sectors of ``per`` words, of which ``pages`` are at hand: (sector, words).

    ``load`` brings another one; without it `FormatError` (``bad-state``) says that the page was not kept.
    """

    def __init__(self, per: int, count: int, load: Callable[[int], tuple[int, array[int]]] | None) -> None:
        self.per = per
        self.count = count
        self.pages: dict[int, tuple[int, array[int]]] = {}
        self.dirty: set[int] = set()
        self._load = load

    def page(self, number: int) -> array[int]:
        """The words of a page, fetched when it is not at hand."""
        if number not in self.pages:
            if self._load is None or number >= self.count:
                raise bad_state(f"page {number} of a table is missing")
            self.pages[number] = self._load(number)
        return self.pages[number][1]

    def __getitem__(self, sector: int) -> int:
        return self.page(sector // self.per)[sector % self.per]

    def __setitem__(self, sector: int, word: int) -> None:
        self.page(sector // self.per)[sector % self.per] = word
        self.dirty.add(sector // self.per)

    def grow(self, place: int) -> None:
        """One page more, all free, in sector ``place``."""
        self.pages[self.count] = (place, array("I", [FREE]) * self.per)
        self.dirty.add(self.count)
        self.count += 1


class Space:
    """What is needed to take room in one compound file, and what was written so far.

    ``count``: sectors in use, new ones begin there; ``free``: sectors below it that may be taken, in descending order;
    ``stale``: those of them that held a signature; ``difat``: the last sector of the DIFAT, with its words;
    ``mini_size``, ``mini_start``, ``mini_last``: the mini stream's bytes, its first and last sector;
    ``mini_fat_last``: the mini FAT's last sector; ``mini_free``: free mini sectors with their offsets in the file, in
    descending order.
    """

    def __init__(self, sector_size: int, header: bytes, *, count: int, fat: Table, mini_fat: Table) -> None:
        self.sector_size = sector_size
        self.header = bytearray(header)
        self.count = count
        self.fat = fat
        self.mini_fat = mini_fat
        self.free: list[int] = []
        self.stale: set[int] = set()
        self.difat: tuple[int, array[int]] | None = None
        self.mini_size = 0
        self.mini_start = END
        self.mini_last = END
        self.mini_fat_last = END
        self.mini_free: list[tuple[int, int]] = []
        self.grains: dict[int, bytes] = {}

    def header_word(self, offset: int) -> int:
        return int.from_bytes(self.header[offset : offset + 4], "little")

    def set_header_word(self, offset: int, word: int) -> None:
        self.header[offset : offset + 4] = word.to_bytes(4, "little")
        self.write(0, bytes(self.header))

    def write(self, offset: int, content: bytes) -> None:
        """Replace bytes of the file; both numbers are multiples of 64."""
        for at in range(0, len(content), _GRAIN):
            self.grains[offset + at] = content[at : at + _GRAIN]

    def offset(self, sector: int) -> int:
        return (sector + 1) * self.sector_size

    def allocate(self, count: int) -> list[int]:
        """A chain of new sectors; nothing is written into them. Raises `FormatError` (``too-large``)."""
        self._reserve(count)
        sectors = [self._take() for _ in range(count)]
        for sector, following in pairwise([*sectors, END]):
            self.fat[sector] = following
        return sectors

    def append(self, last: int, count: int) -> list[int]:
        """``allocate``, hung behind the chain that ends with sector ``last``; END for a new chain."""
        sectors = self.allocate(count)
        if last != END:
            self.fat[last] = sectors[0]
        return sectors

    def store(self, content: bytes) -> int:
        """Write a new stream; the answer is its first sector, or mini sector below 4,096 bytes."""
        if not content:
            return END
        if len(content) < MINI_CUTOFF:
            return self._store_small(content)
        sectors = self.allocate(-(-len(content) // self.sector_size))
        for number, sector in enumerate(sectors):
            piece = content[number * self.sector_size : (number + 1) * self.sector_size]
            self.write(self.offset(sector), piece.ljust(self.sector_size, b"\0"))
        return sectors[0]

    @property
    def mini_is_covered(self) -> bool:
        """Whether the mini FAT reaches as far as the mini stream, but for a few sectors of it."""
        return -(-self.mini_size // MINI_SECTOR) <= self.mini_fat.count * self.mini_fat.per + _SPARE_MINI

    def hold(self, size: int) -> None:
        """Fetch every page that storing ``size`` bytes more could need."""
        more = -(-size // self.sector_size) + 64
        for sector in (*self.free, *(last for last in (self.mini_last, self.mini_fat_last) if last != END)):
            self.fat.page(sector // self.fat.per)
        for sector, _ in self.mini_free:
            self.mini_fat.page(sector // self.mini_fat.per)
        first = -(-self.mini_size // MINI_SECTOR)
        for table, start, count in ((self.fat, self.count, more), (self.mini_fat, first, MINI_CUTOFF // MINI_SECTOR)):
            for page in range(start // table.per, min((start + count) // table.per + 1, table.count)):
                table.page(page)

    def finish(self) -> None:
        """Write the tables, and zeros over what was given back and not taken again."""
        for table in (self.fat, self.mini_fat):
            for number in sorted(table.dirty):
                place, numbers = table.pages[number]
                self.write(self.offset(place), packed(numbers))
        for sector in self.stale & set(self.free):
            self.write(self.offset(sector), bytes(self.sector_size))

    def written(self) -> list[tuple[int, bytes]]:
        """Everything written, neighbours joined, in order."""
        runs: list[tuple[int, bytearray]] = []
        for offset, grain in sorted(self.grains.items()):
            if runs and runs[-1][0] + len(runs[-1][1]) == offset:
                runs[-1][1].extend(grain)
            else:
                runs.append((offset, bytearray(grain)))
        return [(offset, bytes(content)) for offset, content in runs]

    def splices(self, source_size: int) -> tuple[tuple[Splice, ...], int]:
        """Everything written as replacements, and the size of the file with them."""
        size = self.offset(self.count)
        kept = min(size, source_size)
        tail = bytearray(size - kept)
        found = []
        for offset, content in self.written():
            inside, beyond = content[: max(kept - offset, 0)], content[max(kept - offset, 0) : max(size - offset, 0)]
            if inside:
                found.append(Splice(offset, len(inside), inside))
            start = offset + len(inside) - kept
            tail[start : start + len(beyond)] = beyond
        if tail or kept < source_size:
            found.append(Splice(kept, source_size - kept, bytes(tail)))
        return tuple(found), size

    def _take(self) -> int:
        if self.free:
            return self.free.pop()
        if self.offset(self.count + 1) >= MAX_SIZE:
            raise FormatError("the signed file would reach 2 GiB, a compound file stays below", code="too-large")
        self.count += 1
        return self.count - 1

    def _reserve(self, count: int) -> None:
        """Have the FAT reach so far that ``count`` sectors can be taken."""
        while self.count + max(count - len(self.free), 0) > self.fat.count * self.fat.per:
            place = self._take()
            self.fat.grow(place)
            self.fat[place] = FAT_MARK
            self._list_fat_sector(place)
            self.set_header_word(FAT_SECTORS, self.fat.count)

    def _list_fat_sector(self, place: int) -> None:
        """Note a sector of the FAT in the header, or in the DIFAT behind its 109 rows (MS-CFB 2.5)."""
        number = self.fat.count - 1
        if number < HEADER_DIFAT:
            self.set_header_word(DIFAT + 4 * number, place)
            return
        per = self.sector_size // 4 - 1
        at = (number - HEADER_DIFAT) % per
        if at == 0:
            self._grow_difat()
        if self.difat is None:
            raise bad_state("the DIFAT is missing")
        self.difat[1][at] = place
        self.write(self.offset(self.difat[0]), packed(self.difat[1]))

    def _grow_difat(self) -> None:
        place = self._take()
        self.fat[place] = DIFAT_MARK
        if self.difat is None:
            self.set_header_word(FIRST_DIFAT, place)
        else:
            self.difat[1][-1] = place
            self.write(self.offset(self.difat[0]), packed(self.difat[1]))
        self.difat = (place, array("I", [FREE]) * (self.sector_size // 4 - 1) + array("I", [END]))
        self.set_header_word(DIFAT_SECTORS, self.header_word(DIFAT_SECTORS) + 1)

    def _store_small(self, content: bytes) -> int:
        wanted = -(-len(content) // MINI_SECTOR)
        places = [self.mini_free.pop() for _ in range(min(wanted, len(self.mini_free)))]
        places += self._grow_mini(wanted - len(places)) if wanted > len(places) else []
        for (sector, _), (following, _) in pairwise([*places, (END, 0)]):
            self.mini_fat[sector] = following
        for number, (_, offset) in enumerate(places):
            piece = content[number * MINI_SECTOR : (number + 1) * MINI_SECTOR]
            self.write(offset, piece.ljust(MINI_SECTOR, b"\0"))
        return places[0][0]

    def _grow_mini(self, count: int) -> Iterable[tuple[int, int]]:
        """``count`` mini sectors at the end of the mini stream, with their offsets in the file."""
        first = -(-self.mini_size // MINI_SECTOR)
        while self.mini_fat.count * self.mini_fat.per < first + count:
            (place,) = self.append(self.mini_fat_last, 1)
            if self.mini_fat_last == END:
                self.set_header_word(FIRST_MINI_FAT, place)
            self.mini_fat_last = place
            self.mini_fat.grow(place)
            self.set_header_word(MINI_FAT_SECTORS, self.mini_fat.count)
        had = -(-self.mini_size // self.sector_size)
        wanted = -(-(first + count) * MINI_SECTOR // self.sector_size)
        sectors = [self.mini_last]
        if wanted > had:
            sectors += self.append(self.mini_last, wanted - had)
            for sector in sectors[1:]:
                self.write(self.offset(sector), bytes(self.sector_size))
            if self.mini_start == END:
                self.mini_start = sectors[1]
            self.mini_last = sectors[-1]
        self.mini_size = (first + count) * MINI_SECTOR
        found = []
        for number in range(first, first + count):
            place, within = divmod(number * MINI_SECTOR, self.sector_size)
            found.append((number, self.offset(sectors[place - had + 1]) + within))
        return found
