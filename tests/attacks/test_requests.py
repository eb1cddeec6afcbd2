# SPDX-License-Identifier: Apache-2.0
"""A submitter whose request asks for more than the signing policy lists, told to the keyholder by a hostile gate."""

from __future__ import annotations

from typing import Any

import pytest

from signwright.model.operation import Operation
from signwright.policy.decide import Decision, decide
from signwright.policy.documents import OptionRule, SigningPolicy
from signwright.policy.facts import gather
from tests.attacks.keyholder.test_hostile_gate import CONTENT, Keyholder, artifact, honest, keyholder
from tests.support.world import World

__all__ = ["keyholder"]

FAR = "9999-12-31T23:59:59Z"


def decided(world: World, request: Any, approvals: Any = ()) -> Decision:
    policy = world.policy()
    return decide(policy, gather(policy, request, approvals=approvals, evidence=[], now=world.now))


def codes(decision: Decision) -> set[str]:
    return {reason.rule for reason in decision.reasons}


def with_options(world: World, **options: OptionRule) -> World:
    project = world.documents()["projects/default"]
    rule: SigningPolicy = project.signing_policies["test"]  # type: ignore[attr-defined]
    policies = {**project.signing_policies, "test": rule.model_copy(update={"options": options})}  # type: ignore[attr-defined]
    return world.with_documents(projects_default=project.model_copy(update={"signing_policies": policies}))


def test_detached_signature_under_the_name_of_a_program_is_refused(keyholder: Keyholder) -> None:
    operation = keyholder.signer.world.operation(CONTENT, "cms-detached")
    request = keyholder.signer.world.request(files={"a.exe": CONTENT}, artifacts=[artifact(operations=(operation,))])
    message, _ = keyholder.ask(*honest(keyholder.signer, request=request))
    assert (message["ok"], message["code"]) == (False, "operation-format")
    assert keyholder.operations == 0


def test_program_signature_under_the_name_of_a_plain_file_is_refused() -> None:
    world = World()
    operation = world.operation()
    request = world.request("test-file", mode="digest", artifacts=[artifact(format="cms", operations=(operation,))])
    assert "operation-format" in codes(decided(world, request))


def test_parameter_that_is_no_option_of_the_artifact_is_refused(keyholder: Keyholder) -> None:
    operation = keyholder.signer.world.operation(CONTENT, description="Windows Update")
    request = keyholder.signer.world.request(files={"a.exe": CONTENT}, artifacts=[artifact(operations=(operation,))])
    message, _ = keyholder.ask(*honest(keyholder.signer, request=request))
    assert (message["ok"], message["code"]) == (False, "operation-option")
    assert keyholder.operations == 0


@pytest.mark.parametrize("described", ["Windows Update", "Setup "])
def test_parameter_other_than_the_allowed_option_is_refused_in_digest_mode(described: str) -> None:
    world = with_options(World(), description=OptionRule(values=("Setup",)))
    operation = world.operation(description=described)
    one = artifact(options={"description": "Setup"}, operations=(operation,))
    request = world.request("test", mode="digest", artifacts=[one])
    assert codes(decided(world, request)) == {"operation-option"}


def test_parameter_that_is_the_allowed_option_is_allowed() -> None:
    world = with_options(World(), description=OptionRule(values=("Setup",)))
    one = artifact(options={"description": "Setup"}, operations=(world.operation(description="Setup"),))
    assert decided(world, world.request("test", mode="digest", artifacts=[one])).outcome == "allow"


def test_number_for_a_true_option_is_refused() -> None:
    world = with_options(World(), description=OptionRule(values=(True,)))
    operation = Operation(template="authenticode-pe", digest=world.operation().digest, parameters={"description": 1})
    one = artifact(options={"description": True}, operations=(operation,))
    assert "operation-option" in codes(decided(world, world.request("test", mode="digest", artifacts=[one])))


@pytest.mark.parametrize(
    ("created", "expires"), [(FAR, FAR), ("0001-01-01T00:00:00Z", FAR), (FAR, "0001-01-01T00:00:00Z")]
)
def test_request_at_the_end_of_time_is_refused(keyholder: Keyholder, created: str, expires: str) -> None:
    request = keyholder.signer.world.request(
        files={"a.exe": CONTENT}, artifacts=[artifact()], created=created, expires=expires
    )
    message, _ = keyholder.ask(*honest(keyholder.signer, request=request))
    assert (message["ok"], message["code"]) in [(False, "request-time"), (False, "request-expired")]
    assert keyholder.operations == 0


def test_request_at_the_end_of_time_is_decided_without_an_error() -> None:
    world = World()
    assert decided(world, world.request("test", created=FAR, expires=FAR)).outcome == "deny"


def test_approval_at_the_end_of_time_counts_nothing() -> None:
    world = World()
    request = world.request("release")
    policy = world.policy()
    word = world.approval(request, "alice", policy=policy, created=FAR, expires=FAR)
    facts = gather(policy, request, approvals=[word], evidence=[], now=world.now)
    assert decide(policy, facts).outcome == "await"


def test_evidence_by_a_scanner_whose_key_line_has_a_comment_is_a_fact_like_any_other() -> None:
    from tests.support.world import sign_ssh, ssh_line

    world = World()
    services = world.documents()["services"]
    scanner = services.scanners[0].model_copy(update={"public_key": ssh_line(world.scanner) + " scanner@host"})  # type: ignore[attr-defined]
    world.with_documents(services=services.model_copy(update={"scanners": (scanner,)}))
    scan = sign_ssh(world.scan(b"artifact").payload, world.scanner, "evidence")
    policy = world.policy()
    facts = gather(policy, world.request(), approvals=[], evidence=[scan], now=world.now)
    assert [s.scanner for s in facts.scans] == ["scanner"]
