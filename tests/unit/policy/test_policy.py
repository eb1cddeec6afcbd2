# SPDX-License-Identifier: Apache-2.0
"""A policy is opened from exactly what the keepers of its pinned root signed, and from nothing else."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from signwright.errors import MalformedError, VerificationError
from signwright.policy.policy import open_policy
from signwright.policy.write import draft_root
from signwright.statements.dsse import Envelope, statement_digest
from signwright.statements.models import PolicyIndex, PolicyRoot, Role, parse_statement
from signwright.statements.writing import statement_payload
from tests.support.world import World, sign_ssh, ssh_line

Parts = tuple[Envelope, Envelope, dict[str, bytes], str]


@pytest.fixture
def world() -> World:
    return World()


def refusal(parts: Parts) -> str:
    with pytest.raises((VerificationError, MalformedError)) as refused:
        open_policy(*parts[:3], pinned_root_sha256=parts[3])
    return refused.value.code


def index_with(world: World, parts: Parts, **changes: object) -> Envelope:
    """The policy statement with some members changed, signed by the keeper."""
    statement = parse_statement(parts[1], PolicyIndex)
    index = statement.predicate.model_copy(update=changes)
    payload = statement_payload(index, [(s.name, s.digest.sha256) for s in statement.subjects])
    return sign_ssh(payload, world.keeper, "policy")


def test_root_that_no_keeper_signed_is_refused(world: World) -> None:
    """The pinned digest alone is not enough: it is the digest of what was signed, not of who signed it."""
    root, index, documents, pinned = world.policy_parts()
    forged = sign_ssh(root.payload, Ed25519PrivateKey.generate(), "policy-root")
    assert refusal((forged, index, documents, pinned)) == "too-few-keepers"


def test_policy_that_no_keeper_signed_is_refused(world: World) -> None:
    root, index, documents, pinned = world.policy_parts()
    forged = sign_ssh(index.payload, Ed25519PrivateKey.generate(), "policy")
    assert refusal((root, forged, documents, pinned)) == "too-few-keepers"


def test_policy_signed_by_one_of_two_keepers_is_refused(world: World) -> None:
    _, index, documents, _ = world.policy_parts()
    second = Ed25519PrivateKey.generate()
    both = Role(threshold=2, keys=(ssh_line(world.keeper), ssh_line(second)))
    root = PolicyRoot.model_validate(world.root.model_dump() | {"policy": both.model_dump()})
    envelope = sign_ssh(draft_root(root), world.keeper, "policy-root")
    pinned = statement_digest("policy-root", envelope)
    once = index_with(world, (envelope, index, documents, pinned), root_sha256=pinned)
    assert refusal((envelope, once, documents, pinned)) == "too-few-keepers"
    twice = Envelope(once.payload, (*once.signatures, *sign_ssh(once.payload, second, "policy").signatures))
    assert open_policy(envelope, twice, documents, pinned_root_sha256=pinned).root.policy.threshold == 2


@pytest.mark.parametrize("changes", [{"root_sha256": "00" * 32}, {"root_version": 2}], ids=str)
def test_policy_written_for_another_root_is_refused(world: World, changes: dict[str, object]) -> None:
    parts = world.policy_parts()
    assert refusal((parts[0], index_with(world, parts, **changes), *parts[2:])) == "wrong-policy-root"


def test_policy_without_one_of_its_documents_is_refused(world: World) -> None:
    parts = world.policy_parts()
    named = dict(parse_statement(parts[1], PolicyIndex).predicate.documents)
    del named["people"]
    assert refusal((parts[0], index_with(world, parts, documents=named), *parts[2:])) == "missing-document"


def test_policy_with_a_document_that_nobody_knows_is_refused(world: World) -> None:
    parts = world.policy_parts()
    named = dict(parse_statement(parts[1], PolicyIndex).predicate.documents)
    named["extra"] = named["people"]
    documents = parts[2] | {"extra": parts[2]["people"]}
    assert refusal((parts[0], index_with(world, parts, documents=named), documents, parts[3])) == "unknown-document"


def test_document_of_the_right_size_with_other_content_is_refused(world: World) -> None:
    root, index, documents, pinned = world.policy_parts()
    people = documents["people"]
    other = people.replace(b'"release"', b'"rebease"', 1)
    assert len(other) == len(people)
    assert other != people
    assert refusal((root, index, documents | {"people": other}, pinned)) == "wrong-document"


def test_document_whose_stated_size_is_wrong_is_refused(world: World) -> None:
    parts = world.policy_parts()
    named = dict(parse_statement(parts[1], PolicyIndex).predicate.documents)
    named["people"] = named["people"].model_copy(update={"size": named["people"].size + 1})
    assert refusal((parts[0], index_with(world, parts, documents=named), *parts[2:])) == "wrong-document"
