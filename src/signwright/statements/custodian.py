# SPDX-License-Identifier: Apache-2.0
"""What a custodian is shown of a request, and the statement in which they confirm or refuse exactly that.

The gate writes a `ShownRequest` for each request that it has verified. Its bytes are what the custodian's client reads
and hashes, so that a confirmation is about every field of what was shown, and about nothing else.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from signwright.errors import MalformedError
from signwright.model.operation import Many, Name, Parameter, Sha256Text, Strict, Time
from signwright.statements.dsse import Envelope, statement_digest
from signwright.statements.models import STATEMENT_TYPE, KeyId, Mode, SourceRevision, Subject, Text, predicate_type
from signwright.statements.parse import MAX_DOCUMENT, parse_model, strict_json, validate_model

NAME = "custodian"
#: People of the policy who are in this group are custodians.
GROUP = "custodian"
#: Requests in one confirmation.
MAX_CONFIRMED = 96
_encode = json.JSONEncoder(separators=(",", ":"), sort_keys=True, ensure_ascii=False).encode


class ShownArtifact(Strict):
    name: Text
    sha256: Sha256Text
    size: int
    format: Name
    options: dict[Name, Parameter]
    operations: int


class ShownApproval(Strict):
    """``statement``: its digest; ``key``: fingerprint of the SSH key that signed it."""

    person: Name
    decision: Text
    key: Text
    statement: Sha256Text
    created: Time
    expires: Time


class ShownEvidence(Strict):
    """``kind``: ``scan`` or ``freshness``; ``says``: its verdict or number; ``by``: whose word it is."""

    kind: Literal["scan", "freshness"]
    says: Text
    by: Text
    statement: Sha256Text
    created: Time


class ShownRequest(Strict):
    """A request as the gate verified it. ``request``: its digest; ``content_read``: the signer's worker had the bytes
    and derived the operations itself; ``submitter_person``: whose credential it is, when it is a person's own.
    """

    request: Sha256Text
    project: Name
    signing_policy: Name
    kind: Literal["test", "release"]
    mode: Mode
    key: Name
    policy_version: int
    policy_sha256: Sha256Text
    submitter: KeyId
    submitter_description: Text
    submitter_person: Name | None
    source: SourceRevision | None
    artifacts: Many[ShownArtifact]
    approvals: Many[ShownApproval]
    evidence: Many[ShownEvidence]
    content_read: bool
    derived: bool
    exceptions: Many[Name]
    created: Time
    expires: Time

    def encode(self) -> bytes:
        """The bytes that are shown and confirmed."""
        return _encode(self.model_dump(mode="json")).encode()


def read_shown(content: bytes) -> ShownRequest:
    """What a gate shows; raises `MalformedError`, also for text that could steer a terminal, and `LimitError`."""
    return parse_model(ShownRequest, content, limit=MAX_DOCUMENT)


def shown_sha256(content: bytes) -> str:
    """What a confirmation names a shown request by, hex."""
    return hashlib.sha256(content).hexdigest()


class Confirmation(Strict):
    """``challenge``: the gate's, for one use; ``shown``: SHA-256 of each subject's `ShownRequest`, in their order;
    ``reason``: of a denial.
    """

    decision: Literal["confirm", "deny"]
    person: Name
    challenge: Sha256Text
    shown: Annotated[Many[Sha256Text], Field(min_length=1, max_length=MAX_CONFIRMED)]
    reason: Annotated[str, StringConstraints(min_length=1, max_length=1000)] | None = None
    created: Time


class _Statement(Strict):
    type_: Literal["https://in-toto.io/Statement/v1"] = Field(alias="_type")
    subject: Many[Subject] = Field(min_length=1, max_length=MAX_CONFIRMED)
    predicateType: Text
    predicate: dict[str, object]


@dataclass(frozen=True, slots=True)
class CustodianStatement:
    """``requests``: digest of each request and of what was shown of it. ``digest``: of the statement."""

    requests: tuple[tuple[str, str], ...]
    predicate: Confirmation
    digest: str


def custodian_payload(predicate: Confirmation, requests: list[str]) -> bytes:
    """The bytes to sign about ``requests`` (digests); raises `MalformedError` when they would not parse."""
    body = {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": "request", "digest": {"sha256": digest}} for digest in requests],
        "predicateType": predicate_type(NAME),
        "predicate": predicate.model_dump(mode="json"),
    }
    payload = _encode(body).encode()
    parse_custodian(Envelope(payload, ()))
    return payload


def parse_custodian(envelope: Envelope) -> CustodianStatement:
    """The payload as a custodian's statement; raises `MalformedError`. Verifies nothing."""
    outer = validate_model(_Statement, strict_json(envelope.payload))
    if outer.predicateType != predicate_type(NAME):
        raise MalformedError(
            f"statement of type {outer.predicateType[:80]!r}; wanted {predicate_type(NAME)}",
            code="wrong-statement-type",
        )
    predicate = validate_model(Confirmation, outer.predicate)
    requests = [subject.digest.sha256 for subject in outer.subject]
    if len(requests) != len(predicate.shown) or len(set(requests)) != len(requests):
        raise MalformedError("custodian: wanted each request once, and what was shown of each", code="bad-field")
    if (predicate.decision == "deny") != (predicate.reason is not None):
        raise MalformedError("custodian: a denial, and nothing else, has a reason", code="bad-field")
    rows = tuple(zip(requests, predicate.shown, strict=True))
    return CustodianStatement(rows, predicate, statement_digest(NAME, envelope))
