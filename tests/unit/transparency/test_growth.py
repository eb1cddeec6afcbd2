# SPDX-License-Identifier: Apache-2.0
"""Appending in batches: the same tree whatever the batches were, and proofs without reading a file."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signwright.errors import LimitError, MalformedError
from signwright.transparency.growth import Frontier
from signwright.transparency.merkle import EMPTY_ROOT, leaf_hash, verify_consistency, verify_inclusion
from signwright.transparency.tiles import ENTRIES, Tile, parse_bundle
from tests.support.logs import MemoryLog


def test_a_tree_of_70000_leaves_has_the_tiles_of_the_specification():
    files = MemoryLog(b"%d" % number for number in range(70_000)).files
    tiles = [Tile.parse(path) for path in files]
    of_level = {level: [tile.width for tile in tiles if tile.level == level] for level in (ENTRIES, 0, 1, 2, 3)}
    assert of_level[0] == of_level[ENTRIES] == [256] * 273 + [112]
    assert (of_level[1], of_level[2], of_level[3]) == ([256, 17], [1], [])


def test_a_tree_of_256_leaves_has_one_full_tile_and_one_of_width_one():
    files = MemoryLog(b"%d" % number for number in range(256)).files
    assert sorted(files) == ["tile/0/000", "tile/1/000.p/1", "tile/entries/000"]


@given(st.lists(st.integers(0, 400), min_size=1, max_size=6))
def test_batches_make_no_difference(batches: list[int]):
    total = sum(batches)
    at_once = MemoryLog(b"%d" % number for number in range(total))
    log, number = MemoryLog(), 0
    for batch in batches:
        old = log.checkpoint()
        growth = log.append(b"%d" % n for n in range(number, number + batch))
        assert all(path in log.files for path in growth.tiles)
        verify_consistency(old.size, old.root, new_size=growth.size, new_root=growth.root, path=growth.consistency())
        number += batch
    assert log.frontier == at_once.frontier
    assert log.checkpoint().root == at_once.checkpoint().root == at_once.frontier.root()
    assert at_once.files.items() <= log.files.items()


@pytest.mark.parametrize("old", [0, 1, 200, 255, 256, 257, 511, 65_279, 65_280, 65_535, 65_536])
def test_new_leaves_have_proofs_at_once(old: int):
    log = MemoryLog(b"%d" % number for number in range(old))
    before = log.checkpoint()
    for batch in (1, 2, 300):
        size = log.size
        growth = log.append(b"%d" % number for number in range(size, size + batch))
        for index in {size, size + batch // 2, size + batch - 1}:
            path = growth.inclusion(index)
            verify_inclusion(leaf_hash(b"%d" % index), index, size=growth.size, root=growth.root, path=path)
    root = log.checkpoint().root
    path = log.tree().consistency(old)
    verify_consistency(old, before.root, new_size=log.size, new_root=root, path=path)


def test_only_what_changed_is_written():
    log = MemoryLog(b"%d" % number for number in range(66_000))
    growth = log.append([b"one more"])
    assert sorted(growth.tiles) == ["tile/0/257.p/209", "tile/entries/257.p/209"]
    assert log.append([]).tiles == {}


@given(st.integers(0, 1100))
def test_the_frontier_is_read_back_from_the_files(size: int):
    log = MemoryLog(b"%d" % number for number in range(size))
    frontier = Frontier.load(size, log.files.__getitem__)
    assert frontier == log.frontier
    assert frontier.grow([b"next"]).root == log.append([b"next"]).root


def test_bundles_hold_the_entries_of_their_tile():
    log = MemoryLog(b"%d" % number for number in range(600))
    for path, content in log.files.items():
        tile = Tile.parse(path)
        if tile.level == ENTRIES:
            hashes = b"".join(leaf_hash(entry) for entry in parse_bundle(content, tile.width))
            assert hashes == log.files[Tile(0, tile.index, tile.width).path]


def test_files_that_do_not_fit_together_are_refused():
    log = MemoryLog([b"a", b"b", b"c"])
    bundle = "tile/entries/000.p/3"
    for path, content in [
        (bundle, log.files[bundle].replace(b"b", b"B")),
        (bundle, log.files[bundle][:-1]),
        ("tile/0/000.p/3", log.files["tile/0/000.p/3"][:-1]),
        ("tile/0/000.p/3", bytes(96)),
    ]:
        with pytest.raises(MalformedError):
            Frontier.load(3, {**log.files, path: content}.__getitem__)


def test_the_empty_tree_has_the_root_of_nothing():
    assert Frontier().root() == EMPTY_ROOT
    assert Frontier().grow([]).root == EMPTY_ROOT
    assert Frontier.load(0, dict[str, bytes]().__getitem__) == Frontier()


def test_an_entry_that_does_not_fit_changes_nothing():
    frontier = MemoryLog([b"a"]).frontier
    with pytest.raises(LimitError):
        frontier.grow([b"b", bytes(65_536)])
    assert frontier.size == 1


def test_256_leaves_more_are_another_tile_of_the_same_width():
    """Its hashes are as many as those of the partial tile before it, and all of them are new."""
    log = MemoryLog(b"%d" % number for number in range(10))
    growth = log.append(b"%d" % number for number in range(10, 266))
    assert {"tile/0/000", "tile/0/001.p/10", "tile/entries/001.p/10", "tile/1/000.p/1"} == set(growth.tiles) - {
        "tile/entries/000"
    }
    assert Frontier.load(266, log.files.__getitem__).root() == growth.root


def test_proof_within_a_batch_reads_nothing_but_the_edge():
    """Of leaves that the batch did not add there is no proof without their files."""
    growth = MemoryLog(b"%d" % number for number in range(600)).append([b"one more"])
    with pytest.raises(MalformedError, match="not at the edge"):
        growth.inclusion(3)
