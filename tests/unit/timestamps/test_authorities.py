# SPDX-License-Identifier: Apache-2.0
"""Ranked failover, breaker and deadline, with a clock that only moves when told."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from signwright.errors import ConfigurationError, SignwrightError, TimestampError
from signwright.model.digest import Digest
from signwright.timestamps.authorities import Attempt, Authorities, Obtained, Patience, Round, Wanted, obtain
from signwright.timestamps.codes import Check
from tests.support.faulty_tsa import FaultyTsa
from tests.support.pki import NOW, default_pki

IMPRINT = Digest.of(b"a signature value")
PATIENCE = Patience(deadline=30, attempt=10, failures=2, cool_down=60)
PROBLEM = TimestampError("no answer", code=Check.UNREACHABLE)
TSA = FaultyTsa(default_pki())


class Clock:
    """Seconds. Moves when told."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def answers(behaviour: dict[str, str], asked: list[tuple[str, float]]) -> Callable[[str, bytes, float], bytes]:
    """Asks the faulty authority in the mode that ``behaviour`` gives for a name; ``down`` raises."""

    def ask(name: str, query: bytes, seconds: float) -> bytes:
        asked.append((name, seconds))
        if behaviour[name] == "down":
            raise PROBLEM
        return TSA.reply(behaviour[name], query).body

    return ask


def stamp(
    authorities: Authorities, behaviour: dict[str, str], clock: Clock, asked: list[tuple[str, float]]
) -> Obtained:
    return obtain(
        IMPRINT,
        authorities=authorities,
        wanted=Wanted(anchors=[default_pki().root]),
        ask=answers(behaviour, asked),
        now=lambda: NOW,
        monotonic=clock,
        random_bytes=lambda length: bytes(range(1, length + 1)),
    )


def test_the_first_in_rank_is_asked_first_and_alone() -> None:
    asked: list[tuple[str, float]] = []
    obtained = stamp(Authorities(["a", "b"]), {"a": "good", "b": "good"}, Clock(), asked)
    assert (obtained.name, [name for name, _ in asked]) == ("a", ["a"])
    assert obtained.earlier_failures == ()
    assert obtained.info.gen_time == NOW


def test_a_bad_token_is_the_failure_of_its_authority_and_the_next_one_is_asked() -> None:
    obtained = stamp(Authorities(["a", "b"]), {"a": "unsorted", "b": "good"}, Clock(), [])
    assert obtained.name == "b"
    assert [(f.name, f.code) for f in obtained.earlier_failures] == [("a", Check.SET_ORDER)]


def test_when_none_works_each_is_named_with_its_cause() -> None:
    with pytest.raises(TimestampError) as failure:
        stamp(Authorities(["a", "b", "c"]), {"a": "down", "b": "wrong-nonce", "c": "rejection"}, Clock(), [])
    assert failure.value.code == "no-timestamp"
    causes = failure.value.details["authorities"]
    assert isinstance(causes, list)
    assert [(c["name"], c["code"]) for c in causes] == [
        ("a", Check.UNREACHABLE),
        ("b", Check.NONCE),
        ("c", Check.REJECTED),
    ]
    assert all(name in failure.value.message for name in ("a:", "b:", "c:"))


def test_after_repeated_failures_an_authority_is_left_alone_until_it_has_cooled_down() -> None:
    clock, asked = Clock(), []
    authorities = Authorities(["a", "b"], patience=PATIENCE)
    behaviour = {"a": "down", "b": "good"}
    for _ in range(3):
        stamp(authorities, behaviour, clock, asked)
    assert [name for name, _ in asked] == ["a", "b", "a", "b", "b"]
    clock.seconds += PATIENCE.cool_down
    behaviour["a"] = "good"
    assert stamp(authorities, behaviour, clock, asked).name == "a"
    assert not authorities.is_open("a", clock())


def test_one_failure_after_the_cool_down_opens_the_breaker_again() -> None:
    clock, asked = Clock(), []
    authorities = Authorities(["a", "b"], patience=PATIENCE)
    for _ in range(2):
        stamp(authorities, {"a": "down", "b": "good"}, clock, asked)
    clock.seconds += PATIENCE.cool_down
    stamp(authorities, {"a": "down", "b": "good"}, clock, asked)
    assert authorities.is_open("a", clock() + PATIENCE.cool_down - 1)


def test_a_success_forgets_earlier_failures() -> None:
    clock, authorities = Clock(), Authorities(["a", "b"], patience=PATIENCE)
    for mode in ("down", "good", "down"):
        stamp(authorities, {"a": mode, "b": "good"}, clock, [])
    assert not authorities.is_open("a", clock())


def test_with_every_breaker_open_nobody_is_asked_and_the_error_says_until_when() -> None:
    clock, asked = Clock(), []
    authorities = Authorities(["a"], patience=PATIENCE)
    for _ in range(2):
        with pytest.raises(TimestampError):
            stamp(authorities, {"a": "down"}, clock, asked)
    with pytest.raises(TimestampError, match=r"a: not asked: it failed 2 times, next try in 60 s"):
        stamp(authorities, {"a": "good"}, clock, asked)
    assert len(asked) == 2


def test_a_value_that_would_be_lost_is_taken_to_authorities_that_failed_lately() -> None:
    authorities = Authorities(["a", "b"], patience=PATIENCE)
    for _ in range(PATIENCE.failures):
        authorities.failed("a", 0.0)
    asked = [current.next_attempt(1.0) for current in (Round(authorities, 9.0), Round(authorities, 9.0, anyway=True))]
    assert [one.name for one in asked if one] == ["b", "a"]


def test_the_deadline_bounds_the_whole_round() -> None:
    clock = Clock()
    current = Authorities(["a", "b", "c", "d", "e"], patience=Patience(deadline=25, attempt=10)).begin(clock())
    attempts = []
    while (attempt := current.next_attempt(clock())) is not None:
        attempts.append(attempt)
        clock.seconds += attempt.seconds
        current.failed(attempt.name, PROBLEM, now=clock())
    assert attempts == [Attempt("a", 10), Attempt("b", 10), Attempt("c", 5)]
    assert [f.code for f in current.failures[3:]] == ["timestamp-deadline", "timestamp-deadline"]


def test_each_attempt_has_its_own_nonce() -> None:
    queries: list[bytes] = []

    def ask(name: str, query: bytes, seconds: float) -> bytes:
        queries.append(query)
        raise PROBLEM

    numbers = iter(range(10))
    with pytest.raises(TimestampError):
        obtain(
            IMPRINT,
            authorities=Authorities(["a", "b"]),
            wanted=Wanted(anchors=[default_pki().root]),
            ask=ask,
            now=lambda: NOW,
            monotonic=Clock(),
            random_bytes=lambda length: bytes([next(numbers)] * length),
        )
    assert len(set(queries)) == 2


def test_a_token_outside_the_tolerance_of_clocks_is_refused() -> None:
    with pytest.raises(TimestampError, match=Check.TIME):
        stamp(Authorities(["a"]), {"a": "future"}, Clock(), [])


def test_a_wider_tolerance_is_the_callers_to_give() -> None:
    obtained = obtain(
        IMPRINT,
        authorities=Authorities(["a"]),
        wanted=Wanted(anchors=[default_pki().root], tolerance=timedelta(hours=3)),
        ask=answers({"a": "future"}, []),
        now=lambda: NOW,
        monotonic=Clock(),
        random_bytes=lambda length: b"\x01" * length,
    )
    assert obtained.info.gen_time == NOW + timedelta(hours=2)


@pytest.mark.parametrize("names", [[], ["a", "a"]])
def test_an_empty_or_repeating_list_is_refused(names: list[str]) -> None:
    with pytest.raises(ConfigurationError):
        Authorities(names)


def test_nobody_is_asked_when_nothing_is_trusted() -> None:
    with pytest.raises(SignwrightError) as refusal:
        obtain(
            IMPRINT,
            authorities=Authorities(["a"]),
            wanted=Wanted(anchors=[]),
            ask=answers({}, []),
            now=lambda: NOW,
            monotonic=Clock(),
            random_bytes=bytes,
        )
    assert refusal.value.code == "no-anchors"
