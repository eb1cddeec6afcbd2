# SPDX-License-Identifier: Apache-2.0
"""Appending to a log: from the right edge of the old tree and new leaves to the tiles to write and the new root.

Pure values. The owner of the log writes `Growth.tiles` durably first and signs the checkpoint afterwards; a tile is
never changed once a checkpoint needs it (partial tiles have their width in their name).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache

from signwright.errors import MalformedError
from signwright.transparency.merkle import joined_root, leaf_hash
from signwright.transparency.tiles import (
    ENTRIES,
    HEIGHT,
    LEVELS,
    WIDTH,
    ReadTile,
    Tile,
    TileTree,
    bundle_entry,
    full_root,
    parse_bundle,
    split_tile,
)


@dataclass(frozen=True, slots=True)
class Frontier:
    """The right edge of a tree of ``size`` leaves: the hashes of each level's partial tile, and the partial bundle.

    Its memory does not grow with the tree: at most 255 hashes for each level and 255 entries.
    """

    size: int = 0
    levels: tuple[tuple[bytes, ...], ...] = ((),) * LEVELS
    bundle: bytes = b""

    @classmethod
    def load(cls, size: int, read_tile: ReadTile) -> Frontier:
        """Read the edge back from the files of a tree of ``size`` leaves.

        Raises `MalformedError` for files of a wrong length or entries that do not hash to their tile.
        """
        levels: list[tuple[bytes, ...]] = []
        for level in range(LEVELS):
            index, width = divmod(size >> (HEIGHT * level), WIDTH)
            content = read_tile(Tile(level, index, width).path) if width else b""
            levels.append(tuple(split_tile(content, width)))
        index, width = divmod(size, WIDTH)
        bundle = read_tile(Tile(ENTRIES, index, width).path) if width else b""
        if tuple(leaf_hash(entry) for entry in parse_bundle(bundle, width)) != levels[0]:
            raise MalformedError(f"log: the entries of bundle {index} are not those of its tile", code="bad-bundle")
        return cls(size, tuple(levels), bundle)

    def root(self) -> bytes:
        """Root of the tree; the caller compares it with the checkpoint after `load`."""
        roots: list[bytes] = []
        for hashes in reversed(self.levels):
            at = 0
            for power in range(HEIGHT - 1, -1, -1):
                if len(hashes) >> power & 1:
                    roots.append(_kept_root(hashes[at : at + (1 << power)]))
                    at += 1 << power
        return joined_root(roots)

    def grow(self, leaves: Iterable[bytes]) -> Growth:
        """Append ``leaves`` (contents, in order); raises `LimitError` for one beyond 65,535 bytes."""
        return _grow(self, leaves)


@dataclass(frozen=True)
class Growth:
    """What one batch did. ``tiles``: path to content, all that must be written; ``frontier``: of the new tree."""

    old: Frontier
    frontier: Frontier
    root: bytes
    tiles: dict[str, bytes]

    @property
    def size(self) -> int:
        return self.frontier.size

    def inclusion(self, index: int) -> list[bytes]:
        """Inclusion path of one of the new leaves in the new tree, without reading a file."""
        return self._tree.inclusion(index)

    def consistency(self) -> list[bytes]:
        """Consistency proof from the old tree to the new one, without reading a file."""
        return self._tree.consistency(self.old.size)

    @cached_property
    def _tree(self) -> TileTree:
        return TileTree(self.size, self._read)

    def _read(self, path: str) -> bytes:
        if path in self.tiles:
            return self.tiles[path]
        tile = Tile.parse(path)
        hashes = self.frontier.levels[tile.level]
        if tile.index == self.size >> (HEIGHT * tile.level + HEIGHT) and tile.width == len(hashes):
            return b"".join(hashes)
        raise MalformedError(f"log: {path} is not at the edge of the tree", code="bad-tile-path")


@lru_cache(maxsize=128)
def _kept_root(hashes: tuple[bytes, ...]) -> bytes:
    """Of a full subtree at the edge, which stays as it is while the tree grows beside it."""
    return full_root(hashes)


def _grow(old: Frontier, leaves: Iterable[bytes]) -> Growth:
    levels = [list(hashes) for hashes in old.levels]
    bundle, size, tiles = bytearray(old.bundle), old.size, dict[str, bytes]()
    for leaf in leaves:
        bundle += bundle_entry(leaf)
        levels[0].append(leaf_hash(leaf))
        size += 1
        if len(levels[0]) == WIDTH:
            tiles[Tile(ENTRIES, size // WIDTH - 1).path] = bytes(bundle)
            bundle.clear()
            _close_tiles(levels, size, tiles)
    if size > old.size:
        _write_partial(levels, old, size=size, tiles=tiles)
        if bundle:
            tiles[Tile(ENTRIES, size // WIDTH, size % WIDTH).path] = bytes(bundle)
    frontier = Frontier(size, tuple(tuple(hashes) for hashes in levels), bytes(bundle))
    return Growth(old, frontier, frontier.root(), tiles)


def _close_tiles(levels: list[list[bytes]], size: int, tiles: dict[str, bytes]) -> None:
    """Write each tile that became full and put its root into the level above."""
    for level, hashes in enumerate(levels):
        if len(hashes) < WIDTH:
            return
        tiles[Tile(level, (size >> (HEIGHT * level + HEIGHT)) - 1).path] = b"".join(hashes)
        levels[level + 1].append(full_root(hashes))
        hashes.clear()


def _write_partial(levels: list[list[bytes]], old: Frontier, *, size: int, tiles: dict[str, bytes]) -> None:
    for level, hashes in enumerate(levels):
        index = size >> (HEIGHT * level + HEIGHT)
        unchanged = index == old.size >> (HEIGHT * level + HEIGHT) and len(hashes) == len(old.levels[level])
        if hashes and not unchanged:
            tiles[Tile(level, index, len(hashes)).path] = b"".join(hashes)
