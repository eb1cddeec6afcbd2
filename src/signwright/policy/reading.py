# SPDX-License-Identifier: Apache-2.0
"""What a keyholder reads before it takes orders: each leaf of the log, from where it last read up to its own start.

Its state may be that of a copy, and its gate may be hostile. So it believes neither: what the log says was logged is
learned again, and the log is the one that the witnesses have cosigned. A leaf that somebody made up can stop signing;
none allows any.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, Protocol

from signwright.errors import DeniedError, LimitError, MalformedError
from signwright.model.times import parse_time
from signwright.policy.following import LogMemory, witnessed_now
from signwright.policy.policy import Policy
from signwright.transparency.checkpoint import Checkpoint
from signwright.transparency.intent import (
    MAX_LEAF,
    FreshnessLeaf,
    HaltLeaf,
    IntentLeaf,
    KeyOperationLeaf,
    Leaf,
    PolicyLeaf,
    StartLeaf,
    read_leaf,
)
from signwright.transparency.merkle import HASH_SIZE, CompactRange, leaf_hash

_LEAVES = (IntentLeaf, KeyOperationLeaf, PolicyLeaf, HaltLeaf, FreshnessLeaf, StartLeaf)
_TYPES: dict[str, type[Leaf]] = {leaf.model_fields["type"].default: leaf for leaf in _LEAVES}
#: In their one written form. What has none of these is hashed and not read: nothing was ever accepted because of it.
_TYPE = re.compile(f'"type":"(?:{"|".join(_TYPES)})"'.encode())
#: A time that never comes, and that every database can hold.
_NEVER = 1 << 53


class Learned(NamedTuple):
    """What one leaf says. ``kind``: intent, policy, halt or freshness; ``subject``: digest of the request or statement;
    ``number``: attempt, version or number; ``key``: name of the key's counter; ``time``: seconds since the epoch, of a
    policy when it comes into force, 0 for at once.
    """

    leaf_index: int
    kind: str
    subject: str
    wave: int
    number: int
    key: str
    time: int


@dataclass(frozen=True, slots=True)
class Started:
    """``first_leaf``: index of the start leaf; ``read``: size and subtree roots of the tree up to that leaf;
    ``newest``: when it was cosigned, seconds since the epoch; ``policy_version``: in force then.
    """

    first_leaf: int
    read: tuple[int, bytes]
    checkpoint: Checkpoint
    newest: int
    policy_version: int


class ReadingMemory(LogMemory, Protocol):
    def read(self) -> tuple[int, bytes]:
        """Number of leaves ever read, and the roots of their full subtrees one after the other, the largest first."""
        ...

    def learn(self, rows: Sequence[Learned]) -> None:
        """Keep until `started`; nothing of it counts before."""
        ...

    def started(self, start: Started) -> None:
        """Everything learned, where reading stopped and the checkpoint become durable at once, or nothing does."""
        ...


class Reading:
    """``nonce``, ``number``: of this process. Memory does not grow with the log."""

    def __init__(self, memory: ReadingMemory, *, nonce: str, number: int) -> None:
        self._memory, self._own = memory, (nonce, number)
        size, roots = memory.read()
        self._tree = CompactRange(size, [roots[at : at + HASH_SIZE] for at in range(0, len(roots), HASH_SIZE)])
        self._log_size, self._log_root = memory.log()
        self._root_there = self._tree.root()
        self._start: tuple[int, tuple[int, bytes]] | None = None

    @property
    def size(self) -> int:
        """Index of the leaf that comes next."""
        return self._tree.size

    def take(self, first: object, leaves: Sequence[bytes]) -> None:
        """The contents of the next leaves; raises `DeniedError` and `LimitError`, then none of them counts."""
        if type(first) is not int or first != self.size:
            raise DeniedError(f"leaves from {str(first)[:20]} on; wanted from {self.size} on", code="wrong-leaves")
        if any(len(content) > MAX_LEAF for content in leaves):
            raise LimitError(f"a leaf of more than {MAX_LEAF} bytes", code="leaf-too-large")
        rows: list[Learned] = []
        for content in leaves:
            rows += self._learned(content)
            self._tree.append(leaf_hash(content))
            if self.size == self._log_size:
                self._root_there = self._tree.root()
        self._memory.learn(rows)

    def _learned(self, content: bytes) -> Iterator[Learned]:
        """Up to the start of this process: whatever comes later is new to its successor, and read by it."""
        index = self.size
        try:
            leaf = read_leaf(content, _TYPES) if self._start is None and _TYPE.search(content) else None
        except (MalformedError, LimitError):
            return  # no order was ever accepted with such a leaf
        match leaf:
            case IntentLeaf():
                time = _seconds(leaf.signing_time)
                yield Learned(index, "intent", leaf.request, leaf.wave, leaf.attempt, f"key {leaf.key}", time)
            case KeyOperationLeaf():
                time = _seconds(leaf.time)
                yield Learned(index, "intent", leaf.statement, 0, leaf.attempt, f"key {leaf.key}", time)
            case PolicyLeaf():
                due = _seconds(leaf.time) + leaf.delay_hours * 3600 if leaf.delay_hours else 0
                yield Learned(index, "policy", leaf.policy_sha256, 0, leaf.policy_version, "", min(due, _NEVER))
            case HaltLeaf():
                yield Learned(index, "halt", leaf.statement, 0, leaf.policy_version, "", 0)
            case FreshnessLeaf():
                yield Learned(index, "freshness", leaf.statement, 0, leaf.number, "", 0)
            case StartLeaf() if (leaf.nonce, leaf.number) == self._own:
                after = CompactRange(self._tree.size, self._tree.roots)
                after.append(leaf_hash(content))
                self._start = index, (after.size, b"".join(after.roots))

    def started(self, policy: Policy, note: bytes, *, now: datetime) -> Started:
        """All that was read is what the checkpoint ``note`` says, the start of this process is among it, and the log
        that was known is its beginning. Raises `DeniedError` and `VerificationError`.
        """
        checkpoint, cosigned = witnessed_now(policy, self._memory, note, now=now)
        if self._log_size > checkpoint.size:
            found = f"the log has {checkpoint.size} leaves; {self._log_size} were seen before"
            raise DeniedError(f"{found}: it was taken back", code="log-rollback")
        if (self.size, self._tree.root()) != (checkpoint.size, checkpoint.root):
            raise DeniedError(f"the {self.size} leaves that were read are not the checkpoint's", code="wrong-leaves")
        if self._log_size and self._root_there != self._log_root:
            raise DeniedError(f"the log does not continue the one of {self._log_size} leaves", code="log-fork")
        if self._start is None:
            raise DeniedError("the start of this keyholder is not among the leaves", code="wrong-start")
        first_leaf, read = self._start
        return Started(first_leaf, read, checkpoint, int(cosigned.timestamp()), policy.version)


def _seconds(time: str) -> int:
    return int(parse_time(time).timestamp())
