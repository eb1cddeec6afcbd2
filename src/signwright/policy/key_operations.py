# SPDX-License-Identifier: Apache-2.0
"""Uses of a key that are no release: only what keepers signed by their threshold, each kind with a template of its own.

Nothing else reaches a key. A release goes through `signwright.policy.orders`.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from signwright.envelopes.base import SignerContext, ToBeSigned
from signwright.envelopes.certification_request import certification_request_info
from signwright.errors import DeniedError, MalformedError
from signwright.model.times import format_time, parse_time
from signwright.policy.documents import Key
from signwright.policy.following import Consistency, logged_leaf
from signwright.policy.orders import Approved, Claim, Memory, check_attempt, consistency_rows
from signwright.policy.policy import Policy, check_role, spki_sha256
from signwright.statements.dsse import Envelope, parse_envelope
from signwright.statements.models import KeyOperation, Statement, parse_statement
from signwright.transparency.intent import KeyOperationLeaf, read_leaf

#: Longest time between a keeper's signature and the use of the key.
MAX_AGE = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class KeyOperationFrame:
    """A key operation as it came in: nothing in it is believed yet."""

    statement: Envelope
    leaf: bytes
    proof: bytes
    consistency: tuple[Consistency, ...]


def read_key_operation(message: dict[str, object], parts: Sequence[bytes]) -> KeyOperationFrame:
    """Split a message into its parts; raises `MalformedError`."""
    if len(parts) != 3:
        raise MalformedError("key operation message: statement, leaf and proof are wanted")
    return KeyOperationFrame(parse_envelope(parts[0]), parts[1], parts[2], consistency_rows(message))


def opened_key_operation(policy: Policy, envelope: Envelope, *, now: datetime) -> Statement[KeyOperation]:
    """Signed by the threshold of policy keepers, for this very policy, and current; raises `SignwrightError`."""
    statement = parse_statement(envelope, KeyOperation)
    asked = statement.predicate
    if statement.subjects[0].digest.sha256 != policy.sha256:
        raise DeniedError("key operation: signed for another policy", code="other-policy")
    check_role(envelope, "key-operation", policy.root.policy)
    if now >= min(parse_time(policy.index.expires), parse_time(policy.root.expires)):
        raise DeniedError("key operation: policy or policy root has expired", code="policy-expired")
    created, expires = parse_time(asked.created), parse_time(asked.expires)
    skew = timedelta(minutes=5)
    if created > now + skew or now >= expires or now - created >= MAX_AGE:
        found = f"created {asked.created}, expires {asked.expires}"
        raise DeniedError(f"key operation: {found}; wanted a current one of at most 7 days", code="request-expired")
    if asked.key not in policy.keys.keys:
        raise DeniedError(f"key operation: no key {asked.key!r} in the policy", code="no-key")
    return statement


def content_of(statement: Statement[KeyOperation], key: Key) -> ToBeSigned:
    """The bytes that the key gets: a function of statement and policy alone. Raises `MalformedError`."""
    asked = statement.predicate
    context = SignerContext((), base64.b64decode(key.public_key), parse_time(asked.created))
    if key.family != "cms":
        raise DeniedError(f"key operation: a certification request for a {key.family} key", code="key-family")
    return certification_request_info(asked.parameters, context)


def key_operation_leaf(policy: Policy, statement: Statement[KeyOperation], *, attempt: int, now: datetime) -> bytes:
    """What is logged before the key is used."""
    key = policy.keys.keys[statement.predicate.key]
    return KeyOperationLeaf(
        statement=statement.digest,
        operation=statement.predicate.operation,
        key=spki_sha256(key),
        to_be_signed=hashlib.sha256(content_of(statement, key).content).hexdigest(),
        policy_sha256=policy.sha256,
        attempt=attempt,
        time=format_time(now),
    ).encode()


def check_key_operation(policy: Policy, memory: Memory, frame: KeyOperationFrame, *, now: datetime) -> Approved:
    """Raises `DeniedError`, `MalformedError` or `VerificationError` unless this operation may reach its key."""
    statement = opened_key_operation(policy, frame.statement, now=now)
    leaf = read_leaf(frame.leaf, {"key-operation": KeyOperationLeaf})
    said = parse_time(leaf.time)
    if key_operation_leaf(policy, statement, attempt=leaf.attempt, now=said) != frame.leaf:
        raise DeniedError("the logged key operation is another one", code="wrong-intent")
    index, checkpoint, newest = logged_leaf(
        policy, frame.leaf, frame.proof, memory=memory, said=said, now=now, consistency=frame.consistency
    )
    check_attempt(memory, statement.digest, wave=0, attempt=leaf.attempt, leaf_index=index)
    key = policy.keys.keys[statement.predicate.key]
    used = ((f"key {spki_sha256(key)}", 1),)
    claim = Claim(index, statement.digest, 0, leaf.attempt, used, int(newest.timestamp()))
    return Approved(statement.predicate.key, key, (content_of(statement, key),), claim, checkpoint)
