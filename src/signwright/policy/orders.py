# SPDX-License-Identifier: Apache-2.0
"""Every check between an order and a key, as named steps. Their only result is an `Approved`, which is redeemed once.

This is the keyholder's knowledge, kept apart from its sockets and its database. Nothing here trusts the gate: each
fact is read from signed statements with the keyholder's own policy, the intent leaf is built again and compared, and
the log is followed with the keyholder's own memory of it.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from signwright.envelopes.base import SignerContext, ToBeSigned
from signwright.envelopes.templates import template_named
from signwright.errors import DeniedError, LimitError, MalformedError, VerificationError
from signwright.model.operation import Many, Strict
from signwright.model.times import parse_time
from signwright.policy.decide import decide
from signwright.policy.documents import Key, SigningPolicy
from signwright.policy.facts import Counters, Facts, gather
from signwright.policy.intent import intent_leaf, requested_operations
from signwright.policy.policy import Policy, spki_sha256
from signwright.statements.dsse import Envelope, parse_envelope, strict_base64
from signwright.statements.keys import verify_envelope
from signwright.statements.models import Hex32, Order, Request, parse_statement
from signwright.statements.parse import validate_model
from signwright.transparency.checkpoint import Checkpoint
from signwright.transparency.intent import IntentLeaf, parse_intent
from signwright.transparency.merkle import verify_consistency
from signwright.transparency.proof import TlogProof

#: How far gate, witnesses and keyholder may disagree about the time.
WINDOW = timedelta(minutes=5)
MAX_ATTEMPTS = 3
#: Most approvals, most evidence envelopes and most consistency proofs of one order.
MAX_ATTACHED = 256


class Memory(Protocol):
    """What the keyholder remembers; none of it ever goes back."""

    def log(self) -> tuple[int, bytes]:
        """Size and root of the newest checkpoint ever accepted; (0, empty) before the first."""
        ...

    def attempts(self, request: str, wave: int) -> int:
        """The highest attempt ever claimed, 0 before the first."""
        ...

    def is_claimed(self, leaf_index: int) -> bool: ...

    def used(self, name: str, hour: int) -> int:
        """Operations under ``name`` in hour ``hour`` since the epoch and the 24 before: at least 24 h in all."""
        ...


@dataclass(frozen=True, slots=True)
class Claim:
    """One intent, to be claimed durably before its key is used. ``used``: counter name → operations."""

    leaf_index: int
    request: str
    wave: int
    attempt: int
    used: tuple[tuple[str, int], ...]


class Consistency(Strict):
    """A consistency proof from an older tree to the order's checkpoint. ``hashes``: base64."""

    size: int
    root: Hex32
    hashes: Many[str]


@dataclass(frozen=True, slots=True)
class OrderFrame:
    """An order as it came in: nothing in it is believed yet."""

    order: Envelope
    request: Envelope
    operations: bytes
    leaf: bytes
    proof: bytes
    approvals: tuple[Envelope, ...]
    evidence: tuple[Envelope, ...]
    consistency: tuple[Consistency, ...]


@dataclass(frozen=True, slots=True)
class Approved:
    """Everything was checked; what is left is to make ``claim`` durable and to sign ``contents`` with ``key_name``."""

    key_name: str
    key: Key
    contents: tuple[ToBeSigned, ...]
    claim: Claim
    checkpoint: Checkpoint


def read_order(message: dict[str, object], parts: Sequence[bytes]) -> OrderFrame:
    """Split a message into its envelopes; raises `MalformedError`."""
    approvals, evidence, rows = message.get("approvals"), message.get("evidence"), message.get("consistency")
    if type(approvals) is not int or type(evidence) is not int or not isinstance(rows, list):
        raise MalformedError("order message: approvals, evidence and consistency are wanted")
    if not (approvals >= 0 and evidence >= 0 and 5 + approvals + evidence == len(parts)):
        raise MalformedError("order message: its parts do not add up")
    if max(approvals, evidence, len(rows)) > MAX_ATTACHED:
        raise LimitError(f"order message: more than {MAX_ATTACHED} approvals, evidence envelopes or proofs")
    envelopes = [parse_envelope(part) for part in parts[5:]]
    return OrderFrame(
        order=parse_envelope(parts[0]),
        request=parse_envelope(parts[1]),
        operations=parts[2],
        leaf=parts[3],
        proof=parts[4],
        approvals=tuple(envelopes[:approvals]),
        evidence=tuple(envelopes[approvals:]),
        consistency=tuple(validate_model(Consistency, row) for row in rows),
    )


def check_order(policy: Policy, memory: Memory, frame: OrderFrame, *, profile: int, now: datetime) -> Approved:
    """Raises `DeniedError`, `MalformedError` or `VerificationError` unless this order may reach its key."""
    order = _order(policy, frame)
    request = parse_statement(frame.request, Request).predicate
    rule = policy.signing_policy(request.project, request.signing_policy)
    if rule is None:
        raise DeniedError(f"no signing policy {request.project}/{request.signing_policy}", code="signing-policy")
    facts = _facts(policy, memory, frame, rule, now=now)
    if facts.request.digest != order.request:
        raise DeniedError("the order is for another request", code="wrong-request")
    _authorised(policy, facts)
    leaf = _intent(policy, facts, frame, order, profile=profile)
    checkpoint = _logged(policy, memory, frame, facts, order=order, leaf=leaf, now=now)
    _attempt(memory, order)
    contents = _to_be_signed(policy, facts, signing_time=parse_time(leaf.signing_time))
    used = tuple((name, len(contents)) for name in _counted(policy, request, rule))
    claim = Claim(order.leaf_index, order.request, order.wave, order.attempt, used)
    return Approved(rule.key, policy.key_of(rule), contents, claim, checkpoint)


def _order(policy: Policy, frame: OrderFrame) -> Order:
    """Signed by the policy's gate, under this very policy, about exactly these attachments."""
    if not verify_envelope(frame.order, "order", [policy.services.gate_key]):
        raise DeniedError("the order is not signed by the policy's gate", code="not-the-gate")
    order = parse_statement(frame.order, Order).predicate
    if order.policy_sha256 != policy.sha256:
        raise DeniedError("the order was made under another policy", code="other-policy")
    attached = (hashlib.sha256(frame.operations).hexdigest(), hashlib.sha256(frame.leaf).hexdigest())
    if (order.operations_sha256, order.leaf_sha256) != attached:
        raise DeniedError("the order names other operations or another leaf", code="wrong-attachment")
    return order


def _counted(policy: Policy, request: Request, rule: SigningPolicy) -> tuple[str, str]:
    """Names of the two counters. The key's is its public key: another name for it is no new quota."""
    return f"key {spki_sha256(policy.key_of(rule))}", f"policy {request.project}/{request.signing_policy}"


def _facts(policy: Policy, memory: Memory, frame: OrderFrame, rule: SigningPolicy, *, now: datetime) -> Facts:
    request = parse_statement(frame.request, Request).predicate
    hour = int(now.timestamp()) // 3600
    counters = Counters(*(memory.used(name, hour) for name in _counted(policy, request, rule)))
    facts = gather(
        policy, frame.request, approvals=frame.approvals, evidence=frame.evidence, now=now, counters=counters
    )
    if facts.ignored:
        raise DeniedError("; ".join(facts.ignored), code="unverified-statement")
    return facts


def _authorised(policy: Policy, facts: Facts) -> None:
    decision = decide(policy, facts)
    if decision.outcome != "allow":
        reasons = [reason.as_json() for reason in decision.reasons]
        text = "; ".join(map(str, decision.reasons))
        raise DeniedError(text, code=decision.reasons[0].rule, details={"reasons": reasons})


def _intent(policy: Policy, facts: Facts, frame: OrderFrame, order: Order, *, profile: int) -> IntentLeaf:
    """The leaf is the one that these facts make; only sandbox and signing time are the gate's word."""
    leaf = parse_intent(frame.leaf)
    # Derived operations are not built: everything signed is a direct operation of the approved request.
    if frame.operations != requested_operations(facts.request.predicate):
        raise DeniedError("the operations are not those of the request", code="wrong-operations")
    expected = intent_leaf(
        policy,
        facts,
        operations=frame.operations,
        wave=order.wave,
        attempt=order.attempt,
        profile=profile,
        sandbox=leaf.sandbox,
        signing_time=parse_time(leaf.signing_time),
    )
    if expected.encode() != frame.leaf:
        differs = sorted(k for k, v in expected.model_dump().items() if v != leaf.model_dump()[k])
        raise DeniedError(f"the logged intent says something else about: {', '.join(differs)}", code="wrong-intent")
    if order.wave != 0:
        raise DeniedError("a second wave holds derived operations, which are not built", code="derived")
    return leaf


def _logged(
    policy: Policy,
    memory: Memory,
    frame: OrderFrame,
    facts: Facts,
    *,
    order: Order,
    leaf: IntentLeaf,
    now: datetime,
) -> Checkpoint:
    """The leaf stands in a witnessed log that continues every log that the keyholder or an approver has seen."""
    trust = policy.log_trust
    proof = TlogProof.parse(frame.proof)
    if proof.index != order.leaf_index:
        raise DeniedError("the inclusion proof is for another leaf", code="wrong-proof")
    witnessed = proof.verify(frame.leaf, trust, latest=now + WINDOW)
    median = witnessed.cosigned.median_time
    signing_time = parse_time(leaf.signing_time)
    if median is None or abs(signing_time - median) > WINDOW or abs(now - median) > WINDOW:
        found = f"signing time {signing_time}, cosigned {median}, clock {now}"
        raise DeniedError(f"{found}; wanted within {WINDOW} of each other", code="wrong-time")
    size, root = memory.log()
    seen = {(a.statement.predicate.checkpoint.size, a.statement.predicate.checkpoint.root) for a in facts.approvals}
    if any(a.statement.predicate.checkpoint.origin != trust.origin for a in facts.approvals):
        raise DeniedError("an approver has seen another log", code="wrong-origin")
    if size:
        seen.add((size, root.hex()))
    for older_size, older_root in sorted(seen):
        _continues(frame, older_size, bytes.fromhex(older_root), witnessed.checkpoint)
    return witnessed.checkpoint


def _continues(frame: OrderFrame, size: int, root: bytes, checkpoint: Checkpoint) -> None:
    if size > checkpoint.size:
        raise DeniedError(
            f"the log has {checkpoint.size} leaves; {size} were seen before: it was taken back", code="log-rollback"
        )
    if (size, root) == (checkpoint.size, checkpoint.root):
        return
    row = next((c for c in frame.consistency if (c.size, c.root) == (size, root.hex())), None)
    path = [strict_base64(h) for h in row.hashes] if row else []
    try:
        verify_consistency(size, root, new_size=checkpoint.size, new_root=checkpoint.root, path=path)
    except VerificationError as problem:
        raise DeniedError(
            f"the log does not continue the one of {size} leaves: {problem}", code="log-fork"
        ) from problem


def _attempt(memory: Memory, order: Order) -> None:
    """An intent is used once; attempts go up, and there are three.

    An attempt may be missing here: its intent was logged and the gate died before it could order anything.
    """
    if memory.is_claimed(order.leaf_index):
        raise DeniedError(f"intent {order.leaf_index} was used before", code="intent-used")
    before = memory.attempts(order.request, order.wave)
    if not before < order.attempt <= MAX_ATTEMPTS:
        raise DeniedError(
            f"attempt {order.attempt} after {before}; wanted a later one, at most {MAX_ATTEMPTS}", code="wrong-attempt"
        )


def _to_be_signed(policy: Policy, facts: Facts, *, signing_time: datetime) -> tuple[ToBeSigned, ...]:
    """Built here, from the operations of the approved request, which `_intent` found in the witnessed leaf."""
    request = facts.request.predicate
    rule = policy.projects[request.project].signing_policies[request.signing_policy]
    key = policy.key_of(rule)
    chain = tuple(base64.b64decode(certificate) for certificate in key.chain)
    context = SignerContext(chain, base64.b64decode(key.public_key), signing_time)
    contents = []
    for artifact in request.artifacts:
        for operation in artifact.operations:
            template = template_named(operation.template)
            if template.family != key.family or template.purpose not in key.purposes:
                asked = f"template {template.name!r} ({template.family}, {template.purpose})"
                raise DeniedError(f"{asked} on a key of family {key.family}", code="key-family")
            contents.append(template.to_be_signed(operation, context))
    return tuple(contents)
