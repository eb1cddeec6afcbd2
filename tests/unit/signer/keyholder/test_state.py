# SPDX-License-Identifier: Apache-2.0
"""What the keyholder remembers, and that it starts with nothing only when it is told to."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from signwright.errors import ConfigurationError, DeniedError
from signwright.model.framing import encode_frame
from signwright.policy.orders import Claim
from signwright.policy.reading import Learned, Started
from signwright.signer.keyholder.state import State
from signwright.transparency.checkpoint import Checkpoint

ROOT = "ab" * 32


def test_state_that_is_not_there_is_an_error_and_is_not_made(tmp_path: Path) -> None:
    file = tmp_path / "state"
    with pytest.raises(ConfigurationError) as refused:
        State(file)
    assert refused.value.code == "state-missing"
    assert not file.exists()


def test_genesis_again_keeps_what_the_state_remembers(tmp_path: Path) -> None:
    """A first start may fail after the keyholder's part of it."""
    first = State(tmp_path / "state", genesis=ROOT)
    first.accept_policy(2, "two", {"documents": []}, [b"2"])
    again = State(tmp_path / "state", genesis=ROOT)
    assert (again.newest_policy(), again.starts) == (first.newest_policy(), 2)


def test_genesis_over_the_state_of_another_root_is_refused(tmp_path: Path) -> None:
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


def start(index: int, *, size: int, newest: int) -> Started:
    return Started(index, (index + 1, b"r" * 32), Checkpoint("a log", size, b"r" * 32), newest, policy_version=1)


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
    first.started(start(7, size=8, newest=100))
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
    state.started(start(7, size=8, newest=1_000_000))
    while time.clock_gettime(time.CLOCK_BOOTTIME) < before + 1.1:
        time.sleep(0.05)
    assert 1_000_001 <= state.clock() <= 1_000_000 + time.clock_gettime(time.CLOCK_BOOTTIME) - before


def intent(index: int, attempt: int, *, time: int, request: str = "aa") -> Learned:
    return Learned(index, "intent", request, 0, attempt, "key k", time)


def test_what_was_read_counts_from_the_start_on_and_not_before(tmp_path: Path) -> None:
    state = State(tmp_path / "state", genesis=ROOT)
    state.learn([intent(3, 2, time=7200), Learned(4, "policy", "", 0, 5, "", 0), Learned(5, "halt", "hh", 0, 9, "", 0)])
    state.learn([Learned(6, "freshness", "", 0, 12, "", 0)])
    assert (state.attempts("aa", 0), state.wanted(due=0, created=0), list(state.halts())) == (0, 0, [])
    again = State(tmp_path / "state")
    assert (again.read(), again.attempts("aa", 0)) == ((0, b""), 0)
    state.started(start(7, size=8, newest=9000))
    for known in (state, State(tmp_path / "state")):
        assert known.read() == (8, b"r" * 32)
        assert known.attempts("aa", 0) == 2
        assert known.used("key k", 2) == 1
        assert list(known.halts()) == [("hh", 1, None)], "no halt waits for a policy above the one in force"
        assert (known.wanted(due=0, created=9000), known.wanted(due=0, created=9001)) == (5, 0)
        assert (known.freshness(created=9000), known.freshness(created=9001)) == (12, 0)


def test_intent_that_was_claimed_is_no_second_use_of_the_key_when_it_is_read(tmp_path: Path) -> None:
    state = State(tmp_path / "state", genesis=ROOT)
    claim(state, Claim(3, "aa", 0, 1, (("key k", 4),), 0), size=4)
    state.learn([intent(3, 1, time=0), intent(5, 2, time=0)])
    state.started(start(7, size=8, newest=60))
    assert (state.used("key k", 0), state.attempts("aa", 0)) == (5, 2)


def test_use_of_a_key_that_lies_ahead_counts_now_and_is_over_a_day_later(tmp_path: Path) -> None:
    state = State(tmp_path / "state", genesis=ROOT)
    state.learn([intent(3, 1, time=1 << 52)])
    state.started(start(7, size=8, newest=3600))
    assert (state.used("key k", 1), state.used("key k", 26)) == (1, 0)


def test_halt_that_was_resumed_is_not_in_force_again_when_its_leaf_is_read(tmp_path: Path) -> None:
    state = State(tmp_path / "state", genesis=ROOT)
    state.resume("hh", 3)
    state.learn([Learned(5, "halt", "hh", 0, 2, "", 0)])
    state.started(start(7, size=8, newest=60))
    assert list(state.halts()) == [("hh", 0, 3)]


def test_policy_that_waits_is_wanted_when_its_time_has_come(tmp_path: Path) -> None:
    state = State(tmp_path / "state", genesis=ROOT)
    state.learn([Learned(3, "policy", "", 0, 2, "", 0), Learned(4, "policy", "", 0, 3, "", 7200)])
    state.started(start(7, size=8, newest=60))
    assert [state.wanted(due=due, created=0) for due in (60, 7199, 7200)] == [2, 2, 3]


def test_older_freshness_in_the_log_forgets_no_newer_one(tmp_path: Path) -> None:
    state = State(tmp_path / "state", genesis=ROOT)
    state.learn([Learned(3, "freshness", "", 0, 12, "", 0)])
    state.started(start(7, size=8, newest=60))
    again = State(tmp_path / "state")
    again.learn([Learned(9, "freshness", "", 0, 11, "", 0)])
    again.started(start(10, size=11, newest=90))
    assert [again.freshness(created=created) for created in (60, 61, 90, 91)] == [12, 11, 11, 0]


def test_state_of_before_the_log_was_read_is_taken_over(tmp_path: Path) -> None:
    """One without the tables and the facts that reading needs."""
    State(tmp_path / "state", genesis=ROOT)
    with sqlite3.connect(tmp_path / "state") as database:
        database.execute("DROP TABLE wanted")
        database.execute("DROP TABLE renewed")
    database.close()
    old = State(tmp_path / "state")
    assert (old.read(), old.wanted(due=1 << 40, created=0), old.freshness(created=0)) == ((0, b""), 0, 0)


def test_database_of_something_else_is_no_state(tmp_path: Path) -> None:
    file = tmp_path / "state"
    with closing(sqlite3.connect(file)) as other:
        other.execute("CREATE TABLE something (x)")
    with pytest.raises(ConfigurationError, match="is not one") as refused:
        State(file)
    assert refused.value.code == "state-missing"
