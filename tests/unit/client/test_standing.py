# SPDX-License-Identifier: Apache-2.0
"""What a client makes of keepers' words: it believes signatures, remembers, and never forgets what was revoked."""

from __future__ import annotations

import base64
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from signwright.client.hub import StandingView, WordView
from signwright.client.keepers_words import draft_halt
from signwright.client.standing import Known, follow_freshness, next_freshness, remembered, shown
from signwright.errors import ConfigurationError, SignwrightError, VerificationError
from signwright.model.times import format_time
from signwright.policy.policy import Policy
from signwright.statements.dsse import Envelope, statement_digest
from signwright.statements.models import Freshness, Statement, parse_statement
from tests.support.world import World, sign_ssh


def word(envelope: Envelope, name: str, number: int = 1) -> WordView:
    text = base64.b64encode(envelope.encode()).decode()
    return WordView(sha256=statement_digest(name, envelope), number=number, envelope=text)


def seen_by(policy: Policy, fresh: Envelope | None = None, *, halts: tuple[WordView, ...] = ()) -> Known:
    view = StandingView(
        policy_version=policy.version, freshness=word(fresh, "freshness") if fresh else None, halts=halts
    )
    return shown(view, policy)


def statement(payload: bytes) -> Statement[Freshness]:
    return parse_statement(Envelope(payload, ()), Freshness)


def test_freshness_counts_when_its_keepers_signed_it() -> None:
    world = World()
    policy = world.policy()
    known = seen_by(policy, world.freshness(3))
    assert known.freshness is not None
    assert known.freshness.predicate.number == 3
    assert len(known.evidence) == 1
    forged = seen_by(policy, world.freshness(4, key=Ed25519PrivateKey.generate()))
    assert forged.freshness is None
    assert forged.evidence == ()


def test_halt_that_no_panic_key_signed_is_a_lie_and_not_a_halt() -> None:
    world = World()
    policy = world.policy()
    payload = draft_halt(policy.root_sha256, reason="drill", now=world.now)
    honest = sign_ssh(payload, world.keeper, "halt")
    (halt,) = seen_by(policy, halts=(word(honest, "halt", 1),)).halts
    assert (halt.statement.predicate.reason, halt.under) == ("drill", 1)
    forged = sign_ssh(payload, Ed25519PrivateKey.generate(), "halt")
    with pytest.raises(SignwrightError):
        seen_by(policy, halts=(word(forged, "halt"),))


@pytest.mark.parametrize(
    ("age", "old", "left"),
    [(timedelta(hours=0), False, 24), (timedelta(hours=17), False, 7), (timedelta(hours=18), True, 6)],
)
def test_keepers_are_told_after_three_quarters_of_the_limit(age: timedelta, old: bool, left: int) -> None:
    world = World()
    created, expires = format_time(world.now - age), format_time(world.now + timedelta(days=3))
    known = seen_by(world.policy(), world.freshness(created=created, expires=expires))
    assert known.gets_old(world.now) is old
    assert known.left(world.now) == timedelta(hours=left)


def test_statement_that_ends_before_the_limit_ends_then() -> None:
    world = World()
    soon = format_time(world.now + timedelta(hours=2))
    known = seen_by(world.policy(), world.freshness(expires=soon))
    assert known.left(world.now) == timedelta(hours=2)
    assert known.gets_old(world.now)
    none = seen_by(world.policy())
    assert none.left(world.now) is None
    assert none.gets_old(world.now)


def test_older_freshness_than_was_seen_is_a_lie(tmp_path: Path) -> None:
    world = World()
    policy = world.policy()
    follow_freshness(policy, world.freshness(5), holds=True, folder=tmp_path)
    follow_freshness(policy, world.freshness(5), holds=True, folder=tmp_path)
    for shown_now in (world.freshness(4), None):
        with pytest.raises(VerificationError, match="number 5 was seen before") as refused:
            follow_freshness(policy, shown_now, holds=True, folder=tmp_path)
        assert refused.value.code == "freshness-rollback"
    kept = remembered(policy, folder=tmp_path)
    assert kept is not None
    assert kept.predicate.number == 5


def test_statement_that_does_not_hold_is_not_remembered(tmp_path: Path) -> None:
    world = World()
    policy = world.policy()
    forged = world.freshness(1 << 40, key=Ed25519PrivateKey.generate())
    follow_freshness(policy, forged, holds=False, folder=tmp_path)
    assert remembered(policy, folder=tmp_path) is None


def test_damaged_memory_is_no_fresh_start(tmp_path: Path) -> None:
    world = World()
    policy = world.policy()
    follow_freshness(policy, world.freshness(2), holds=True, folder=tmp_path)
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(ConfigurationError, match="does not read"):
        follow_freshness(policy, world.freshness(2), holds=True, folder=tmp_path)


def renewed(known: Known, folder: Path, world: World, **how: Any) -> Freshness:
    return statement(next_freshness(known, now=world.now, folder=folder, **how)).predicate


def test_renewal_goes_up_by_one_keeps_what_was_revoked_and_names_the_policy_in_force(tmp_path: Path) -> None:
    world = World()
    policy = world.policy()
    key_id = f"swk_{'a' * 20}"
    known = seen_by(policy, world.freshness(6, revoked_people=("bob",), revoked_credentials=(key_id,)))
    said = renewed(known, tmp_path, world, revoke=(frozenset(), frozenset({"alice"})))
    assert (said.number, said.minimum_policy_version) == (7, policy.version)
    assert (said.revoked_people, said.revoked_credentials) == (("alice", "bob"), (key_id,))
    back = renewed(known, tmp_path, world, unrevoke=frozenset({"bob", key_id}))
    assert (back.revoked_people, back.revoked_credentials) == ((), ())


def test_renewal_never_goes_below_what_this_client_has_seen(tmp_path: Path) -> None:
    """The hub shows an older one, in which nobody is revoked yet."""
    world = World()
    policy = world.policy()
    newest = world.freshness(9, revoked_people=("mallory",), minimum_policy_version=4)
    follow_freshness(policy, newest, holds=True, folder=tmp_path)
    said = renewed(seen_by(policy, world.freshness(3)), tmp_path, world)
    assert (said.number, said.revoked_people, said.minimum_policy_version) == (10, ("mallory",), 4)


@pytest.mark.parametrize(("asked", "hours"), [(None, 24), (3, 3), (100, 24)])
def test_renewal_holds_at_most_as_long_as_the_policy_allows(tmp_path: Path, asked: int | None, hours: int) -> None:
    world = World()
    said = renewed(seen_by(world.policy()), tmp_path, world, hours=asked)
    assert said.number == 1
    assert said.expires == format_time(world.now + timedelta(hours=hours))


def test_two_halts_for_one_reason_are_two() -> None:
    first, second = (draft_halt("00" * 32, reason="drill", now=World().now) for _ in range(2))
    assert first != second
