# SPDX-License-Identifier: Apache-2.0
"""The difference of two policies in words: its direction, and that nothing is left out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from signwright.model.operation import Strict
from signwright.policy import documents as d
from signwright.policy.changes import changes
from signwright.policy.weakening import waiting_parts
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
    assert [change.text for change in found if change.where == "people"] == ["new document"]


def test_every_removed_document_is_told_with_all_that_stood_in_it():
    found = changes(OLD, {})
    assert {change.where.partition(":")[0] for change in found} == set(OLD)
    assert [change.text for change in found if change.where == "people"] == ["document removed"]
    assert ("people: people.alice", "no longer: alice may approve", "stronger") in [
        (change.where, change.text.partition(" (")[0], change.effect) for change in found
    ]


class Anything(Strict):
    """A document with fields that no row of the table knows."""

    value: object = None
    max_per_day: int | None = None


def told(old: object, new: object) -> list[tuple[str, str, str]]:
    found = changes({"d": Anything(value=old)}, {"d": Anything(value=new)})
    return [(change.where, change.text, change.effect) for change in found]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (1, True, [("d: value", "from 1 to True", "other")]),
        ([1], "a", [("d: value", "from 1 to a", "other")]),
        ("a", [1], [("d: value", "from a to 1", "other")]),
        ({"a": 1}, 5, [("d: value", "from a 1 to 5", "other")]),
        (None, {"a": 1}, [("d: value", "from no value to a 1", "other")]),
        ({"a": 1}, None, [("d: value", "from a 1 to no value", "other")]),
        ({}, {"a": "x"}, [("d: value.a", "from nothing to x", "other")]),
        ({"a": "x"}, {}, [("d: value.a", "from x to nothing", "other")]),
        ({}, {"a": {"b": 1, "c": 2}}, [
            ("d: value.a.b", "from nothing to 1", "other"), ("d: value.a.c", "from nothing to 2", "other"),
        ]),
        ({"a": {"b": 1, "c": 2}}, {}, [
            ("d: value.a.b", "from 1 to nothing", "other"), ("d: value.a.c", "from 2 to nothing", "other"),
        ]),
        ([1, 2], [2, 1], [("d: value", "in another order: 2, 1", "other")]),
        ([1, 2, 3], [2, 1], [
            ("d: value", "in another order: 2, 1", "other"), ("d: value[3]", "from 3 to nothing", "other"),
        ]),
        ([{"name": "a", "n": 1}], [{"name": "a", "n": 2}], [("d: value[a].n", "from 1 to 2", "other")]),
        ([1], [1, 1], [("d: value[]", "from 1 to 1/1", "other")]),
        ([1, 1], [1], [("d: value[]", "from 1/1 to 1", "other")]),
        ({"a": {"x": None, "y": [], "z": 1}}, {"a": 5}, [("d: value.a", "from z 1 to 5", "other")]),
    ],
)  # fmt: skip
def test_difference_that_no_row_knows_is_told_by_its_place(old, new, expected):
    assert told(old, new) == expected


def exceptions(*scopes: str) -> d.Organisation:
    row = {"name": "no-scan", "owner": "carol", "reason": "x", "expires": "2027-01-01T00:00:00Z"}
    return d.Organisation(name="Example", exceptions=tuple(d.NamedException(scope=s, **row) for s in scopes))


def test_exception_for_one_more_signing_policy_is_told_with_its_place():
    (change,) = changes({"organisation": exceptions("a/b")}, {"organisation": exceptions("a/b", "a/c")})
    assert change.effect == "weaker"
    assert change.where == "organisation: exceptions[no-scan a/c]"
    assert change.text.startswith("exception no-scan a/c (name no-scan, scope a/c, owner carol, reason x, expires ")


def test_rule_that_is_put_before_another_is_told_also_where_a_third_falls_away():
    """The first rule that fits a file counts it."""

    def project(*names: str) -> d.Project:
        rules = tuple(d.ArtifactRule(name=name, format="pe") for name in names)
        return d.Project(
            artifact_configurations={"programs": d.ArtifactConfiguration(rules=rules)}, signing_policies={}
        )

    found = changes({"projects/p": project("setup-*", "*", "old")}, {"projects/p": project("*", "setup-*")})
    assert [change.effect for change in found] == ["other", "other"]
    assert found[0].text == "in another order: * pe, setup-* pe"


@pytest.mark.parametrize(
    ("field", "old", "new", "effect"),
    [
        ("max_per_day", None, 5, "stronger"),
        ("max_per_day", 5, None, "weaker"),
        ("max_per_day", 5, 7, "weaker"),
        ("max_per_day", 7, 5, "stronger"),
        ("protection", "claimed", "attested", "stronger"),
        ("protection", "attested", "software", "weaker"),
    ],
)
def test_limits_and_grades_of_a_key_have_their_direction(field, old, new, effect):
    key = World().default_key("test")
    before, after = (d.Keys(keys={"test": key.model_copy(update={field: value})}) for value in (old, new))
    (change,) = changes({"keys": before}, {"keys": after})
    assert change.effect == effect


def test_change_that_nobody_can_place_waits():
    world = World()
    old = world.policy()
    project = old.projects["default"]
    rules = {**project.signing_policies}
    rules["test"] = rules["test"].model_copy(update={"artifact_configuration": "files"})
    moved = project.model_copy(update={"signing_policies": rules})
    assert waiting_parts(old, replace(old, projects={"default": moved})) == ("projects",)


def test_entry_is_named_once_and_a_value_with_its_field():
    people = d.People(people={"alice": d.Person(groups=("qa",), keys=(ssh_line(Ed25519PrivateKey.generate()),))})
    without = d.People(people={"alice": people.people["alice"].model_copy(update={"groups": ()})})
    (change,) = changes({"people": without}, {"people": people})
    assert change.text == "alice in group qa"
    held = new_with(hold="qa")
    assert held == [("stronger", "release waits for a release by (qa)")]


def test_a_wider_limit_of_metadata_is_weaker_and_a_new_one_stronger():
    def limited(**metadata: tuple[str, ...]) -> dict[str, Any]:
        rule = d.ArtifactRule(name="*", format="pe", metadata=metadata)
        rows = {"programs": d.ArtifactConfiguration(rules=(rule,))}
        return {"projects/default": d.Project(artifact_configurations=rows, signing_policies={})}

    (wider,) = changes(limited(product_name=("Acme*",)), limited(product_name=("Acme*", "*")))
    assert (wider.effect, wider.text) == ("weaker", "programs takes product_name = * of * pe")
    (new,) = changes(limited(), limited(product_name=("Acme*",)))
    assert (new.effect, new.text) == ("stronger", "programs limits product_name of * pe (Acme*)")
    (gone,) = changes(limited(product_name=("Acme*",)), limited())
    assert gone.effect == "weaker"
