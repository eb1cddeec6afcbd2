# SPDX-License-Identifier: Apache-2.0
"""Tile paths and bundles (c2sp.org/tlog-tiles), and proofs made from tiles."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signwright.errors import LimitError, MalformedError, UsageError
from signwright.transparency.merkle import EMPTY_ROOT, MAX_SIZE, leaf_hash, verify_consistency, verify_inclusion
from signwright.transparency.tiles import ENTRIES, Tile, TileTree, bundle_entry, parse_bundle, split_tile
from tests.support.logs import MemoryLog


@pytest.mark.parametrize(
    ("tile", "path"),
    [
        (Tile(0, 1234067), "tile/0/x001/x234/067"),
        (Tile(0, 1234), "tile/0/x001/234"),
        (Tile(0, 0), "tile/0/000"),
        (Tile(0, 999), "tile/0/999"),
        (Tile(1, 1000, 17), "tile/1/x001/000.p/17"),
        (Tile(ENTRIES, 273, 112), "tile/entries/273.p/112"),
        (Tile(63, 5, 255), "tile/63/005.p/255"),
    ],
)
def test_paths_are_those_of_the_specification(tile: Tile, path: str):
    assert tile.path == path
    assert Tile.parse(path) == tile


@pytest.mark.parametrize(
    "path",
    [
        "",
        "tile/0/0",
        "tile/0/0000",
        "tile/00/000",
        "tile/64/000",
        "tile/0/x000/001",
        "tile/0/001/002",
        "tile/0/x001",
        "tile/0/000.p/0",
        "tile/0/000.p/256",
        "tile/0/000.p/01",
        "tile/0/000.p/",
        "tile/0/../000",
        "/tile/0/000",
        "tile/0/000\n",
        "tile/entries/x1/000",
        "tile/0/" + "x001/" * 40 + "000",
        "tile/0/٠٠٠",
        "checkpoint",
    ],
)
def test_other_paths_are_refused(path: str):
    with pytest.raises(MalformedError):
        Tile.parse(path)


@given(st.integers(-1, 63), st.integers(0, 2**55 - 1), st.integers(1, 256))
def test_every_path_survives(level: int, index: int, width: int):
    tile = Tile(level, index, width)
    assert Tile.parse(tile.path) == tile


def test_bundles_are_read_strictly():
    entries = [b"", b"a", b"b" * 4096]
    content = b"".join(bundle_entry(entry) for entry in entries)
    assert parse_bundle(content, 3) == entries
    for end in range(len(content)):
        with pytest.raises(MalformedError):
            parse_bundle(content[:end], 3)
    for width in (2, 4):
        with pytest.raises(MalformedError):
            parse_bundle(content, width)
    assert bundle_entry(b"c" * 65535)[:2] == b"\xff\xff"
    with pytest.raises(LimitError):
        bundle_entry(b"c" * 65536)


def test_a_tile_of_the_wrong_length_is_refused():
    for content in (b"", bytes(31), bytes(33), bytes(64)):
        with pytest.raises(MalformedError):
            split_tile(content, 1)


def test_proofs_from_tiles_verify_for_every_position_in_every_size():
    leaves = [b"%d" % number for number in range(300)]
    log = MemoryLog(leaves)
    tree = log.tree()
    hashes = [leaf_hash(leaf) for leaf in leaves]
    roots = [tree.root(size) for size in range(301)]
    assert roots[0] == EMPTY_ROOT
    for size in [*range(1, 66), 128, 255, 256, 257, 300]:
        for index in range(size):
            path = tree.inclusion(index, size)
            verify_inclusion(hashes[index], index, size=size, root=roots[size], path=path)
        for old in range(size + 1):
            path = tree.consistency(old, size)
            verify_consistency(old, roots[old], new_size=size, new_root=roots[size], path=path)


def test_proofs_across_three_levels_of_tiles_verify_and_read_few_tiles():
    log = MemoryLog(b"%d" % number for number in range(70_000))
    read: list[str] = []

    def read_tile(path: str) -> bytes:
        read.append(path)
        return log.files[path]

    root = log.frontier.root()
    for index in (0, 1, 255, 256, 65_535, 65_536, 69_887, 69_888, 69_999):
        read.clear()
        path = TileTree(70_000, read_tile).inclusion(index)
        verify_inclusion(leaf_hash(b"%d" % index), index, size=70_000, root=root, path=path)
        assert len(read) == len(set(read)) <= 5
    for old in (1, 255, 256, 65_535, 65_536, 65_537, 69_888, 69_999):
        tree = TileTree(70_000, read_tile)
        path = tree.consistency(old)
        verify_consistency(old, tree.root(old), new_size=70_000, new_root=root, path=path)


def test_questions_beyond_the_tree_are_refused():
    tree = MemoryLog([b"a", b"b"]).tree()
    for ask in (
        lambda: tree.inclusion(2),
        lambda: tree.inclusion(-1, 0),
        lambda: tree.inclusion(1, 1),
        lambda: tree.inclusion(0, 3),
        lambda: tree.consistency(3),
        lambda: tree.consistency(-1),
        lambda: tree.root(3),
        lambda: tree.leaf_hash(2),
        lambda: TileTree(-1, dict[str, bytes]().__getitem__),
    ):
        with pytest.raises(UsageError):
            ask()


@given(st.lists(st.integers(1, 700), min_size=1, max_size=6, unique=True).map(sorted), st.data())
def test_trees_of_one_log_share_roots_of_full_subtrees(sizes: list[int], data: st.DataObject):
    log, nodes = MemoryLog(), dict[tuple[int, int], bytes]()
    for size in sizes:
        log.append([b"%d" % number for number in range(log.size, size)])
        shared, alone = TileTree(size, log.files.__getitem__, nodes=nodes), log.tree()
        index, old = data.draw(st.integers(0, size - 1)), data.draw(st.integers(0, size))
        assert shared.root() == alone.root()
        assert shared.inclusion(index) == alone.inclusion(index)
        assert shared.consistency(old) == alone.consistency(old)


def test_tree_beyond_the_largest_size_is_refused():
    with pytest.raises(UsageError, match="no tree has"):
        TileTree(MAX_SIZE + 1, dict[str, bytes]().__getitem__)
