# SPDX-License-Identifier: Apache-2.0
"""A policy that makes no sense, or goes below what may not be gone below, is not opened: one problem at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from signwright.errors import DeniedError
from signwright.model.operation import Strict
from signwright.model.times import format_time
from signwright.policy import documents as d
from signwright.policy.dead_ends import dead_ends
from signwright.policy.validate import problems_of
from signwright.statements.writing import public_text
from signwright.transparency.note import COSIGNATURE_V1, VerifierKey
from tests.support.world import NOW, World, key_id, ssh_line

Edit = Callable[[World], None]


def document(world: World, name: str) -> Any:
    return world.documents()[name]


def edit(world: World, name: str, **changes: Any) -> None:
    content: Strict = document(world, name)
    world.overrides[name] = type(content).model_validate(content.model_dump() | changes)


def rule(world: World, name: str, **changes: Any) -> None:
    project: d.Project = document(world, "projects/default")
    rules = {**project.signing_policies, name: project.signing_policies[name].model_copy(update=changes)}
    world.overrides["projects/default"] = project.model_copy(update={"signing_policies": rules})


def key(world: World, name: str, **changes: Any) -> None:
    kind = "release" if name.startswith("release") else "test"
    family = "raw" if name.endswith("raw") else "cms"
    world.keys[name] = world.default_key(kind, family).model_copy(update=changes)  # type: ignore[arg-type]


def person(world: World, name: str, *lines: str, **changes: Any) -> None:
    people: d.People = document(world, "people")
    row = d.Person(groups=("release",), keys=lines or people.people[name].keys).model_copy(update=changes)
    world.overrides["people"] = d.People(people={**people.people, name: row})


def credential(world: World, at: str, public_key: str, kind: str = "test") -> None:
    rows = document(world, "credentials").credentials
    row = d.Credential(public_key=public_key, kind=kind, description="x")  # type: ignore[arg-type]
    world.overrides["credentials"] = d.Credentials(credentials={**rows, at: row})


def witness(name: str, private: Ed25519PrivateKey, operator: str, outside: bool) -> d.Witness:
    text = str(VerifierKey(name, COSIGNATURE_V1, private.public_key().public_bytes_raw()))
    return d.Witness(name=name, key=text, operator=operator, outside=outside)


def key_text_that_is_no_key(world: World) -> None:
    edit(world, "services", gate_key="ed25519:AAAA")


def credential_under_another_key_id(world: World) -> None:
    credential(world, "swk_" + "a" * 20, public_text(Ed25519PrivateKey.generate()))


def credential_with_an_ssh_key(world: World) -> None:
    private = Ed25519PrivateKey.generate()
    credential(world, key_id(private), ssh_line(private))


def person_with_a_machines_key(world: World) -> None:
    person(world, "mallory", public_text(Ed25519PrivateKey.generate()))


def gate_with_the_scanners_key(world: World) -> None:
    world.gate = world.scanner


def receipt_key_that_is_the_gates(world: World) -> None:
    world.receipts = world.gate


def two_names_for_one_signing_key(world: World) -> None:
    key(world, "other", public_key=world.default_key("release").public_key)


def purpose_of_another_family(world: World) -> None:
    key(world, "release", purposes=("authenticode", "raw"))


def cms_key_without_a_certificate(world: World) -> None:
    key(world, "release", chain=())


def software_key_for_a_release(world: World) -> None:
    world.trial = False


def quorum_of_nobody(world: World) -> None:
    edit(world, "services", quorum=d.Quorum(outside=0, local=0).model_dump())


def quorum_that_no_witnesses_make(world: World) -> None:
    edit(world, "services", quorum=d.Quorum(outside=0, local=2).model_dump())


def own_witness_that_is_called_outside(world: World) -> None:
    outside = witness("w2", Ed25519PrivateKey.generate(), "Example", outside=True)
    world.witnesses = (*world.witnesses, outside)


def authority_listed_twice(world: World) -> None:
    world.authorities = (*world.authorities, *world.authorities)


def policy_of_test_with_the_release_key(world: World) -> None:
    rule(world, "test", key="release")


def group_that_is_not_eligible(world: World) -> None:
    rule(world, "release", approvals=d.Approvals(required=2, eligible=("release",), groups={"nobody": 1}))


def too_few_eligible_people(world: World) -> None:
    rule(world, "release", approvals=d.Approvals(required=2, eligible=("qa",)))


def people_who_are_disabled(world: World) -> None:
    person(world, "alice", disabled=True)
    rule(world, "release", approvals=d.Approvals(required=3))


def hold_that_nobody_can_release(world: World) -> None:
    person(world, "carol", groups=("release",))
    rule(world, "release", hold="qa")


def hold_that_only_a_disabled_person_can_release(world: World) -> None:
    person(world, "carol", groups=("release", "qa"), disabled=True)
    rule(world, "release", hold="qa")


def timestamp_of_nobody(world: World) -> None:
    world.authorities = ()


def scan_by_nobody(world: World) -> None:
    edit(world, "services", scanners=())


def submitter_of_the_other_kind(world: World) -> None:
    rule(world, "release", submitters=(key_id(world.test_credential),))


def exception_for_another_signing_policy(world: World) -> None:
    rows = [e.model_copy(update={"scope": "default/release-file"}) for e in document(world, "organisation").exceptions]
    edit(world, "organisation", exceptions=tuple(row.model_dump() for row in rows))


def no_exception_for_a_local_timestamp(world: World) -> None:
    rows = [e for e in document(world, "organisation").exceptions if e.name != "local-timestamp"]
    edit(world, "organisation", exceptions=tuple(row.model_dump() for row in rows))


def no_exception_for_local_witnesses(world: World) -> None:
    rows = [e for e in document(world, "organisation").exceptions if e.name != "local-witness"]
    edit(world, "organisation", exceptions=tuple(row.model_dump() for row in rows))


PROBLEMS: list[tuple[Edit, str]] = [
    (key_text_that_is_no_key, "gate: "),
    (credential_under_another_key_id, "its public key makes the KeyId"),
    (credential_with_an_ssh_key, "its public key makes the KeyId"),
    (person_with_a_machines_key, "people sign with SSH keys"),
    (gate_with_the_scanners_key, "the same public key also belongs to scanner"),
    (receipt_key_that_is_the_gates, "the same public key also belongs to gate"),
    (two_names_for_one_signing_key, "the same public key as key"),
    (purpose_of_another_family, "purpose raw is not one of family cms"),
    (cms_key_without_a_certificate, "a cms key needs its certificate"),
    (software_key_for_a_release, "a software key serves test only"),
    (quorum_of_nobody, "a quorum of no witness at all"),
    (quorum_that_no_witnesses_make, "services: quorum: wants outside 0 / local 2"),
    (own_witness_that_is_called_outside, "witness w2 cannot be outside: operator 'Example' is this organisation's own"),
    (policy_of_test_with_the_release_key, "a test policy with the release key"),
    (submitter_of_the_other_kind, "is a test credential"),
    (exception_for_another_signing_policy, "default/release: a release needs the exception 'local-timestamp'"),
    (no_exception_for_a_local_timestamp, "a release needs the exception 'local-timestamp'"),
    (no_exception_for_local_witnesses, "a release needs the exception 'local-witness'"),
]


@pytest.mark.parametrize(("wrong", "problem"), PROBLEMS, ids=[wrong.__name__ for wrong, _ in PROBLEMS])
def test_policy_that_must_not_be_used_is_not_opened(wrong: Edit, problem: str) -> None:
    world = World()
    wrong(world)
    with pytest.raises(DeniedError) as refused:
        world.policy()
    assert problem in refused.value.message


#: What can be opened, and never leads to a signature.
DEAD_ENDS = [
    (authority_listed_twice, "a timestamp authority is listed twice"),
    (group_that_is_not_eligible, "1 of group nobody wanted"),
    (too_few_eligible_people, "2 approvals wanted, 1 people could give one"),
    (people_who_are_disabled, "3 approvals wanted, 2 people could give one"),
    (hold_that_nobody_can_release, "held for group qa"),
    (hold_that_only_a_disabled_person_can_release, "held for group qa"),
    (timestamp_of_nobody, "a timestamp is required and no timestamp authority is listed"),
    (scan_by_nobody, "a scan is required and no scanner is listed"),
]


@pytest.mark.parametrize(("wrong", "problem"), DEAD_ENDS, ids=[wrong.__name__ for wrong, _ in DEAD_ENDS])
def test_rule_that_could_never_lead_to_a_signature_is_named(wrong: Edit, problem: str) -> None:
    world = World()
    wrong(world)
    assert any(problem in found for found in dead_ends(world.policy()))


def test_policy_that_works_has_no_dead_end() -> None:
    assert not list(dead_ends(World().policy()))


def test_software_key_serves_a_test_outside_a_trial() -> None:
    """The same policy without its release: nothing is wrong with it."""
    world = World(trial=False)
    for name in ("release",):
        world.keys[name] = world.default_key("release").model_copy(update={"protection": "claimed"})
    assert not world.policy().root.trial


def test_outside_witness_of_another_operator_is_accepted() -> None:
    world = World()
    world.witnesses = (*world.witnesses, witness("w2", Ed25519PrivateKey.generate(), "Elsewhere", outside=True))
    assert len(world.policy().services.witnesses) == 2


def test_test_policy_needs_no_exception() -> None:
    world = World()
    edit(world, "organisation", exceptions=())
    project: d.Project = document(world, "projects/default")
    rules = {name: r for name, r in project.signing_policies.items() if r.kind == "test"}
    world.overrides["projects/default"] = project.model_copy(update={"signing_policies": rules})
    assert world.policy().exceptions_for("default", "test", NOW) == {}


def test_exception_covers_its_own_signing_policy_until_it_ends() -> None:
    world = World()
    ends = NOW + timedelta(hours=1)
    row = d.NamedException(
        name="no-scan", scope="default/release", owner="carol", reason="x", expires=format_time(ends)
    )
    rows = (*document(world, "organisation").exceptions, row)
    edit(world, "organisation", exceptions=tuple(one.model_dump() for one in rows))
    policy = world.policy()
    assert policy.exceptions_for("default", "release", NOW)["no-scan"] == "carol"
    assert "no-scan" not in policy.exceptions_for("default", "release", ends)
    assert "no-scan" not in policy.exceptions_for("default", "release-file", NOW)


def test_own_operator_runs_a_local_witness() -> None:
    world = World()
    world.witnesses = (witness("w1", world.witness_private, "Example", outside=False),)
    assert world.policy().services.witnesses[0].operator == "Example"


def test_policies_without_timestamps_and_scans_need_neither_authority_nor_scanner() -> None:
    world = World()
    edit(world, "services", timestamp_authorities=(), scanners=())
    project: d.Project = document(world, "projects/default")
    raw = {"test-raw": project.signing_policies["test-raw"]}
    world.overrides["projects/default"] = project.model_copy(update={"signing_policies": raw})
    assert not world.policy().services.scanners


def test_age_of_a_scan_that_is_not_wanted_is_no_problem() -> None:
    world = World()
    expires = document(world, "organisation").exceptions[0].expires
    row = d.NamedException(name="no-scan", scope="*", owner="carol", reason="x", expires=expires)
    rows = (*document(world, "organisation").exceptions, row)
    edit(world, "organisation", exceptions=tuple(one.model_dump() for one in rows))
    rule(world, "release", scan=d.ScanRule(required=False, max_age_hours=48))
    assert not world.policy().projects["default"].signing_policies["release"].scan.required


def test_key_of_a_root_role_that_is_no_key_is_a_problem() -> None:
    policy = World().policy()
    panic = policy.root.panic.model_copy(update={"keys": ("ed25519:AAAA",)})
    (problem,) = problems_of(replace(policy, root=policy.root.model_copy(update={"panic": panic})))
    assert problem.startswith("policy root: panic: ")


def test_key_that_is_out_of_use_needs_no_certificate() -> None:
    world = World()
    key(world, "test-old", chain=(), disabled=True, public_key="AAAB")
    assert world.policy().keys.keys["test-old"].disabled
