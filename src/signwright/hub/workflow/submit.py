# SPDX-License-Identifier: Apache-2.0
"""Take a request in: once, within the quota, with its first decision."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime, timedelta

from signwright.errors import AuthenticationError, ConflictError, LimitError
from signwright.hub.workflow.decide import advance
from signwright.hub.workflow.ports import Json, Records, RequestRecord
from signwright.hub.workflow.states import ENDED_BADLY
from signwright.model.spoken import request_id
from signwright.model.times import parse_time
from signwright.policy.facts import Facts
from signwright.policy.policy import Policy
from signwright.statements.dsse import Envelope
from signwright.statements.models import Request, Statement


@dataclass(frozen=True, slots=True)
class Quota:
    """Of one credential: open requests, and bytes of their artifacts."""

    open_requests: int
    open_bytes: int


def submit(
    records: Records,
    policy: Policy,
    facts: Facts,
    *,
    envelope: Envelope,
    caller: str,
    idempotency_key: str | None,
    quota: Quota,
) -> RequestRecord:
    """The new request, or the earlier one that this repeats. ``facts``: gathered from ``envelope`` under ``policy``."""
    if facts.submitter != caller:
        raise AuthenticationError(
            "the request is not signed by the credential that sends it",
            code="not-the-submitter",
            hint="sign it with that credential",
        )
    earlier = records.find(facts.request.digest)
    if earlier is not None and earlier.submitter != caller:
        # Whoever has a receipt has its request, and may sign that statement; it stays the first one's.
        raise AuthenticationError("another credential sent this statement before", code="not-the-submitter")
    if earlier is not None:
        return earlier
    mark = fingerprint(facts.request) if idempotency_key else None
    repeated = _repeated(records, caller, idempotency_key, mark)
    if repeated is not None:
        return repeated
    record = _new_record(policy, facts, envelope)
    record.idempotency_key, record.fingerprint = idempotency_key, mark
    _check_quota(records, record, quota)
    now = int(facts.now.timestamp())
    record.history.append({"state": "submitted", "time": now, "who": caller})
    records.event("submit", who=caller, request_id=record.id, details={"request_sha256": record.digest})
    records.add(record)
    advance(records, policy, record, now=facts.now, who=caller, facts=facts)
    return record


def fingerprint(request: Statement[Request]) -> str:
    """Hex SHA-256 of what is asked for: everything but nonce and times."""
    asked = request.predicate.model_dump(mode="json", exclude={"nonce", "created", "expires"})
    asked["subjects"] = [(s.name, s.digest.sha256) for s in request.subjects]
    return hashlib.sha256(json.dumps(asked, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _repeated(records: Records, caller: str, key: str | None, mark: str | None) -> RequestRecord | None:
    earlier = records.find_by_key(caller, key) if key else None
    if earlier is None or earlier.state in ENDED_BADLY:
        return None
    if earlier.fingerprint != mark:
        raise ConflictError(
            f"idempotency key {key!r} was used for another request, {earlier.id}",
            code="idempotency-key-reused",
            details={"request": earlier.id},
        )
    return earlier


def _new_record(policy: Policy, facts: Facts, envelope: Envelope) -> RequestRecord:
    request = facts.request.predicate
    rule = policy.signing_policy(request.project, request.signing_policy)
    created, expires = parse_time(request.created), parse_time(request.expires)
    deadline = min(expires, created + timedelta(hours=rule.max_request_age_hours)) if rule else expires
    artifacts: list[Json] = [
        {"name": s.name, "sha256": s.digest.sha256, "size": a.size, "format": a.format}
        for s, a in zip(facts.request.subjects, request.artifacts, strict=True)
    ]
    return RequestRecord(
        id=request_id(facts.request.digest),
        digest=facts.request.digest,
        envelope=envelope.encode(),
        project=request.project,
        signing_policy=request.signing_policy,
        kind=rule.kind if rule else "unknown",
        mode=request.mode,
        submitter=facts.submitter or "",
        artifacts=artifacts,
        operations=sum(len(a.operations) for a in request.artifacts),
        created=_seconds(facts.now),
        deadline=_seconds(deadline),
    )


def _seconds(moment: datetime) -> int:
    return int(moment.timestamp())


def _check_quota(records: Records, record: RequestRecord, quota: Quota) -> None:
    requests, stored = records.usage(record.submitter)
    if requests >= quota.open_requests:
        raise LimitError(
            f"{requests} requests of this credential are open; at most {quota.open_requests}", code="too-many-requests"
        )
    if stored + record.size > quota.open_bytes:
        raise LimitError(
            f"{stored} bytes of open requests and {record.size} more; at most {quota.open_bytes}", code="quota-exceeded"
        )
