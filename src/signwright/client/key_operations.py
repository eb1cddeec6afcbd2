# SPDX-License-Identifier: Apache-2.0
"""Key operations that are no release, on the keepers' side: the statement, what it asks for in words, its result."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Mapping
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from signwright.client.partial import Standing, check_keeper, standing, with_signature
from signwright.client.ssh_keys import PersonKey
from signwright.envelopes.certification_request import NAMES
from signwright.errors import DeniedError, VerificationError
from signwright.model.times import format_time, parse_time
from signwright.policy.key_operations import content_of
from signwright.policy.policy import Policy
from signwright.statements.dsse import Envelope
from signwright.statements.models import KeyOperation, Statement, parse_statement
from signwright.statements.writing import statement_payload

NAME = "key-operation"


def draft_request(policy: Policy, key: str, parameters: Mapping[str, str], *, now: datetime, hours: int) -> Envelope:
    """The statement that asks for a certification request, still without signatures; it holds ``hours``.

    Raises `DeniedError` and `MalformedError` for what the signer would refuse.
    """
    said = KeyOperation(
        key=key,
        operation="csr",
        parameters=dict(parameters),
        nonce=secrets.token_hex(16),
        created=format_time(now),
        expires=format_time(now + timedelta(hours=hours)),
    )
    envelope = Envelope(statement_payload(said, [("policy", policy.sha256)]), ())
    checked_request(policy, envelope, now=now)
    return envelope


def checked_request(policy: Policy, envelope: Envelope, *, now: datetime) -> Statement[KeyOperation]:
    """Everything but the number of signatures: whoever signs or sends it looks first."""
    statement = parse_statement(envelope, KeyOperation)
    said = statement.predicate
    if statement.subjects[0].digest.sha256 != policy.sha256:
        text = f"it was written for another policy than version {policy.version}"
        raise DeniedError(f"key operation: {text}", code="other-policy", hint="make it again")
    if now >= parse_time(said.expires):
        raise DeniedError(f"key operation: expired {said.expires}", code="request-expired", hint="make it again")
    key = policy.keys.keys.get(said.key)
    if key is None:
        names = ", ".join(sorted(policy.keys.keys))
        raise DeniedError(f"key operation: no key {said.key!r} in the policy; there are {names}", code="no-key")
    content_of(statement, key)
    return statement


def in_words(policy: Policy, statement: Statement[KeyOperation]) -> str:
    """What a keeper agrees to."""
    said = statement.predicate
    key = policy.keys.keys[said.key]
    names = ", ".join(f"{name} {said.parameters[name]!r}" for name, _ in NAMES if name in said.parameters)
    return f"a certification request for the {key.kind} key {said.key}: {names}; may be used until {said.expires}"


def sign_request(policy: Policy, envelope: Envelope, keeper: PersonKey) -> Envelope:
    """With one keeper's signature more; raises `DeniedError` for a key of no keeper."""
    check_keeper(keeper, [policy.root.policy], "a policy keeper")
    return with_signature(envelope, NAME, keeper)


def standing_of(policy: Policy, envelope: Envelope) -> Standing:
    return standing(envelope, NAME, policy.root.policy)


def pem_of(policy: Policy, statement: Statement[KeyOperation], content: bytes) -> bytes:
    """``content``: DER as the gate gave it. Raises `VerificationError` unless it is the request that was asked for."""
    said = statement.predicate
    try:
        request = x509.load_der_x509_csr(content)
        public = request.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        holds = request.is_signature_valid
        names = {a.oid.dotted_string: str(a.value) for a in request.subject}
    except ValueError as problem:
        raise VerificationError("the gate gave no certification request", code="bad-csr") from problem
    wanted = {oid: said.parameters[name] for name, oid in NAMES if name in said.parameters}
    if not holds or public != base64.b64decode(policy.keys.keys[said.key].public_key) or names != wanted:
        raise VerificationError("the certification request is not the one that was asked for", code="bad-csr")
    return request.public_bytes(Encoding.PEM)
