# SPDX-License-Identifier: Apache-2.0
"""The difference of two policies in words: its direction, and that nothing is left out."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from signwright.policy import documents as d
from signwright.policy.changes import changes, waiting_parts
from signwright.statements.sshsig import SshPublicKey
from tests.support.world import World, ssh_line

OLD = World().documents()


def new_with(**fields: object) -> list[tuple[str, str]]:
    project = OLD["projects/default"]
    assert isinstance(project, d.Project)
    rule = project.signing_policies["release"].model_copy(update=fields)
    rules = {**project.signing_policies, "release": rule}
    found = changes(OLD, {**OLD, "projects/default": project.model_copy(update={"signing_policies": rules})})
    return [(change.effect, change.text) for change in found]


def test_the_same_policy_has_no_changes():
    assert changes(OLD, World().documents()) != []  # other keys
    assert changes(OLD, OLD) == []


def test_waiting_parts_are_named_without_a_name_of_a_person_or_project():
    world = World()
    old = world.policy()
    people, project = old.people.people, old.projects["default"]
    mallory = d.Person(groups=("release",), keys=(ssh_line(Ed25519PrivateKey.generate()),))
    looser = project.signing_policies["release"].model_copy(update={"approvals": d.Approvals(required=2)})
    rules = {**project.signing_policies, "release": looser}
    new = world.with_documents(
        people=d.People(people={**people, "mallory": mallory}),
        projects_default=project.model_copy(update={"signing_policies": rules}),
    ).policy()
    assert waiting_parts(old, new) == ("people", "projects")
    assert waiting_parts(new, old) == ()


def test_whoever_becomes_a_keeper_makes_the_root_weaker_and_nobody_gains_by_a_new_end():
    old = World().policy()
    another = ssh_line(Ed25519PrivateKey.generate())
    keepers = old.root.policy.model_copy(update={"keys": (*old.root.policy.keys, another)})
    renewed = old.root.model_copy(update={"version": 2, "created": old.root.expires})
    assert waiting_parts(old, replace(old, root=renewed)) == ()
    assert waiting_parts(old, replace(old, root=renewed.model_copy(update={"policy": keepers}))) == ("policy-root",)
    two = renewed.model_copy(update={"policy": keepers.model_copy(update={"threshold": 2})})
    (gain, loss) = changes({"policy-root": renewed}, {"policy-root": two})
    assert (gain.effect, loss.effect) == ("weaker", "stronger")
    assert gain.text == f"key {SshPublicKey.parse(another).fingerprint} is a policy keeper's"
    assert loss.text == "policy keepers who must sign: from 1 to 2"


def test_going_back_from_live_is_a_change_that_waits():
    world = World()
    live = d.Organisation(name="Example", live=True, exceptions=world.documents()["organisation"].exceptions)  # type: ignore[attr-defined]
    quiet = live.model_copy(update={"live": False})
    assert [c.effect for c in changes({"organisation": live}, {"organisation": quiet})] == ["weaker"]
    assert [c.effect for c in changes({"organisation": quiet}, {"organisation": live})] == ["stronger"]


@pytest.mark.parametrize(
    ("fields", "effect"),
    [
        ({"approvals": d.Approvals(required=1, eligible=("release",))}, "weaker"),
        ({"approvals": d.Approvals(required=3, eligible=("release",))}, "stronger"),
        ({"approvals": d.Approvals(required=2)}, "weaker"),
        ({"approvals": d.Approvals(required=2, eligible=("release", "qa"))}, "weaker"),
        ({"approvals": d.Approvals(required=2, eligible=("release",), exclude_submitter=False)}, "weaker"),
        ({"approvals": d.Approvals(required=2, eligible=("release",), groups={"qa": 1})}, "stronger"),
        ({"approvals": d.Approvals(required=2, eligible=("release",), max_age_hours=96)}, "weaker"),
        ({"scan": d.ScanRule(required=False)}, "weaker"),
        ({"scan": d.ScanRule(max_age_hours=1)}, "stronger"),
        ({"timestamp": "none"}, "weaker"),
        ({"hold": "qa"}, "stronger"),
        ({"modes": ("artifact", "digest")}, "weaker"),
        ({"submitters": ()}, "stronger"),
        ({"options": {}}, "stronger"),
        ({"max_per_day": 5}, "stronger"),
        ({"retention_days": 30}, "weaker"),
        ({"key": "test"}, "other"),
    ],
    ids=str,
)
def test_the_direction_of_a_change_is_told(fields, effect):
    found = new_with(**fields)
    assert found
    assert {kind for kind, _ in found} == {effect}


def test_a_new_key_of_a_person_is_told_by_its_fingerprint():
    people = OLD["people"]
    assert isinstance(people, d.People)
    alice, bob = people.people["alice"], people.people["bob"]
    rows = {**people.people, "alice": alice.model_copy(update={"keys": (*alice.keys, *bob.keys)})}
    (change,) = changes(OLD, {**OLD, "people": d.People(people=rows)})
    assert change.effect == "weaker"
    assert change.text.startswith("alice signs with key SHA256:")


def test_every_new_document_is_told():
    found = changes({}, OLD)
    assert {change.where.partition(":")[0] for change in found} == set(OLD)
