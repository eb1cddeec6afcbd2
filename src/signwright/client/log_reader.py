# SPDX-License-Identifier: Apache-2.0
"""Reading a log through somebody who is not believed: every leaf is proved against a checkpoint that the trust file
vouches for. Entries come in bundles of 256; a bundle's leaves are hashed and compared with the tree, whose root is
the checkpoint's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from signwright.errors import UsageError, VerificationError
from signwright.transparency.checkpoint import Checkpoint
from signwright.transparency.cosignature import LogTrust, Witnessed
from signwright.transparency.growth import Frontier
from signwright.transparency.merkle import EMPTY_ROOT, leaf_hash, verify_consistency, verify_inclusion
from signwright.transparency.proof import TlogProof
from signwright.transparency.tiles import ENTRIES, HEIGHT, LEVELS, WIDTH, Tile, TileTree, parse_bundle, split_tile

#: From a path of the log (``tile/…``) to the file's bytes; raises for a missing file.
ReadFile = Callable[[str], bytes]


@dataclass(frozen=True)
class LogReader:
    """``note``: the signed checkpoint as received; `open_log` makes one."""

    trust: LogTrust
    note: bytes
    witnessed: Witnessed
    read_file: ReadFile

    @property
    def checkpoint(self) -> Checkpoint:
        return self.witnessed.checkpoint

    def leaves(self, first: int, end: int) -> Iterator[tuple[int, bytes]]:
        """(index, content) from ``first`` up to ``end``, each proved to stand in the tree of the checkpoint."""
        end = min(end, self.checkpoint.size)
        if first < 0 or first > self.checkpoint.size:
            raise UsageError(f"the log has {self.checkpoint.size} leaves; no leaf {first}", code="no-such-leaf")
        tree = TileTree(self.checkpoint.size, self.read_file)
        for bundle in range(first // WIDTH, -(-end // WIDTH)):
            for index, content in enumerate(self._bundle(bundle), bundle * WIDTH):
                if first <= index < end:
                    path = tree.inclusion(index)
                    checkpoint = self.checkpoint
                    verify_inclusion(leaf_hash(content), index, size=checkpoint.size, root=checkpoint.root, path=path)
                    yield index, content

    def all_leaves(self) -> Iterator[tuple[int, bytes]]:
        """Every leaf, growing the whole tree anew from contents alone; errors as `leaves_since`."""
        return self.leaves_since(0, EMPTY_ROOT)

    def leaves_since(self, size: int, root: bytes) -> Iterator[tuple[int, bytes]]:
        """The leaves behind the first ``size`` ones, whose tree had this ``root``, growing it from their contents.

        Raises `VerificationError` (``log-rollback``, ``bad-proof``): before the first leaf when the log does not
        continue that tree, and after the last one when the contents are not those of the checkpoint; what was yielded
        before is then not proved.
        """
        self.continues(size, root)
        frontier, checkpoint = self._edge(size), self.checkpoint
        if frontier.root() != root:
            raise VerificationError(f"log: its tiles do not make the root of its first {size} leaves", code="bad-proof")
        for bundle in range(size // WIDTH, -(-checkpoint.size // WIDTH)):
            first = max(size, bundle * WIDTH)
            contents = self._bundle(bundle)[first - bundle * WIDTH :]
            frontier = frontier.grow(contents).frontier
            yield from enumerate(contents, first)
        if (frontier.size, frontier.root()) != (checkpoint.size, checkpoint.root):
            raise VerificationError("log: its entries do not make the root of its checkpoint", code="bad-proof")

    def _edge(self, size: int) -> Frontier:
        """The right edge of the tree of the first ``size`` leaves, from the tiles of today's tree, without the entries
        of its last bundle: only who writes tiles needs those. The caller compares its root.
        """
        levels: list[tuple[bytes, ...]] = []
        for level in range(LEVELS):
            index, width = divmod(size >> (HEIGHT * level), WIDTH)
            there = min(WIDTH, (self.checkpoint.size >> (HEIGHT * level)) - index * WIDTH)
            tile = split_tile(self.read_file(Tile(level, index, there).path), there) if width else []
            levels.append(tuple(tile[:width]))
        return Frontier(size, tuple(levels))

    def _bundle(self, number: int) -> list[bytes]:
        width = min(WIDTH, self.checkpoint.size - number * WIDTH)
        return parse_bundle(self.read_file(Tile(ENTRIES, number, width).path), width)

    def continues(self, size: int, root: bytes) -> None:
        """The log continues the tree seen before; raises `VerificationError` (``log-rollback``, ``bad-proof``)."""
        checkpoint = self.checkpoint
        if size > checkpoint.size:
            raise VerificationError(
                f"the log has {checkpoint.size} leaves, and {size} were seen before: it was taken back",
                code="log-rollback",
            )
        path = [] if size in (0, checkpoint.size) else TileTree(checkpoint.size, self.read_file).consistency(size)
        verify_consistency(size, root, new_size=checkpoint.size, new_root=checkpoint.root, path=path)

    def proof(self, index: int) -> tuple[bytes, TlogProof]:
        """A leaf's content with its tlog-proof, verified."""
        ((_, content),) = self.leaves(index, index + 1)
        path = TileTree(self.checkpoint.size, self.read_file).inclusion(index)
        proof = TlogProof(index, tuple(path), self.note)
        proof.verify(content, self.trust)
        return content, proof


def open_log(trust: LogTrust, note: bytes, read_file: ReadFile) -> LogReader:
    """Verify the signed checkpoint ``note``; raises `VerificationError`, `MalformedError`, `LimitError`."""
    return LogReader(trust, note, trust.verify(note), read_file)
