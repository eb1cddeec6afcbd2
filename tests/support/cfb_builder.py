# SPDX-License-Identifier: Apache-2.0
"""Compound files, sector by sector, in every shape that the specification allows; and Windows Installer files of them.

The builder lays a file out in the simplest way and shares no code with the product. ``Cfb`` says what is in the file
and which of the odd shapes it has.
"""

from __future__ import annotations

import random
import struct
from dataclasses import dataclass, field, replace
from typing import BinaryIO

FREE, END, FAT_MARK, DIFAT_MARK = 0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFFD, 0xFFFFFFFC
NONE = 0xFFFFFFFF

INSTALLER = bytes.fromhex("84100c0000000000c000000000000046")
PATCH = bytes.fromhex("86100c0000000000c000000000000046")
TRANSFORM = bytes.fromhex("82100c0000000000c000000000000046")

Tree = dict[str, "bytes | Repeated | Tree"]


@dataclass(frozen=True)
class Repeated:
    """A large stream, for `Cfb.write_to`: ``block`` over and over, ``size`` bytes together."""

    block: bytes
    size: int

    def __len__(self) -> int:
        return self.size


@dataclass(frozen=True)
class Cfb:
    """A file to be built.

    ``tree``: names to content or storages; ``version``: 3 (512 byte sectors) or 4; ``scatter``: order the sectors of
    content by this seed; ``gaps``: free sectors between contents; ``mini_gaps``: free mini sectors between small
    streams; ``tree_shape``: ``balanced`` (red and black), ``list`` (all black, as libgsf leaves it); ``cut``: leave out
    the unused end of the last sector; ``behind``: bytes behind the last sector; ``state``, ``times``: of every entry;
    ``clean``: free sectors and the rest of small ones hold zeros, and not what was there before.
    """

    tree: Tree
    version: int = 3
    clsid: bytes = INSTALLER
    scatter: int | None = None
    gaps: int = 0
    mini_gaps: int = 0
    tree_shape: str = "balanced"
    cut: bool = False
    behind: bytes = b""
    state: int = 0
    times: tuple[int, int] = (0, 0)
    storage_clsid: bytes = bytes(range(16))
    spare_entries: int = 0
    clean: bool = False

    def left(self, byte: bytes) -> bytes:
        """What was there before."""
        return b"\0" if self.clean else byte

    def but(self, **changes: object) -> Cfb:
        return replace(self, **changes)  # type: ignore[arg-type]

    def build(self) -> bytes:
        plan = _Plan(self)
        content = b"".join(_bytes_of(plan, sector) for sector in range(-1, plan.count))
        if self.cut:
            content = content[: len(content) - plan.slack]
        return content + self.behind

    def write_to(self, file: BinaryIO) -> None:
        """The same into a file, in little memory."""
        plan = _Plan(self)
        file.writelines(_bytes_of(plan, sector) for sector in range(-1, plan.count))
        file.write(self.behind)


def key(name: str) -> tuple[int, str]:
    return len(name), name.upper()


@dataclass
class _Row:
    name: str
    kind: int
    content: bytes | Repeated = b""
    left: int = NONE
    right: int = NONE
    child: int = NONE
    color: int = 1
    start: int = END
    size: int = 0
    clsid: bytes = bytes(16)


@dataclass
class _Plan:
    """Where everything goes. ``owner``: sector to (large content, number of its sector) or the bytes themselves."""

    cfb: Cfb
    unit: int = 0
    count: int = 0
    slack: int = 0
    rows: list[_Row] = field(default_factory=list)
    fat: list[int] = field(default_factory=list)
    owner: dict[int, bytes | tuple[bytes | Repeated, int]] = field(default_factory=dict)
    header: bytes = b""

    def __post_init__(self) -> None:
        self.unit = 512 if self.cfb.version == 3 else 4096
        self.rows = [_Row("Root Entry", 5, clsid=self.cfb.clsid)]
        self.rows[0].child = self._storage(self.cfb.tree)
        mini, mini_fat = self._mini()
        contents: list[tuple[_Row | None, bytes | Repeated]] = [
            (row, row.content) for row in self.rows if row.kind == 2 and len(row.content) >= 4096
        ]
        self._place(contents, mini, mini_fat)

    def _storage(self, tree: Tree) -> int:
        numbers = []
        for name in sorted(tree, key=key):
            inside = tree[name]
            row = _Row(name, 1 if isinstance(inside, dict) else 2)
            self.rows.append(row)
            numbers.append(len(self.rows) - 1)
            if isinstance(inside, dict):
                row.clsid = self.cfb.storage_clsid
                row.child = self._storage(inside)
            else:
                row.content, row.size = inside, len(inside)
        if self.cfb.tree_shape == "list":
            for number, following in zip(numbers, [*numbers[1:], NONE], strict=True):
                self.rows[number].right = following
            return numbers[0] if numbers else NONE
        depth = (len(numbers) + 1).bit_length() - 1  # rows below the full levels are red
        return self._balanced(numbers, 0, depth)

    def _balanced(self, numbers: list[int], level: int, full: int) -> int:
        if not numbers:
            return NONE
        # The lower half of an even count is larger: so every level but the last is full.
        middle = _middle(len(numbers))
        row = self.rows[numbers[middle]]
        row.left = self._balanced(numbers[:middle], level + 1, full)
        row.right = self._balanced(numbers[middle + 1 :], level + 1, full)
        row.color = 0 if level >= full else 1
        return numbers[middle]

    def _mini(self) -> tuple[bytes, list[int]]:
        stream, fat = bytearray(), []
        for row in self.rows:
            if row.kind != 2 or not row.size or row.size >= 4096:
                continue
            fat += [FREE] * self.cfb.mini_gaps
            stream += self.cfb.left(b"\xee") * 64 * self.cfb.mini_gaps
            assert isinstance(row.content, bytes)
            row.start, count = len(fat), -(-row.size // 64)
            fat += [*range(row.start + 1, row.start + count), END]
            stream += row.content.ljust(count * 64, self.cfb.left(b"\xdd"))
        return bytes(stream), fat

    def _place(self, contents: list[tuple[_Row | None, bytes | Repeated]], mini: bytes, mini_fat: list[int]) -> None:
        unit, per = self.unit, self.unit // 4
        rows = -(-(len(self.rows) + self.cfb.spare_entries) * 128 // unit)
        mini_table = struct.pack(f"<{len(mini_fat)}I", *mini_fat)
        mini_table += b"\xff" * (-len(mini_table) % unit)
        chains: list[tuple[str, _Row | None, bytes | Repeated]] = [("stream", row, c) for row, c in contents]
        chains += [("mini", self.rows[0], mini), ("mini table", None, mini_table), ("rows", None, bytes(rows * unit))]
        data = sum(-(-len(content) // unit) for _, _, content in chains) + self.cfb.gaps * len(contents)
        tables = lists = 0
        while tables * per < data + tables + lists:
            tables += 1
            lists = -(-max(tables - 109, 0) // (per - 1))
        # Tables first, then content; the last content ends the file.
        self.fat = [FAT_MARK] * tables + [DIFAT_MARK] * lists
        self.fat += [FREE] * (data + tables + lists - len(self.fat))
        self.count = len(self.fat)
        order = self._order(tables + lists, chains)
        starts = {}
        for (what, row, content), sectors in zip(chains, order, strict=True):
            for number, (sector, following) in enumerate(zip(sectors, [*sectors[1:], END], strict=False)):
                self.fat[sector] = following
                self.owner[sector] = (content, number)
            starts[what] = sectors[0] if sectors else END
            if row is not None and sectors:
                row.start, row.size = sectors[0], len(content)
                self.slack = -len(content) % unit if sectors[-1] == self.count - 1 else self.slack
        directory = b"".join(self._row(row) for row in self.rows).ljust(rows * unit, b"\0")
        empty = bytes(68) + b"\xff" * 12 + bytes(48)
        directory = directory[: len(self.rows) * 128] + empty * (rows * unit // 128 - len(self.rows))
        for number, sector in enumerate(order[-1]):
            self.owner[sector] = (directory, number)
        self._tables(tables, lists)
        mini_count = len(mini_table) // unit
        self.header = self._header(tables, lists, rows, starts, mini_count)

    def _order(self, first: int, chains: list[tuple[str, _Row | None, bytes | Repeated]]) -> list[list[int]]:
        """Sectors of each chain; streams last, so that a stream ends the file."""
        free = list(range(first, self.count))
        if self.cfb.scatter is not None:
            random.Random(self.cfb.scatter).shuffle(free)
        found: list[list[int]] = [[] for _ in chains]
        for number in sorted(range(len(chains)), key=lambda n: chains[n][0] == "stream"):
            what, _, content = chains[number]
            if what == "stream":
                free = free[self.cfb.gaps :]
            wanted = -(-len(content) // self.unit)
            found[number], free = free[:wanted], free[wanted:]
        return found

    def _tables(self, tables: int, lists: int) -> None:
        per = self.unit // 4
        words = self.fat + [FREE] * (tables * per - len(self.fat))
        packed = struct.pack(f"<{len(words)}I", *words)
        for number in range(tables):
            self.owner[number] = packed[number * self.unit : (number + 1) * self.unit]
        rest = list(range(109, tables))
        for number in range(lists):
            part = rest[number * (per - 1) : (number + 1) * (per - 1)]
            part += [FREE] * (per - 1 - len(part))
            following = tables + number + 1 if number + 1 < lists else END
            self.owner[tables + number] = struct.pack(f"<{per}I", *part, following)

    def _header(self, tables: int, lists: int, rows: int, starts: dict[str, int], mini_count: int) -> bytes:
        version = self.cfb.version
        head = struct.pack("<8s16s5H6x", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", bytes(16), 0x3E, version, 0xFFFE,
                           9 if version == 3 else 12, 6)  # fmt: skip
        counted = rows if version == 4 else 0
        head += struct.pack("<9I", counted, tables, starts["rows"], 0, 4096, starts["mini table"], mini_count,
                            tables if lists else END, lists)  # fmt: skip
        listed = list(range(min(tables, 109)))
        return (head + struct.pack("<109I", *listed, *[FREE] * (109 - len(listed)))).ljust(self.unit, b"\0")

    def _row(self, row: _Row) -> bytes:
        name = row.name.encode("utf-16-le")
        created, modified = self.cfb.times if row.kind != 5 else (0, 0)
        fields = (name, len(name) + 2, row.kind, row.color, row.left, row.right, row.child, row.clsid)
        return struct.pack("<64sHBB3I16sI2QIQ", *fields, self.cfb.state, created, modified, row.start, row.size)


def _middle(count: int) -> int:
    """Size of the lower subtree of a tree whose levels are full but for the last one."""
    full = (count + 1).bit_length() - 1
    last = count - ((1 << full) - 1)
    half = (1 << full) >> 1
    return (half - 1) + min(last, half) if full else 0


def _bytes_of(plan: _Plan, sector: int) -> bytes:
    if sector < 0:
        return plan.header
    owner = plan.owner.get(sector, plan.cfb.left(b"\xcc") * plan.unit)
    if isinstance(owner, bytes):
        return owner
    content, number = owner
    start = number * plan.unit
    if isinstance(content, bytes):
        return content[start : start + plan.unit].ljust(plan.unit, b"\0")
    end = min(start + plan.unit, content.size)
    at = start % len(content.block)
    return (content.block * 2)[at : at + end - start].ljust(plan.unit, b"\0")
