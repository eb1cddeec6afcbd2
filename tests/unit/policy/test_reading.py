# SPDX-License-Identifier: Apache-2.0
"""What a keyholder learns of each leaf that it reads, and which leaves it takes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pytest

from signwright.errors import DeniedError, LimitError
from signwright.model.times import format_time
from signwright.policy.reading import Learned, Reading, Started
from signwright.transparency.intent import MAX_LEAF, StartLeaf
from signwright.transparency.merkle import EMPTY_ROOT, HASH_SIZE, CompactRange, leaf_hash
from tests.support import leaves
from tests.support.pki import default_pki
from tests.support.signing import SignerWorld
from tests.support.world import NOW

NONCE = "0" * 32
SECONDS = int(NOW.timestamp())


class Memory:
    """Empty, and keeps what it is told."""

    def __init__(self) -> None:
        self.learned: list[Learned] = []

    def log(self) -> tuple[int, bytes]:
        return 0, EMPTY_ROOT

    def clock(self) -> int:
        return 0

    def read(self) -> tuple[int, bytes]:
        return 0, b""

    def learn(self, rows: Sequence[Learned]) -> None:
        self.learned += rows

    def started(self, start: Started) -> None:
        raise AssertionError(start)


def reading() -> tuple[Memory, Reading]:
    memory = Memory()
    return memory, Reading(memory, nonce=NONCE, number=1)


def learned(*contents: bytes) -> list[Learned]:
    memory, found = reading()
    found.take(0, contents)
    assert found.size == len(contents)
    return memory.learned


def test_each_kind_of_leaf_says_what_it_says() -> None:
    intent, operation = leaves.intent(), leaves.key_operation()
    assert learned(leaves.genesis().encode(), intent.encode(), operation.encode()) == [
        Learned(1, "intent", intent.request, intent.wave, intent.attempt, f"key {intent.key}", SECONDS),
        Learned(2, "intent", operation.statement, 0, operation.attempt, f"key {operation.key}", SECONDS),
    ]
    halt, fresh = leaves.halt(), leaves.freshness()
    assert learned(halt.encode(), fresh.encode()) == [
        Learned(0, "halt", halt.statement, 0, halt.policy_version, "", 0),
        Learned(1, "freshness", fresh.statement, 0, fresh.number, "", 0),
    ]


def test_policy_that_waits_is_due_when_its_delay_is_over() -> None:
    at_once, waits = leaves.policy(1), leaves.policy(2, weakening=("people",), delay_hours=24)
    assert learned(at_once.encode(), waits.encode()) == [
        Learned(0, "policy", at_once.policy_sha256, 0, 1, "", 0),
        Learned(1, "policy", waits.policy_sha256, 0, 2, "", SECONDS + int(timedelta(hours=24).total_seconds())),
    ]


def test_leaves_after_the_own_start_are_left_to_the_next_process() -> None:
    own = StartLeaf(nonce=NONCE, number=1, time=format_time(NOW)).encode()
    others = [StartLeaf(nonce="1" * 32, number=1, time=format_time(NOW)).encode()]
    others.append(StartLeaf(nonce=NONCE, number=2, time=format_time(NOW)).encode())
    assert learned(own, leaves.halt().encode()) == []
    assert [row.leaf_index for row in learned(*others, leaves.halt().encode())] == [2]


def test_leaf_that_does_not_parse_is_hashed_and_says_nothing() -> None:
    assert learned(leaves.halt().encode()[:-1], b'{"type":"halt"}', b"", leaves.halt().encode())[0].leaf_index == 3


@pytest.mark.parametrize("first", [0, 2, -1, True, 1.0, "1", None])
def test_only_the_next_leaves_are_taken(first: object) -> None:
    memory, found = reading()
    found.take(0, [leaves.genesis().encode()])
    with pytest.raises(DeniedError, match="wanted from 1 on"):
        found.take(first, [leaves.halt().encode()])
    assert (found.size, memory.learned) == (1, [])
    found.take(1, [leaves.halt().encode()])
    assert len(memory.learned) == 1


def test_leaf_that_is_too_large_spoils_all_that_came_with_it() -> None:
    memory, found = reading()
    with pytest.raises(LimitError):
        found.take(0, [leaves.halt().encode(), bytes(MAX_LEAF + 1)])
    assert (found.size, memory.learned) == (0, [])
    found.take(0, [bytes(MAX_LEAF)])
    assert found.size == 1


def test_reading_goes_on_behind_the_own_start() -> None:
    """The next process begins with the leaf after it, whatever stood there when this one had read on."""
    signer = SignerWorld(default_pki().code_signing("p256"))
    before = signer.log.checkpoint.size
    signer.log.append(StartLeaf(nonce=NONCE, number=1, time=format_time(NOW)).encode(), leaves.halt().encode())
    _, found = reading()
    found.take(0, signer.log.leaves)
    start = found.started(signer.policy, signer.log.note(NOW), now=NOW)
    size, roots = start.read
    assert (start.first_leaf, size) == (before, before + 1)
    tree = CompactRange(size, [roots[at : at + HASH_SIZE] for at in range(0, len(roots), HASH_SIZE)])
    tree.append(leaf_hash(leaves.halt().encode()))
    assert (tree.size, tree.root()) == (start.checkpoint.size, start.checkpoint.root)
