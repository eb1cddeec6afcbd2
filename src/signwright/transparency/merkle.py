# SPDX-License-Identifier: Apache-2.0
"""The Merkle tree of RFC 6962 section 2.1 with SHA-256: hashes, and the verification of proofs.

Hashes are 32 raw bytes. Making proofs is `signwright.transparency.tiles`; this module only judges them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import reduce

from signwright.errors import VerificationError

HASH_SIZE = 32
#: Root of the tree without leaves: SHA-256 of the empty string.
EMPTY_ROOT = hashlib.sha256(b"").digest()
#: Sizes are unsigned 63 bit numbers, so no path is longer than this.
MAX_SIZE = (1 << 63) - 1
MAX_PATH = 63


def leaf_hash(leaf: bytes) -> bytes:
    """Hash of a leaf's content: SHA-256(0x00 || leaf)."""
    return hashlib.sha256(b"\x00" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash of an inner node: SHA-256(0x01 || left || right)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def joined_root(roots: Sequence[bytes]) -> bytes:
    """Root of the tree whose full subtrees have these ``roots``, the largest first."""
    return reduce(lambda right, left: node_hash(left, right), reversed(roots)) if roots else EMPTY_ROOT


class CompactRange:
    """The first ``size`` leaves of a growing tree, kept as the roots of their full subtrees, the largest first."""

    def __init__(self, size: int = 0, roots: Sequence[bytes] = ()) -> None:
        self.size, self.roots = size, list(roots)

    def append(self, leaf: bytes) -> None:
        """``leaf``: its hash."""
        node, above = leaf, self.size
        while above & 1:
            node, above = node_hash(self.roots.pop(), node), above >> 1
        self.roots.append(node)
        self.size += 1

    def root(self) -> bytes:
        """Of the tree of these leaves."""
        return joined_root(self.roots)


def verify_inclusion(leaf: bytes, index: int, *, size: int, root: bytes, path: Sequence[bytes]) -> None:
    """The leaf with hash ``leaf`` stands at ``index`` in the tree of ``size`` leaves with this ``root``.

    ``path``: from the leaf's sibling upwards. Raises `VerificationError`. RFC 9162 section 2.1.3.2.
    """
    if not 0 <= index < size <= MAX_SIZE:
        raise _wrong(f"inclusion proof: index {index} is not in a tree of {size} leaves")
    _check_hashes(leaf, root, *path)
    node, last, found = index, size - 1, leaf
    for sibling in path:
        if last == 0:
            raise _wrong("inclusion proof: the path is too long")
        if node & 1 or node == last:
            found = node_hash(sibling, found)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            found = node_hash(found, sibling)
        node, last = node >> 1, last >> 1
    if last != 0:
        raise _wrong("inclusion proof: the path is too short")
    if found != root:
        raise _wrong("inclusion proof: it does not lead to the root of the checkpoint")


def verify_consistency(
    old_size: int, old_root: bytes, *, new_size: int, new_root: bytes, path: Sequence[bytes]
) -> None:
    """The tree of ``old_size`` leaves is a prefix of the tree of ``new_size`` leaves.

    Raises `VerificationError`. RFC 9162 section 2.1.4.2; equal sizes and the empty tree need equal roots, the root of
    the empty tree, and an empty path (C2SP tlog-witness).
    """
    if not 0 <= old_size <= new_size <= MAX_SIZE:
        raise _wrong(f"consistency proof: a tree of {old_size} leaves cannot have grown to {new_size}")
    _check_hashes(old_root, new_root, *path)
    if (old_size == 0 and old_root != EMPTY_ROOT) or (new_size == 0 and new_root != EMPTY_ROOT):
        raise _wrong("consistency proof: the root of an empty tree is not the hash of nothing")
    if old_size in (0, new_size):
        if path:
            raise _wrong("consistency proof: no hashes are wanted from an empty tree or between equal sizes")
        if old_size == new_size and old_root != new_root:
            raise _wrong(f"consistency proof: two different roots for {new_size} leaves: the log was forked")
        return
    _walk_consistency(old_size, old_root, new_size=new_size, new_root=new_root, path=path)


def _walk_consistency(old_size: int, old_root: bytes, *, new_size: int, new_root: bytes, path: Sequence[bytes]) -> None:
    node, last = old_size - 1, new_size - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    # An old tree that is one full subtree proves its own first hash, which is therefore left out.
    hashes = [old_root, *path] if old_size & (old_size - 1) == 0 else list(path)
    if not hashes:
        raise _wrong("consistency proof: the path is empty")
    old_found = new_found = hashes[0]
    for sibling in hashes[1:]:
        if last == 0:
            raise _wrong("consistency proof: the path is too long")
        if node & 1 or node == last:
            old_found, new_found = node_hash(sibling, old_found), node_hash(sibling, new_found)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            new_found = node_hash(new_found, sibling)
        node, last = node >> 1, last >> 1
    if last != 0 or old_found != old_root or new_found != new_root:
        raise _wrong("consistency proof: the new tree does not continue the old one")


def _check_hashes(*hashes: bytes) -> None:
    if len(hashes) > MAX_PATH + 2 or any(len(value) != HASH_SIZE for value in hashes):
        raise _wrong(f"a proof holds at most {MAX_PATH} hashes of {HASH_SIZE} bytes")


def _wrong(message: str) -> VerificationError:
    return VerificationError(message, code="bad-proof")
