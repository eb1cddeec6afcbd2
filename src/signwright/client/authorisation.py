# SPDX-License-Identifier: Apache-2.0
"""Count an authorisation again, offline, from the statements that a receipt bundle carries.

This is what the keyholder did before it signed, done by a stranger with the same pure code, years later: policy from
its pinned root, facts from signatures, the decision, the approved operations, and the intent leaf that they make. The
moment is the signing time of each wave, cosigned within five minutes. Quotas are not counted again: they
speak about other requests.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from pydantic import Field

from signwright.errors import DeniedError, MalformedError, VerificationError
from signwright.model.base64text import strict_base64
from signwright.model.operation import Operation
from signwright.model.times import parse_time
from signwright.policy.decide import decide
from signwright.policy.facts import Facts, gather
from signwright.policy.intent import intent_leaf, wave_operations
from signwright.policy.policy import Policy, open_policy
from signwright.policy.rules.approvals import people_who
from signwright.statements.bundle import Authorisation, Wave, open_envelope
from signwright.statements.parse import strict_json, validate_model
from signwright.transparency.checkpoint import Checkpoint
from signwright.transparency.cosignature import LogTrust, Witnessed
from signwright.transparency.leaf import IntentLeaf, parse_intent
from signwright.transparency.merkle import verify_consistency
from signwright.transparency.proof import TlogProof

WINDOW = timedelta(minutes=5)
MAX_OPERATIONS = 10_000
MAX_OPERATION_LIST = 1 << 20


class ArtifactOperation(Operation):
    """An operation of one artifact of a request; ``artifact`` is the index of its subject."""

    artifact: int = Field(ge=0, lt=MAX_OPERATIONS)


@dataclass(frozen=True, slots=True)
class LoggedIntent:
    """An intent leaf that was proved to stand in a witnessed log, with the exact operation list it names."""

    index: int
    leaf: IntentLeaf
    witnessed: Witnessed
    operations: bytes


@dataclass(frozen=True, slots=True)
class Recounted:
    """``people``: who approved, counted again."""

    policy: Policy
    facts: Facts
    people: tuple[str, ...]


def open_intent(wave: Wave, trust: LogTrust) -> LoggedIntent:
    """Prove one intent; raises `VerificationError` or `MalformedError`. Its signing time fits its cosignatures."""
    leaf_bytes, operations = wave.intent.leaf_bytes(), strict_base64(wave.operations)
    proof = TlogProof.parse(wave.intent.proof_text())
    witnessed = proof.verify(leaf_bytes, trust)
    leaf = parse_intent(leaf_bytes)
    median, signing_time = witnessed.cosigned.median_time, parse_time(leaf.signing_time)
    if median is None or abs(median - signing_time) > WINDOW:
        raise VerificationError(f"signing time {leaf.signing_time}, but cosigned {median}", code="wrong-time")
    return LoggedIntent(proof.index, leaf, witnessed, operations)


def open_operations(content: bytes) -> tuple[ArtifactOperation, ...]:
    """A logged operation list under the strict parser; raises `MalformedError` or `LimitError`."""
    rows = strict_json(content, limit=MAX_OPERATION_LIST, depth=4)
    if not isinstance(rows, list):
        raise MalformedError("an operation list is an array", code="bad-operations")
    return tuple(validate_model(ArtifactOperation, row) for row in rows)


def policy_of(authorisation: Authorisation, *, policy_root_sha256: str) -> Policy:
    """The policy that was in force, from its pinned root; raises as `signwright.policy.policy.open_policy`."""
    documents = {name: strict_base64(content) for name, content in authorisation.documents.items()}
    root, index = open_envelope(authorisation.policy_root), open_envelope(authorisation.policy)
    return open_policy(root, index, documents, pinned_root_sha256=policy_root_sha256)


def recount(authorisation: Authorisation, intents: Sequence[LoggedIntent], *, policy_root_sha256: str) -> Recounted:
    """Decide again and build every intent again; raises `VerificationError` naming what does not hold."""
    policy = policy_of(authorisation, policy_root_sha256=policy_root_sha256)
    facts = gather(
        policy,
        open_envelope(authorisation.request),
        approvals=[open_envelope(text) for text in authorisation.approvals],
        evidence=[open_envelope(text) for text in authorisation.evidence],
        now=parse_time(intents[0].leaf.signing_time),
    )
    for intent in intents:
        leaf = intent.leaf
        decision = decide(policy, replace(facts, now=parse_time(leaf.signing_time), wave=leaf.wave))
        if decision.outcome != "allow":
            text = "; ".join(map(str, decision.reasons))
            raise VerificationError(f"the policy would not have allowed it: {text}", code="not-authorised")
        _are_the_approved_operations(facts, intent)
        _is_the_same(policy, facts, intent)
        _approvers_saw(facts, intent.witnessed.checkpoint)
    _check_waves(facts, intents)
    request = facts.request.predicate
    rule = policy.projects[request.project].signing_policies[request.signing_policy]
    people = tuple(sorted(people_who("approve", policy, rule, facts)))
    return Recounted(policy, facts, people)


def _check_waves(facts: Facts, intents: Sequence[LoggedIntent]) -> None:
    """Every wave that the request names, in the order of the log and in one attempt: what one leaves out nobody would
    miss.
    """
    artifacts = facts.request.predicate.artifacts
    last = max((one.wave for artifact in artifacts for one in artifact.derived), default=0)
    indexes = [intent.index for intent in intents]
    is_whole = [intent.leaf.wave for intent in intents] == list(range(last + 1))
    if not is_whole or indexes != sorted(indexes) or len({intent.leaf.attempt for intent in intents}) > 1:
        raise VerificationError("not all waves of the request, one after another in one attempt", code="wrong-intent")


def _are_the_approved_operations(facts: Facts, intent: LoggedIntent) -> None:
    """Direct operations: what was logged and signed is, byte for byte, what the approved request lists; derived ones:
    but for their digests.
    """
    try:
        wave_operations(facts.request.predicate, intent.leaf.wave, intent.operations)
    except (DeniedError, MalformedError) as problem:
        raise VerificationError(
            f"intent {intent.index} logs other operations than the approved request", code="wrong-operations"
        ) from problem


def _is_the_same(policy: Policy, facts: Facts, intent: LoggedIntent) -> None:
    leaf = intent.leaf
    expected = intent_leaf(
        policy,
        facts,
        operations=intent.operations,
        wave=leaf.wave,
        attempt=leaf.attempt,
        profile=leaf.profile,
        sandbox=leaf.sandbox,
        signing_time=parse_time(leaf.signing_time),
    )
    if expected != leaf:
        found, wanted = leaf.model_dump(), expected.model_dump()
        differs = ", ".join(sorted(name for name in wanted if wanted[name] != found[name]))
        raise VerificationError(f"intent {intent.index} says something else about: {differs}", code="wrong-intent")


def _approvers_saw(facts: Facts, checkpoint: Checkpoint) -> None:
    """No approver had seen more of the log than the one that the signature stands in, nor the same size of another."""
    for approval in facts.approvals:
        seen = approval.statement.predicate.checkpoint
        if seen.origin != checkpoint.origin or seen.size > checkpoint.size:
            raise VerificationError("an approver had seen a longer or another log", code="log-rollback")
        if seen.size == checkpoint.size:
            verify_consistency(
                seen.size,
                bytes.fromhex(seen.root),
                new_size=checkpoint.size,
                new_root=checkpoint.root,
                path=[],
            )
