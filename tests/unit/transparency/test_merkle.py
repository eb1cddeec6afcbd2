# SPDX-License-Identifier: Apache-2.0
"""Proofs, against the published tree of eight leaves and against the definitions of RFC 6962 written down naively."""

from __future__ import annotations

import hashlib
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signwright.errors import VerificationError
from signwright.transparency.merkle import (
    EMPTY_ROOT,
    MAX_SIZE,
    CompactRange,
    leaf_hash,
    node_hash,
    verify_consistency,
    verify_inclusion,
)

LIMIT = 300
LEAVES = tuple(leaf_hash(b"leaf %d" % number) for number in range(LIMIT))

# The leaves that Certificate Transparency implementations test with, and the roots of their first n.
PUBLISHED_LEAVES = [
    bytes.fromhex(text)
    for text in ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
]
PUBLISHED_ROOTS = [
    bytes.fromhex(text)
    for text in [
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ]
]


@cache
def mth(first: int, end: int) -> bytes:
    """RFC 6962 section 2.1."""
    if end == first:
        return hashlib.sha256(b"").digest()
    if end - first == 1:
        return LEAVES[first]
    middle = first + _k(end - first)
    return node_hash(mth(first, middle), mth(middle, end))


def inclusion_path(index: int, first: int, end: int) -> list[bytes]:
    """RFC 6962 section 2.1.1."""
    if end - first == 1:
        return []
    middle = first + _k(end - first)
    if index < middle:
        return [*inclusion_path(index, first, middle), mth(middle, end)]
    return [*inclusion_path(index, middle, end), mth(first, middle)]


def consistency_path(old: int, first: int, end: int, *, known: bool = True) -> list[bytes]:
    """RFC 6962 section 2.1.2; ``old`` is an absolute position."""
    if old == end:
        return [] if known else [mth(first, end)]
    middle = first + _k(end - first)
    if old <= middle:
        return [*consistency_path(old, first, middle, known=known), mth(middle, end)]
    return [*consistency_path(old, middle, end, known=False), mth(first, middle)]


def _k(size: int) -> int:
    power = 1
    while power * 2 < size:
        power *= 2
    return power


def test_published_roots_verify_with_proofs_made_from_the_published_leaves():
    hashes = [leaf_hash(leaf) for leaf in PUBLISHED_LEAVES]
    right = node_hash(node_hash(hashes[4], hashes[5]), node_hash(hashes[6], hashes[7]))
    left = node_hash(node_hash(hashes[0], hashes[1]), node_hash(hashes[2], hashes[3]))
    assert PUBLISHED_ROOTS[0] == EMPTY_ROOT
    assert left == PUBLISHED_ROOTS[4]
    assert node_hash(left, right) == PUBLISHED_ROOTS[8]
    path = [hashes[4], node_hash(hashes[6], hashes[7]), left]
    verify_inclusion(hashes[5], 5, size=8, root=PUBLISHED_ROOTS[8], path=path)
    path = [node_hash(hashes[4], hashes[5]), node_hash(hashes[6], hashes[7]), left]
    verify_consistency(6, PUBLISHED_ROOTS[6], new_size=8, new_root=PUBLISHED_ROOTS[8], path=path)


def test_every_inclusion_proof_up_to_300_leaves_verifies():
    for size in [*range(1, 70), 127, 128, 129, 255, 256, 257, 299, LIMIT]:
        for index in range(size):
            verify_inclusion(LEAVES[index], index, size=size, root=mth(0, size), path=inclusion_path(index, 0, size))


def test_every_consistency_proof_up_to_300_leaves_verifies():
    for size in range(1, LIMIT + 1):
        for old in range(1, size + 1) if size < 70 or size in {128, 255, 256, 257, LIMIT} else (1, size // 2, size - 1):
            path = consistency_path(old, 0, size)
            verify_consistency(old, mth(0, old), new_size=size, new_root=mth(0, size), path=path)


def test_a_proof_for_another_index_or_size_is_refused():
    for size in range(2, 40):
        for index in range(size):
            path = inclusion_path(index, 0, size)
            for other in range(size):
                if other != index:
                    with pytest.raises(VerificationError):
                        verify_inclusion(LEAVES[index], other, size=size, root=mth(0, size), path=path)


@given(st.integers(1, LIMIT), st.data())
def test_a_changed_inclusion_proof_is_refused(size: int, data: st.DataObject):
    index = data.draw(st.integers(0, size - 1))
    path = inclusion_path(index, 0, size)
    verify_inclusion(LEAVES[index], index, size=size, root=mth(0, size), path=path)
    for changed in _changed(path, data):
        with pytest.raises(VerificationError):
            verify_inclusion(LEAVES[index], index, size=size, root=mth(0, size), path=changed)


@given(st.integers(2, LIMIT), st.data())
def test_a_changed_consistency_proof_is_refused(size: int, data: st.DataObject):
    old = data.draw(st.integers(1, size - 1))
    path = consistency_path(old, 0, size)
    for changed in _changed(path, data):
        with pytest.raises(VerificationError):
            verify_consistency(old, mth(0, old), new_size=size, new_root=mth(0, size), path=changed)
    with pytest.raises(VerificationError):
        verify_consistency(old, mth(1, old + 1), new_size=size, new_root=mth(0, size), path=path)


def _changed(path: list[bytes], data: st.DataObject) -> list[list[bytes]]:
    found = [[*path, path[-1] if path else EMPTY_ROOT], [EMPTY_ROOT, *path]]
    if path:
        at = data.draw(st.integers(0, len(path) - 1))
        bit = data.draw(st.integers(0, 255))
        flipped = (int.from_bytes(path[at], "big") ^ (1 << bit)).to_bytes(32, "big")
        found += [path[:-1], path[1:], [*path[:at], flipped, *path[at + 1 :]], [*path[:at], path[at][:-1]]]
    return found


def test_equal_sizes_need_equal_roots_and_an_empty_path():
    verify_consistency(5, mth(0, 5), new_size=5, new_root=mth(0, 5), path=[])
    with pytest.raises(VerificationError, match="forked"):
        verify_consistency(5, mth(0, 5), new_size=5, new_root=mth(1, 6), path=[])
    with pytest.raises(VerificationError):
        verify_consistency(5, mth(0, 5), new_size=5, new_root=mth(0, 5), path=[EMPTY_ROOT])


def test_the_empty_tree_is_consistent_with_every_tree_and_has_one_root():
    verify_consistency(0, EMPTY_ROOT, new_size=7, new_root=mth(0, 7), path=[])
    verify_consistency(0, EMPTY_ROOT, new_size=0, new_root=EMPTY_ROOT, path=[])
    for old_root, new_size, new_root in [
        (mth(0, 1), 7, mth(0, 7)),
        (EMPTY_ROOT, 0, mth(0, 1)),
        (mth(0, 1), 0, mth(0, 1)),
    ]:
        with pytest.raises(VerificationError):
            verify_consistency(0, old_root, new_size=new_size, new_root=new_root, path=[])


def test_a_shrunken_log_is_refused():
    with pytest.raises(VerificationError, match="cannot have grown"):
        verify_consistency(7, mth(0, 7), new_size=6, new_root=mth(0, 6), path=[])


@pytest.mark.parametrize(("index", "size"), [(0, 0), (-1, 3), (3, 3), (1, MAX_SIZE + 1)])
def test_impossible_positions_are_refused(index: int, size: int):
    with pytest.raises(VerificationError):
        verify_inclusion(LEAVES[0], index, size=size, root=mth(0, 1), path=[])


def test_an_inner_node_is_no_leaf():
    inner = node_hash(LEAVES[0], LEAVES[1])
    with pytest.raises(VerificationError):
        verify_inclusion(inner, 0, size=4, root=mth(0, 4), path=[mth(2, 4)])


def test_endless_paths_are_refused_before_they_are_hashed():
    with pytest.raises(VerificationError, match="at most"):
        verify_inclusion(LEAVES[0], 0, size=MAX_SIZE, root=EMPTY_ROOT, path=[EMPTY_ROOT] * 10_000)


def test_compact_range_has_the_root_of_every_size_and_goes_on_from_any():
    tree = CompactRange()
    for size in range(301):
        assert (tree.size, tree.root()) == (size, mth(0, size))
        assert len(tree.roots) == size.bit_count()
        if size < 300:
            tree = CompactRange(tree.size, tree.roots)
            tree.append(LEAVES[size])
