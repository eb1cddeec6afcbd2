# SPDX-License-Identifier: Apache-2.0
"""Two policies that followed each other, and keepers who approve."""

from __future__ import annotations

from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from signwright.client.alarms.history import History, LoggedPolicy
from signwright.client.alarms.people import PolicyFacts, facts_of, other_policy, policy_changes, same_people
from signwright.policy import documents as d
from signwright.statements.keys import verifying_key
from tests.support.world import NOW, World, key_id, ssh_line


@pytest.fixture(scope="module")
def world() -> World:
    return World()


def people_with(world: World, **changes: d.Person) -> d.People:
    (document,) = [doc for name, doc in world.documents().items() if name == "people"]
    assert isinstance(document, d.People)
    return d.People(people={**document.people, **changes})


def codes(old: PolicyFacts | None, new: PolicyFacts) -> list[str]:
    return [alarm.code for alarm in policy_changes(old, new)]


def test_same_policy_and_the_first_one_tell_nothing(world):
    facts = facts_of(world.policy())
    assert codes(None, facts) == []
    assert codes(facts, facts) == []


def test_whoever_is_new_enabled_again_or_has_another_key_is_told(world):
    old = facts_of(world.policy())
    another = ssh_line(Ed25519PrivateKey.generate())
    alice = people_with(world).people["alice"]
    changed = {
        "dave": d.Person(groups=("release",), keys=(another,)),
        "alice": alice.model_copy(update={"keys": (*alice.keys, ssh_line(Ed25519PrivateKey.generate()))}),
        "bob": people_with(world).people["bob"].model_copy(update={"disabled": True}),
    }
    new = facts_of(World(people=world.people).with_documents(people=people_with(world, **changed)).policy())
    told = [alarm.text.partition("): ")[2] for alarm in policy_changes(old, new) if alarm.code == "new-person"]
    assert told == ["alice has another key", "dave may approve"]
    back = [alarm.text.partition("): ")[2] for alarm in policy_changes(new, old) if alarm.code == "new-person"]
    assert back == ["bob may approve"]


def test_a_new_credential_and_a_new_keeper_are_told(world):
    old = facts_of(world.policy())
    other = World(people=world.people, test_credential=Ed25519PrivateKey.generate(), keeper=world.keeper)
    new = facts_of(other.policy())
    assert {alarm.code for alarm in policy_changes(old, new)} == {"new-credential"}
    assert any(key_id(other.test_credential) in alarm.text for alarm in policy_changes(old, new))
    keeper = facts_of(World(people=world.people, keeper=Ed25519PrivateKey.generate()).policy())
    assert "new-keeper" in codes(old, keeper)


def test_facts_are_taken_back_as_they_were_kept(world):
    facts = facts_of(world.policy())
    assert PolicyFacts.model_validate_json(facts.model_dump_json()) == facts


def test_one_version_with_two_contents_is_a_fork(world):
    facts = facts_of(world.policy())
    same, other = LoggedPolicy(sha256=facts.sha256), LoggedPolicy(sha256="e" * 64)
    version = str(facts.version)
    assert list(other_policy(facts, History())) == []
    assert list(other_policy(facts, History(policies={version: same}))) == []
    assert [alarm.code for alarm in other_policy(facts, History(policies={version: other}))] == ["policy-fork"]


def keepers_of(world: World, *people: str) -> list[str]:
    return [verifying_key(ssh_line(world.people[name])).key_id for name in people]


@pytest.mark.parametrize(
    ("keepers", "approvers", "hours", "told"),
    [
        (("alice", "bob"), ("alice", "bob"), 23, True),
        (("alice", "bob"), ("alice", "bob"), 25, False),
        (("alice", "bob"), ("alice", "carol"), 1, False),
        (("alice", "bob", "carol"), ("alice", "carol"), 1, True),
        (("alice",), ("alice", "bob"), 1, True),
        (("carol",), ("alice", "bob"), 1, False),
        ((), ("alice", "bob"), 1, False),
    ],
)
def test_keepers_who_approve_within_a_day_of_their_policy_are_told(world, keepers, approvers, hours, told):
    world.policy()
    policy = world.policy(created=NOW)
    found = list(same_people(policy, keepers_of(world, *keepers), approvers, signed=NOW + timedelta(hours=hours)))
    assert [alarm.code for alarm in found] == (["keepers-approve"] if told else [])


def test_the_first_policy_is_no_change(world):
    first = World(people=world.people).policy(created=NOW)
    assert first.version == 1
    assert list(same_people(first, keepers_of(world, "alice"), ("alice",), signed=NOW)) == []
