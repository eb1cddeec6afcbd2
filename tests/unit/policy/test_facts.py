# SPDX-License-Identifier: Apache-2.0
"""What becomes a fact about a request, and what is left out with a reason."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from signwright.errors import VerificationError
from signwright.policy import documents as d
from signwright.policy.facts import Facts, gather, verified_freshness
from signwright.policy.policy import Policy
from signwright.statements.dsse import Envelope
from signwright.statements.models import Approval, parse_statement
from signwright.statements.writing import statement_payload
from tests.support.world import NOW, World, key_id, sign_ssh, ssh_line


@pytest.fixture
def world() -> World:
    return World()


def facts(policy: Policy, request: Envelope, *, approvals: tuple[Envelope, ...] = ()) -> Facts:
    return gather(policy, request, approvals=approvals, evidence=(), now=NOW)


def person(world: World, name: str, **changes: object) -> None:
    people = world.documents()["people"]
    assert isinstance(people, d.People)
    rows = {**people.people, name: people.people[name].model_copy(update=changes)}
    world.overrides["people"] = d.People(people=rows)


def test_credential_that_is_enrolled_is_the_submitter(world: World) -> None:
    assert facts(world.policy(), world.request()).submitter == key_id(world.release_credential)


def test_disabled_credential_is_no_submitter(world: World) -> None:
    credentials = world.documents()["credentials"]
    assert isinstance(credentials, d.Credentials)
    own = key_id(world.release_credential)
    row = credentials.credentials[own].model_copy(update={"disabled": True})
    world.overrides["credentials"] = d.Credentials(credentials={**credentials.credentials, own: row})
    assert facts(world.policy(), world.request()).submitter is None


def test_request_signed_by_two_credentials_has_no_submitter(world: World) -> None:
    request = world.request()
    second = world.request(key=world.test_credential)
    both = Envelope(
        request.payload,
        (*request.signatures, *_signed_again(request.payload, world.test_credential)),
    )
    assert second.payload != request.payload
    assert facts(world.policy(), both).submitter is None


def _signed_again(payload: bytes, key: Ed25519PrivateKey):
    from signwright.statements.writing import sign_ed25519

    return sign_ed25519(payload, key).signatures


def test_approval_of_a_disabled_person_is_no_fact(world: World) -> None:
    policy, request = world.policy(), world.request()
    word = world.approval(request, "alice", policy=policy)
    assert len(facts(policy, request, approvals=(word,)).approvals) == 1
    person(world, "alice", disabled=True)
    found = facts(world.policy(), request, approvals=(word,))
    assert not found.approvals
    assert "'alice' is not enrolled" in found.ignored[0]


def test_approval_of_somebody_who_is_not_enrolled_is_no_fact(world: World) -> None:
    policy, request = world.policy(), world.request()
    word = world.approval(request, "mallory", policy=policy, key=Ed25519PrivateKey.generate())
    found = facts(policy, request, approvals=(word,))
    assert not found.approvals
    assert "'mallory' is not enrolled" in found.ignored[0]


@pytest.mark.parametrize("about", ["another request", "other artifacts", "one artifact less"])
def test_approval_about_something_else_is_no_fact(world: World, about: str) -> None:
    policy = world.policy()
    request = world.request(files={"a.exe": b"one", "b.exe": b"two"})
    statement = parse_statement(world.approval(request, "alice", policy=policy), Approval)
    subjects = [(s.name, s.digest.sha256) for s in statement.subjects]
    if about == "another request":
        subjects[0] = (subjects[0][0], "00" * 32)
    elif about == "other artifacts":
        subjects[1] = (subjects[1][0], "00" * 32)
    else:
        subjects.pop()
    word = sign_ssh(statement_payload(statement.predicate, subjects), world.people["alice"], "approval")
    found = facts(policy, request, approvals=(word,))
    assert not found.approvals
    assert "about another request or other artifacts" in found.ignored[0]


def test_verdict_on_an_artifact_of_another_request_is_no_fact(world: World) -> None:
    policy, request = world.policy(), world.request()
    found = gather(policy, request, approvals=(), evidence=[world.scan(b"another")], now=NOW)
    assert not found.scans
    assert "not in this request" in found.ignored[0]


def test_freshness_that_counted_once_counts_no_more_under_other_keys_or_another_root(world: World) -> None:
    """What is kept of a verified statement is kept for its keepers' keys and its root, not for its name."""
    policy = world.policy()
    said, role = world.freshness(), policy.root.freshness
    assert verified_freshness(policy, said) == verified_freshness(policy, said)
    stranger = ssh_line(Ed25519PrivateKey.generate())
    others = (
        (replace(policy, root=policy.root.model_copy(update={"freshness": changed})), "too-few-keepers")
        for changed in (
            role.model_copy(update={"keys": (stranger,)}),
            role.model_copy(update={"keys": (*role.keys, stranger), "threshold": 2}),
        )
    )
    for changed_policy, code in [*others, (replace(policy, roots=("00" * 32,)), "unknown-policy-root")]:
        with pytest.raises(VerificationError) as refused:
            verified_freshness(changed_policy, said)
        assert refused.value.code == code


def test_freshness_that_counted_once_is_no_word_for_its_payload_under_another_signature(world: World) -> None:
    policy, said = world.policy(), world.freshness()
    assert verified_freshness(policy, said).statement.digest
    (signature,) = said.signatures
    spoilt = signature.value[:-1] + bytes([signature.value[-1] ^ 1])
    for signatures in ((replace(signature, value=spoilt),), (replace(signature, keyid="SHA256:other"),)):
        for _ in range(2):
            with pytest.raises(VerificationError):
                verified_freshness(policy, Envelope(said.payload, signatures))
