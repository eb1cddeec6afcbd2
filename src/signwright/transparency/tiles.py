# SPDX-License-Identifier: Apache-2.0
"""Where a log's tree lies in files: tile paths, entry bundles, and proofs made from them. Source: c2sp.org/tlog-tiles.

A tile holds 256 hashes of one level (eight tree levels apart); the rightmost one of a level may be partial. No file is
opened here: reading is a callback from path to bytes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from signwright.errors import LimitError, MalformedError, UsageError
from signwright.transparency.merkle import HASH_SIZE, MAX_SIZE, joined_root, node_hash

WIDTH = 256
HEIGHT = 8
#: Levels 0 to 7 hold every tree of 63 bit sizes.
LEVELS = 8
MAX_ENTRY = 0xFFFF
ENTRIES = -1

#: From a path below the log's prefix to the file's bytes. Raises whatever its owner wants for a missing file.
ReadTile = Callable[[str], bytes]

_PATH = re.compile(r"tile/(entries|[0-9]{1,2})/((?:x[0-9]{3}/)*[0-9]{3})(?:\.p/([0-9]{1,3}))?")


@dataclass(frozen=True, slots=True)
class Tile:
    """``level``: 0 and up, or `ENTRIES` for a bundle; ``index``: in the level; ``width``: 1 to 256."""

    level: int
    index: int
    width: int = WIDTH

    @property
    def path(self) -> str:
        """``tile/0/x001/234`` or, when partial, ``tile/0/x001/234.p/17``."""
        digits = f"{self.index:03d}"
        digits = digits.zfill((len(digits) + 2) // 3 * 3)
        groups = [digits[at : at + 3] for at in range(0, len(digits), 3)]
        name = "/".join([f"x{group}" for group in groups[:-1]] + groups[-1:])
        level = "entries" if self.level == ENTRIES else str(self.level)
        return f"tile/{level}/{name}" + (f".p/{self.width}" if self.width < WIDTH else "")

    @classmethod
    def parse(cls, path: str) -> Tile:
        """Read a path; raises `MalformedError` unless it is the one that `path` writes."""
        match = _PATH.fullmatch(path) if len(path) <= 80 else None
        if match:
            level = ENTRIES if match[1] == "entries" else int(match[1])
            tile = cls(level, int(match[2].replace("x", "").replace("/", "")), int(match[3] or WIDTH))
            if tile.path == path and level < 64 and tile.index <= MAX_SIZE and 1 <= tile.width <= WIDTH:
                return tile
        raise MalformedError(f"not the path of a tile: {path[:80]!r}", code="bad-tile-path")


def parse_bundle(content: bytes, width: int) -> list[bytes]:
    """The entries of a bundle: exactly ``width`` of them, each with a big-endian uint16 length before it."""
    entries, at = [], 0
    for _ in range(width):
        length = int.from_bytes(content[at : at + 2], "big")
        entry = content[at + 2 : at + 2 + length]
        if len(content) < at + 2 or len(entry) != length:
            raise MalformedError(f"entry bundle: cut off at byte {at}; wanted {width} entries", code="bad-bundle")
        entries.append(entry)
        at += 2 + length
    if at != len(content):
        raise MalformedError(f"entry bundle: {len(content) - at} bytes after {width} entries", code="bad-bundle")
    return entries


def bundle_entry(entry: bytes) -> bytes:
    """An entry as it stands in a bundle; raises `LimitError` beyond 65,535 bytes."""
    if len(entry) > MAX_ENTRY:
        raise LimitError(f"log entry: {len(entry)} bytes; at most {MAX_ENTRY} fit", code="entry-too-large")
    return len(entry).to_bytes(2, "big") + entry


def split_tile(content: bytes, width: int) -> list[bytes]:
    """The hashes of a tile; raises `MalformedError` for a wrong length."""
    if len(content) != width * HASH_SIZE:
        raise MalformedError(f"tile: {len(content)} bytes; wanted {width} hashes of {HASH_SIZE}", code="bad-tile")
    return [content[at : at + HASH_SIZE] for at in range(0, len(content), HASH_SIZE)]


def full_root(hashes: Sequence[bytes]) -> bytes:
    """Root of a full subtree over 1, 2, 4 ... hashes."""
    while len(hashes) > 1:
        hashes = [node_hash(hashes[at], hashes[at + 1]) for at in range(0, len(hashes), 2)]
    return hashes[0]


class TileTree:
    """A tree of ``size`` leaves in tiles. Makes roots and proofs of it and of every smaller tree of the same log.

    Reads only tiles that a tree of ``size`` has, each at most once, and keeps what it read: make one for each group of
    questions. What comes out is as true as the tiles are: whoever receives it verifies it. ``nodes``: roots of full
    subtrees by height and index, which never change in one log; its trees may share them.
    """

    def __init__(self, size: int, read_tile: ReadTile, *, nodes: dict[tuple[int, int], bytes] | None = None) -> None:
        if not 0 <= size <= MAX_SIZE:
            raise UsageError(f"no tree has {size} leaves")
        self._size = size
        self._read_tile = read_tile
        self._tiles: dict[tuple[int, int], list[bytes]] = {}
        self._nodes = {} if nodes is None else nodes

    def root(self, size: int | None = None) -> bytes:
        """Root of the tree's first ``size`` leaves (all of them when left out)."""
        size = self._size if size is None else size
        self._check(size, size)
        return self._range(0, size)

    def leaf_hash(self, index: int) -> bytes:
        self._check_index(index, self._size)
        return self._node(0, index)

    def inclusion(self, index: int, size: int | None = None) -> list[bytes]:
        """Path of leaf ``index`` in the tree of ``size`` leaves, from the sibling upwards (RFC 9162 2.1.3.1)."""
        size = self._size if size is None else size
        self._check_index(index, size)
        path, first, end = [], 0, size
        while end - first > 1:
            middle = first + _split(end - first)
            if index < middle:
                path.append(self._range(middle, end))
                end = middle
            else:
                path.append(self._range(first, middle))
                first = middle
        return path[::-1]

    def consistency(self, old_size: int, size: int | None = None) -> list[bytes]:
        """Proof that the tree of ``size`` leaves continues the one of ``old_size`` (RFC 9162 2.1.4.1)."""
        size = self._size if size is None else size
        self._check(old_size, size)
        if old_size in {0, size}:
            return []
        path, first, end = [], 0, size
        while end != old_size:
            middle = first + _split(end - first)
            if old_size <= middle:
                path.append(self._range(middle, end))
                end = middle
            else:
                path.append(self._range(first, middle))
                first = middle
        if first:
            path.append(self._range(first, end))
        return path[::-1]

    def _check(self, inner: int, size: int) -> None:
        if not 0 <= inner <= size <= self._size:
            raise UsageError(f"wanted {inner} of {size} leaves from a tree of {self._size}")

    def _check_index(self, index: int, size: int) -> None:
        if not 0 <= index < size <= self._size:
            raise UsageError(f"wanted leaf {index} of {size} from a tree of {self._size}")

    def _range(self, first: int, end: int) -> bytes:
        """Root of leaves ``first`` to ``end``, where ``first`` is a multiple of the range's largest full subtree."""
        roots = []
        while first < end:
            size = 1 << ((end - first).bit_length() - 1)
            height = size.bit_length() - 1
            roots.append(self._node(height, first >> height))
            first += size
        return joined_root(roots)

    def _node(self, height: int, index: int) -> bytes:
        """Root of the full subtree ``index`` of ``2**height`` leaves."""
        found = self._nodes.get((height, index))
        if found is None:
            level, above = divmod(height, HEIGHT)
            left, right = (self._nodes.get((height - 1, 2 * index + side)) for side in (0, 1))
            if above and left is not None and right is not None:
                found = node_hash(left, right)
            else:
                tile, at = divmod(index << above, WIDTH)
                found = full_root(self._tile(level, tile)[at : at + (1 << above)])
            self._nodes[height, index] = found
        return found

    def _tile(self, level: int, index: int) -> list[bytes]:
        if (level, index) not in self._tiles:
            width = min(WIDTH, (self._size >> (HEIGHT * level)) - index * WIDTH)
            self._tiles[level, index] = split_tile(self._read_tile(Tile(level, index, width).path), width)
        return self._tiles[level, index]


def _split(size: int) -> int:
    """The largest power of two below ``size``."""
    return 1 << ((size - 1).bit_length() - 1)
