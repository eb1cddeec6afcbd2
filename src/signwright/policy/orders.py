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
from datetime import datetime
from typing import Protocol

from signwright.envelopes.base import MAX_SEEN, SignerContext, ToBeSigned, check_seen
from signwright.envelopes.templates import template_named
from signwright.errors import DeniedError, KeystoreError, LimitError, MalformedError
from signwright.model.operation import Operation
from signwright.model.times import parse_time
from signwright.policy.decide import decide
from signwright.policy.documents import Key, SigningPolicy
from signwright.policy.facts import Counters, Facts, gather
from signwright.policy.following import Consistency, LogMemory, logged_leaf
from signwright.policy.intent import intent_leaf, wave_operations
from signwright.policy.policy import Policy, spki_sha256
from signwright.statements.dsse import Envelope, parse_envelope
from signwright.statements.keys import verify_envelope
from signwright.statements.models import Order, Request, parse_statement
from signwright.statements.parse import validate_model
from signwright.transparency.checkpoint import Checkpoint
from signwright.transparency.intent import IntentLeaf, parse_intent

MAX_ATTEMPTS = 3
#: How a key can be protected, from the least on.
PROTECTION = ("software", "claimed", "attested")
#: Most approvals, most evidence envelopes and most consistency proofs of one order.
MAX_ATTACHED = 256


class Memory(LogMemory, Protocol):
    """What the keyholder remembers; none of it ever goes back."""

    def first_leaf(self) -> int:
        """Index of the leaf that logs the start of this process; raises `DeniedError` before there is one."""

    def revoked(self) -> frozenset[str]:
        """What the newest freshness statement ever accepted revokes."""

    def freshness(self, *, created: int) -> int:
        """The highest number of a freshness statement that was read in the log at or after the time ``created``; 0 for
        none. Seconds since the epoch.
        """

    def attempts(self, request: str, wave: int) -> int:
        """The highest attempt ever claimed, 0 before the first."""

    def is_claimed(self, leaf_index: int) -> bool: ...

    def used(self, name: str, hour: int) -> int:
        """Operations under ``name`` in hour ``hour`` since the epoch and the 24 before: at least 24 h in all."""


class OpenKey(Protocol):
    """A key as its store opened it. ``state``: ``ready`` or why not."""

    state: str
    message: str
    public_key: bytes
    protection: str


@dataclass(frozen=True, slots=True)
class Claim:
    """One intent, to be claimed durably before its key is used. ``used``: counter name → operations; ``newest``: the
    newest time in it, seconds since the epoch; ``freshness``: number and what it revokes.
    """

    leaf_index: int
    request: str
    wave: int
    attempt: int
    used: tuple[tuple[str, int], ...]
    newest: int
    freshness: tuple[int, frozenset[str]] | None = None


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
    contents: tuple[bytes, ...]
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
    found = [message.get(name) for name in ("approvals", "evidence", "contents")]
    counts = [count for count in found if type(count) is int and count >= 0]
    if len(counts) != len(found) or 5 + sum(counts) != len(parts):
        raise MalformedError("order message: its parts do not add up")
    approvals, end = counts[0], 5 + counts[0] + counts[1]
    if max(counts) > MAX_ATTACHED or sum(map(len, parts[end:])) > MAX_SEEN:
        raise LimitError(
            f"order message: more than {MAX_ATTACHED} of a kind, or contents of more than {MAX_SEEN} bytes"
        )
    envelopes = [parse_envelope(part) for part in parts[5:end]]
    return OrderFrame(
        order=parse_envelope(parts[0]),
        request=parse_envelope(parts[1]),
        operations=parts[2],
        leaf=parts[3],
        proof=parts[4],
        approvals=tuple(envelopes[:approvals]),
        evidence=tuple(envelopes[approvals:]),
        contents=tuple(parts[end:]),
        consistency=consistency_rows(message),
    )


def consistency_rows(message: dict[str, object]) -> tuple[Consistency, ...]:
    """The proofs that came with a message; raises `MalformedError` and `LimitError`."""
    rows = message.get("consistency")
    if not isinstance(rows, list):
        raise MalformedError("message: consistency proofs are wanted")
    if len(rows) > MAX_ATTACHED:
        raise LimitError(f"message: more than {MAX_ATTACHED} consistency proofs")
    return tuple(validate_model(Consistency, row) for row in rows)


def check_order(policy: Policy, memory: Memory, frame: OrderFrame, *, profile: int, now: datetime) -> Approved:
    """Raises `DeniedError`, `MalformedError` or `VerificationError` unless this order may reach its key."""
    order = _order(policy, frame)
    request = parse_statement(frame.request, Request).predicate
    rule = policy.signing_policy(request.project, request.signing_policy)
    if rule is None:
        raise DeniedError(f"no signing policy {request.project}/{request.signing_policy}", code="signing-policy")
    operations = wave_operations(request, order.wave, frame.operations)
    facts = _facts(policy, memory, frame, rule, wave=order.wave, now=now)
    if facts.request.digest != order.request:
        raise DeniedError("the order is for another request", code="wrong-request")
    _authorised(policy, facts)
    leaf = _intent(policy, facts, frame, order, profile=profile)
    checkpoint, newest = _logged(policy, memory, frame, facts, order=order, leaf=leaf, now=now)
    check_attempt(memory, order.request, wave=order.wave, attempt=order.attempt, leaf_index=order.leaf_index)
    contents = _to_be_signed(policy.key_of(rule), operations, frame.contents, parse_time(leaf.signing_time))
    used = tuple((name, len(contents)) for name in _counted(policy, request, rule))
    claim = Claim(
        order.leaf_index, order.request, order.wave, order.attempt, used, int(newest.timestamp()), _freshness(facts)
    )
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


def _facts(
    policy: Policy, memory: Memory, frame: OrderFrame, rule: SigningPolicy, *, wave: int, now: datetime
) -> Facts:
    request = parse_statement(frame.request, Request).predicate
    hour = int(now.timestamp()) // 3600
    counters = Counters(*(memory.used(name, hour) for name in _counted(policy, request, rule)))
    facts = gather(
        policy,
        frame.request,
        approvals=frame.approvals,
        evidence=frame.evidence,
        now=now,
        counters=counters,
        revoked=memory.revoked(),
        wave=wave,
    )
    if facts.ignored:
        raise DeniedError("; ".join(facts.ignored), code="unverified-statement")
    said = facts.freshness.statement.predicate if facts.freshness else None
    # What was signed after the log was read is newer, whatever number somebody made up there.
    number = memory.freshness(created=int(parse_time(said.created).timestamp())) if said else 0
    if said and said.number < number:
        raise DeniedError(f"freshness number {said.number}; the log has number {number}", code="freshness-old")
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
) -> tuple[Checkpoint, datetime]:
    """The leaf stands in a witnessed log that continues every log that the keyholder or an approver has seen."""
    words = [approval.statement.predicate for approval in facts.approvals]
    if any(word.checkpoint.origin != policy.log_trust.origin for word in words):
        raise DeniedError("an approver has seen another log", code="wrong-origin")
    index, checkpoint, newest = logged_leaf(
        policy,
        frame.leaf,
        frame.proof,
        memory=memory,
        said=parse_time(leaf.signing_time),
        now=now,
        seen={(word.checkpoint.size, word.checkpoint.root) for word in words},
        consistency=frame.consistency,
    )
    if index != order.leaf_index:
        raise DeniedError("the inclusion proof is for another leaf", code="wrong-proof")
    return checkpoint, max([newest, *(parse_time(word.created) for word in words)])


def _freshness(facts: Facts) -> tuple[int, frozenset[str]] | None:
    fresh = facts.freshness
    return (fresh.statement.predicate.number, fresh.revoked) if fresh else None


def check_attempt(memory: Memory, request: str, *, wave: int, attempt: int, leaf_index: int) -> None:
    """An intent is used once, by the process that it was logged for; attempts go up, and there are three.

    An attempt may be missing here: its intent was logged and the gate died before it could order anything.
    """
    if leaf_index <= memory.first_leaf():
        raise DeniedError(f"intent {leaf_index} was logged before this keyholder started", code="intent-too-old")
    if memory.is_claimed(leaf_index):
        raise DeniedError(f"intent {leaf_index} was used before", code="intent-used")
    if wave and memory.attempts(request, wave - 1) != attempt:
        raise DeniedError(f"wave {wave} of attempt {attempt} without the one before it", code="wrong-wave")
    before = memory.attempts(request, wave)
    if not before < attempt <= MAX_ATTEMPTS:
        raise DeniedError(
            f"attempt {attempt} after {before}; wanted a later one, at most {MAX_ATTEMPTS}", code="wrong-attempt"
        )


def check_key(approved: Approved, key: OpenKey | None) -> None:
    """The key that opened is the one the policy names, protected at least as the policy says. Raises `KeystoreError`
    and `DeniedError`.
    """
    name, wanted = approved.key_name, approved.key
    if key is None or key.state != "ready":
        state, message = (key.state, key.message) if key else ("unknown", "not in signer.toml")
        raise KeystoreError(f"key {name!r} is {state}: {message}", code=f"key-{state}")
    if key.public_key != base64.b64decode(wanted.public_key):
        raise DeniedError(f"key {name!r} in the key store is not the policy's", code="wrong-key")
    if PROTECTION.index(key.protection) < PROTECTION.index(wanted.protection):
        raise DeniedError(
            f"key {name!r} is {key.protection}; the policy says {wanted.protection}", code="key-protection"
        )


def _to_be_signed(
    key: Key, operations: Sequence[Operation], seen: Sequence[bytes], time: datetime
) -> tuple[ToBeSigned, ...]:
    """Built here, from the operations that the approved request names and the witnessed leaf has. ``seen``: the content
    of each operation that must be seen, in order.
    """
    left = list(seen)
    chain = tuple(base64.b64decode(certificate) for certificate in key.chain)
    context = SignerContext(chain, base64.b64decode(key.public_key), time)
    contents = []
    for operation in operations:
        template = template_named(operation.template)
        if template.family != key.family or template.purpose not in key.purposes:
            asked = f"template {template.name!r} ({template.family}, {template.purpose})"
            raise DeniedError(f"{asked} on a key of family {key.family}", code="key-family")
        if template.check_content is not None:
            check_seen(template, operation, left.pop(0) if left else b"")
        contents.append(template.to_be_signed(operation, context))
    if left:
        raise DeniedError(f"{len(left)} contents that no operation is about", code="wrong-content")
    return tuple(contents)
