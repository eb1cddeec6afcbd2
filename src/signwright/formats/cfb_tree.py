# SPDX-License-Identifier: Apache-2.0
"""The red-black tree of names in one storage of a compound file (MS-CFB 2.6.4), as entries of the directory link it.

Insertion and deletion are those of the textbooks (Cormen and others, "Introduction to Algorithms"): few entries change.
Writers may leave a tree that is in order and not balanced (all black, or a list); it stays in order then.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from signwright.containers.cfb import BLACK, NO_ENTRY, RED

Key = Callable[[int], tuple[int, bytes]]


@dataclass(slots=True)
class Links:
    """Of one entry. ``parent`` does not stand in the file."""

    left: int
    right: int
    color: int
    parent: int = NO_ENTRY


class NameTree:
    """``top``: the storage's child; ``links``: of every entry in the tree, parents not yet known; ``key``: what orders
    them. After changes ``changed`` names the entries to be written, and ``top`` may be another.
    """

    def __init__(self, top: int, links: dict[int, Links], key: Key) -> None:
        self.top = top
        self.links = links
        self.changed: set[int] = set()
        self._key = key
        for index, one in links.items():
            for below in (one.left, one.right):
                if below != NO_ENTRY:
                    links[below].parent = index

    def insert(self, index: int) -> None:
        """Put a new entry at its place."""
        parent, at, key = NO_ENTRY, self.top, self._key(index)
        while at != NO_ENTRY:
            parent, at = at, self._child(at, right=key > self._key(at))
        self.links[index] = Links(NO_ENTRY, NO_ENTRY, RED, parent)
        self.changed.add(index)
        if parent == NO_ENTRY:
            self.top = index
        else:
            self._link(parent, index, right=key > self._key(parent))
        self._mend_insertion(index)

    def delete(self, index: int) -> None:
        """Take an entry out; its own links are of no use afterwards."""
        gone = self.links[index]
        color = gone.color
        if gone.left == NO_ENTRY or gone.right == NO_ENTRY:
            moved, parent = (gone.right if gone.left == NO_ENTRY else gone.left), gone.parent
            self._replace(index, moved)
        else:
            successor = gone.right
            while self.links[successor].left != NO_ENTRY:
                successor = self.links[successor].left
            next_links = self.links[successor]
            color, moved, parent = next_links.color, next_links.right, next_links.parent
            if parent == index:
                parent = successor
            else:
                self._replace(successor, moved)
                self._link(successor, gone.right, right=True)
            self._replace(index, successor)
            self._link(successor, gone.left, right=False)
            self._paint(successor, gone.color)
        del self.links[index]
        self.changed.discard(index)
        if color == BLACK:
            self._mend_deletion(moved, parent)

    def _child(self, index: int, *, right: bool) -> int:
        return self.links[index].right if right else self.links[index].left

    def _link(self, parent: int, below: int, *, right: bool) -> None:
        if right:
            self.links[parent].right = below
        else:
            self.links[parent].left = below
        self.changed.add(parent)
        if below != NO_ENTRY:
            self.links[below].parent = parent

    def _paint(self, index: int, color: int) -> None:
        if self.links[index].color != color:
            self.links[index].color = color
            self.changed.add(index)

    def _is_red(self, index: int) -> bool:
        return index != NO_ENTRY and self.links[index].color == RED

    def _replace(self, old: int, new: int) -> None:
        """Hang ``new`` where ``old`` hangs."""
        parent = self.links[old].parent
        if parent == NO_ENTRY:
            self.top = new
            if new != NO_ENTRY:
                self.links[new].parent = NO_ENTRY
        else:
            self._link(parent, new, right=self.links[parent].right == old)

    def _rotate(self, index: int, *, right: bool) -> None:
        """Move ``index`` down to its right (or left) side, and its other child up."""
        up = self._child(index, right=not right)
        self._link(index, self._child(up, right=right), right=not right)
        self._replace(index, up)
        self._link(up, index, right=right)

    def _mend_insertion(self, index: int) -> None:
        while self._is_red(parent := self.links[index].parent):
            grandparent = self.links[parent].parent
            if grandparent == NO_ENTRY:
                break  # a red top: somebody else's tree
            on_right = self.links[grandparent].right == parent
            uncle = self._child(grandparent, right=not on_right)
            if self._is_red(uncle):
                self._paint(parent, BLACK)
                self._paint(uncle, BLACK)
                self._paint(grandparent, RED)
                index = grandparent
                continue
            if self._child(parent, right=not on_right) == index:
                self._rotate(parent, right=on_right)
                index, parent = parent, index
            self._paint(parent, BLACK)
            self._paint(grandparent, RED)
            self._rotate(grandparent, right=on_right is False)
        self._paint(self.top, BLACK)

    def _mend_deletion(self, index: int, parent: int) -> None:
        """``index`` (maybe none) below ``parent`` lacks one black entry on its way down."""
        while parent != NO_ENTRY and not self._is_red(index):
            on_right = self.links[parent].right == index and self.links[parent].left != index
            sibling = self._child(parent, right=not on_right)
            if sibling == NO_ENTRY:
                return  # only in a tree that was not balanced
            if self._is_red(sibling):
                self._paint(sibling, BLACK)
                self._paint(parent, RED)
                self._rotate(parent, right=on_right)
                sibling = self._child(parent, right=not on_right)
                if sibling == NO_ENTRY:
                    return
            inner, outer = self._child(sibling, right=on_right), self._child(sibling, right=not on_right)
            if not self._is_red(inner) and not self._is_red(outer):
                self._paint(sibling, RED)
                index, parent = parent, self.links[parent].parent
                continue
            if not self._is_red(outer):
                self._paint(inner, BLACK)
                self._paint(sibling, RED)
                self._rotate(sibling, right=not on_right)
                sibling = self._child(parent, right=not on_right)
            self._paint(sibling, self.links[parent].color)
            self._paint(parent, BLACK)
            self._paint(self._child(sibling, right=not on_right), BLACK)
            self._rotate(parent, right=on_right)
            return
        if index != NO_ENTRY:
            self._paint(index, BLACK)
