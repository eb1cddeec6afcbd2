# SPDX-License-Identifier: Apache-2.0
"""What the keyholder remembers, and that it starts with nothing only when it is told to."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

import pytest

from signwright.errors import ConfigurationError, DeniedError
from signwright.model.framing import encode_frame
from signwright.policy.orders import Claim
from signwright.signer.keyholder.state import State

ROOT = "ab" * 32


def test_state_that_is_not_there_is_an_error_and_is_not_made(tmp_path: Path) -> None:
    file = tmp_path / "state"
    with pytest.raises(ConfigurationError) as refused:
        State(file)
    assert refused.value.code == "state-missing"
    assert not file.exists()


def test_genesis_over_an_existing_state_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "state"
    assert State(file, genesis=ROOT).root_sha256 == ROOT
    with pytest.raises(ConfigurationError) as refused:
        State(file, genesis="cd" * 32)
    assert refused.value.code == "state-exists"
    assert State(file).root_sha256 == ROOT


def test_state_without_its_root_is_not_complete(tmp_path: Path) -> None:
    file = tmp_path / "state"
    State(file, genesis=ROOT)
    with sqlite3.connect(file) as database:
        database.execute("DELETE FROM fact")
    database.close()
    with pytest.raises(ConfigurationError) as refused:
        State(file)
    assert refused.value.code == "state-missing"


def test_policy_versions_only_go_up_and_the_newest_is_remembered(tmp_path: Path) -> None:
    state = State(tmp_path / "state", genesis=ROOT)
    assert state.newest_policy() is None
    state.accept_policy(2, "two", {"documents": []}, [b"2"])
    for version in (1, 2):
        with pytest.raises(DeniedError) as refused:
            state.accept_policy(version, "other", {"documents": []}, [b"x"])
        assert refused.value.code == "policy-rollback"
    state.accept_policy(3, "three", {"documents": []}, [b"3"])
    assert State(tmp_path / "state").newest_policy() == encode_frame({"documents": []}, [b"3"])


def claim(state: State, one: Claim, *, size: int) -> None:
    state.begin()
    try:
        state.claim(one, hour=0, size=size, root=bytes([size]) * 32)
    finally:
        state.commit()


@pytest.mark.parametrize(
    "again", [Claim(1, "other", 0, 1, (), 0), Claim(2, "request", 0, 1, (), 0)], ids=["leaf", "attempt"]
)
def test_claim_is_taken_once_by_leaf_and_by_attempt(tmp_path: Path, again: Claim) -> None:
    state = State(tmp_path / "state", genesis=ROOT)
    claim(state, Claim(1, "request", 0, 1, (), 0), size=2)
    with pytest.raises(DeniedError) as refused:
        claim(state, again, size=3)
    assert refused.value.code == "intent-used"


def test_remembered_log_never_shrinks(tmp_path: Path) -> None:
    state = State(tmp_path / "state", genesis=ROOT)
    claim(state, Claim(1, "a", 0, 1, (), 0), size=5)
    claim(state, Claim(2, "b", 0, 1, (), 0), size=4)
    assert state.log() == (5, bytes([5]) * 32)


def test_each_start_has_a_higher_number_and_takes_nothing_before_it_is_logged(tmp_path: Path) -> None:
    first = State(tmp_path / "state", genesis=ROOT)
    first.started(7, size=8, root=b"r" * 32, newest=100)
    assert (first.starts, first.first_leaf(), first.log(), first.clock()) == (1, 7, (8, b"r" * 32), 100)
    second = State(tmp_path / "state")
    assert second.starts == 2
    with pytest.raises(DeniedError) as refused:
        second.first_leaf()
    assert refused.value.code == "not-started"


def test_clock_and_revocations_never_go_back(tmp_path: Path) -> None:
    state = State(tmp_path / "state", genesis=ROOT)
    claim(state, Claim(1, "a", 0, 1, (), 500, (4, frozenset({"person alice"}))), size=2)
    claim(state, Claim(2, "b", 0, 1, (), 400, (3, frozenset())), size=3)
    assert (state.clock(), state.revoked()) == (500, {"person alice"})
    claim(state, Claim(3, "c", 0, 1, (), 600, (5, frozenset())), size=4)
    assert (state.clock(), state.revoked()) == (600, frozenset())


def test_halt_that_comes_after_its_resume_does_not_halt_again(tmp_path: Path) -> None:
    state = State(tmp_path / "state", genesis=ROOT)
    state.resume("aa", 3)
    state.halt("aa", 2)
    state.halt("bb", 2)
    assert sorted(state.halts()) == [("aa", 0, 3), ("bb", 2, None)]


def test_clock_rises_by_itself_from_the_start_on(tmp_path: Path) -> None:
    """By the time since the machine came up, which an administrator's ``date`` does not change."""
    state = State(tmp_path / "state", genesis=ROOT)
    assert state.clock() == 0
    before = time.clock_gettime(time.CLOCK_BOOTTIME)
    state.started(7, size=8, root=b"r" * 32, newest=1_000_000)
    while time.clock_gettime(time.CLOCK_BOOTTIME) < before + 1.1:
        time.sleep(0.05)
    assert 1_000_001 <= state.clock() <= 1_000_000 + time.clock_gettime(time.CLOCK_BOOTTIME) - before
