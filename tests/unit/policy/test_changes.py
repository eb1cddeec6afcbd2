# SPDX-License-Identifier: Apache-2.0
"""The difference of two policies in words: its direction, and that nothing is left out."""

from __future__ import annotations

import pytest

from signwright.policy import documents as d
from signwright.policy.changes import changes, weakened_parts
from tests.support.world import World

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


def test_weakened_parts_are_named_without_a_name_of_a_person_or_project():
    people = OLD["people"]
    assert isinstance(people, d.People)
    mallory = d.Person(groups=("release",), keys=people.people["alice"].keys)
    more = d.People(people={**people.people, "mallory": mallory})
    project = OLD["projects/default"]
    assert isinstance(project, d.Project)
    looser = project.signing_policies["release"].model_copy(update={"scan": d.ScanRule(required=False)})
    rules = {**project.signing_policies, "release": looser}
    changed = {"people": more, "projects/default": project.model_copy(update={"signing_policies": rules})}
    assert weakened_parts(OLD, {**OLD, **changed}) == ("people", "projects")
    assert weakened_parts({**OLD, **changed}, OLD) == ()


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
