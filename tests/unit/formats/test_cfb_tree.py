# SPDX-License-Identifier: Apache-2.0
"""The tree of names: always in order, red and black as the specification wants it, few entries touched."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from signwright.containers.cfb import BLACK, NO_ENTRY, RED
from signwright.formats.cfb_tree import Links, NameTree


def tree_of(links: dict[int, Links] | None = None, top: int = NO_ENTRY) -> NameTree:
    return NameTree(top, links or {}, lambda index: (index, b""))


def black_height(tree: NameTree, index: int, low: int, high: int, *, balanced: bool = True) -> int:
    """Check the tree below ``index`` and return the number of black entries on the way down."""
    if index == NO_ENTRY:
        return 1
    links = tree.links[index]
    assert low < index < high
    heights = []
    for below, bounds in ((links.left, (low, index)), (links.right, (index, high))):
        if below != NO_ENTRY:
            assert tree.links[below].parent == index
            assert not balanced or links.color == BLACK or tree.links[below].color == BLACK
        heights.append(black_height(tree, below, *bounds, balanced=balanced))
    assert not balanced or heights[0] == heights[1]
    return heights[0] + (links.color == BLACK)


def check(tree: NameTree, *, balanced: bool = True) -> None:
    black_height(tree, tree.top, -1, 1 << 40, balanced=balanced)
    if tree.top != NO_ENTRY:
        assert tree.links[tree.top].parent == NO_ENTRY
        assert tree.links[tree.top].color == BLACK or not balanced


@given(st.lists(st.integers(0, 60), max_size=120))
def test_any_insertions_and_deletions_leave_a_red_black_tree(numbers):
    tree, held = tree_of(), set()
    for number in numbers:
        if number in held:
            tree.delete(number)
        else:
            tree.insert(number)
        held ^= {number}
        check(tree)
        assert set(tree.links) == held


@given(st.integers(1, 40), st.lists(st.integers(0, 80), max_size=30))
def test_a_list_that_somebody_left_stays_in_order(length, numbers):
    links = {n: Links(NO_ENTRY, n + 2 if n + 2 < 2 * length else NO_ENTRY, BLACK) for n in range(0, 2 * length, 2)}
    tree, held = tree_of(links, 0), set(links)
    for number in numbers:
        if number in held:
            tree.delete(number)
        else:
            tree.insert(number)
        held ^= {number}
        check(tree, balanced=False)
        assert set(tree.links) == held


def test_one_insertion_touches_few_entries():
    tree = tree_of()
    for number in range(0, 20000, 2):
        tree.insert(number)
    for number in (1, 9999, 19999):
        tree.changed.clear()
        tree.insert(number)
        assert len(tree.changed) < 40


def test_a_red_top_of_somebody_else_is_no_obstacle():
    tree = tree_of({5: Links(NO_ENTRY, NO_ENTRY, RED)}, 5)
    tree.insert(3)
    check(tree)
