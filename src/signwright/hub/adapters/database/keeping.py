# SPDX-License-Identifier: Apache-2.0
"""Policies, sessions and retention: what the database keeps, and for how long."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, delete, exists, func, insert, select

from signwright.errors import ConflictError
from signwright.hub.adapters.database.records import SqlRecords
from signwright.hub.adapters.database.schema import (
    policies,
    request_artifacts,
    requests,
    results,
    sessions,
    uploads,
    words,
)
from signwright.identity.sessions import OpenSession
from signwright.policy.policy import Policy

DAY = 86400
#: Unfinished uploads of requests that ended are dropped, others are kept as long as their request is open.
PURGE_BATCH = 100


def newest_policy(connection: Connection) -> bytes | None:
    """The bundle with the highest version."""
    statement = select(policies.c.bundle).order_by(policies.c.version.desc()).limit(1)
    return connection.execute(statement).scalar_one_or_none()


def add_policy(records: SqlRecords, *, policy: Policy, bundle: bytes, who: str, now: datetime) -> None:
    """Keep a verified policy; raises `ConflictError` unless its version is above every other."""
    highest = records.connection.execute(select(func.max(policies.c.version))).scalar_one()
    if highest is not None and policy.version <= highest:
        raise ConflictError(f"policy version {policy.version}; wanted one above {highest}", code="policy-version")
    seconds = int(now.timestamp())
    records.connection.execute(
        insert(policies).values(version=policy.version, sha256=policy.sha256, bundle=bundle, adopted=seconds)
    )
    records.event("policy", who=who, details={"version": policy.version, "policy_sha256": policy.sha256})


def add_session(records: SqlRecords, *, session: OpenSession, envelope: bytes, now: int) -> None:
    """Keep a verified session; the same key again replaces nothing but its own row."""
    connection = records.connection
    connection.execute(delete(sessions).where((sessions.c.expires <= now) | (sessions.c.key_id == session.key.key_id)))
    row = {
        "key_id": session.key.key_id,
        "person": session.person,
        "envelope": envelope,
        "expires": int(session.expires.timestamp()),
    }
    connection.execute(insert(sessions), row)
    records.event("login", who=session.person, details={"session_key": session.key.key_id})


def stored_sessions(connection: Connection, *, now: int) -> list[bytes]:
    """Envelopes of sessions that may still hold; the caller verifies them again."""
    return list(connection.execute(select(sessions.c.envelope).where(sessions.c.expires > now)).scalars())


def purgeable(records: SqlRecords, *, policy: Policy, now: int) -> list[str]:
    """Ended requests whose contents the policy does not want to be kept any longer."""
    columns = (requests.c.id, requests.c.project, requests.c.signing_policy, requests.c.kind, requests.c.finished)
    waiting = select(*columns).where(requests.c.finished.is_not(None), requests.c.purged.is_(None))
    return [
        row.id
        for row in records.connection.execute(waiting.order_by(requests.c.finished))
        if now >= row.finished + DAY * retention_days(policy, row.project, row.signing_policy, row.kind)
    ][:PURGE_BATCH]


def retention_days(policy: Policy, project: str, signing_policy: str, kind: str) -> int:
    """As the signing policy says; for a release never below the organisation's minimum."""
    rule = policy.signing_policy(project, signing_policy)
    minimum = policy.organisation.release.retention_days if kind == "release" else 0
    return max(rule.retention_days if rule else 0, minimum)


def purge(records: SqlRecords, *, request_id: str, now: int) -> list[str]:
    """Forget the contents of a request, not that it was. Returns digests whose files nobody refers to any more."""
    record = records.find(request_id)
    if record is None or record.purged is not None:
        return []
    connection = records.connection
    connection.execute(delete(results).where(results.c.request_id == request_id))
    connection.execute(delete(words).where(words.c.request_id == request_id))
    connection.execute(delete(request_artifacts).where(request_artifacts.c.request_id == request_id))
    digests = sorted({str(a["sha256"]) for a in record.artifacts}) if record.mode == "artifact" else []
    still_needed = exists().where(
        request_artifacts.c.submitter == uploads.c.submitter, request_artifacts.c.sha256 == uploads.c.sha256
    )
    connection.execute(
        delete(uploads).where(uploads.c.submitter == record.submitter, uploads.c.sha256.in_(digests), ~still_needed)
    )
    record.purged, record.results = now, []
    records.save(record)
    records.event("deletion", who="hub", request_id=request_id, details={"contents": len(digests)})
    kept = set(connection.execute(select(uploads.c.sha256).where(uploads.c.sha256.in_(digests))).scalars())
    return [digest for digest in digests if digest not in kept]


def stale_partials(records: SqlRecords, *, now: int) -> set[str]:
    """Drop unfinished uploads that no open request wants, untouched for a day; returns the partial files to keep."""
    connection = records.connection
    wanted = exists().where(
        request_artifacts.c.submitter == uploads.c.submitter,
        request_artifacts.c.sha256 == uploads.c.sha256,
        requests.c.id == request_artifacts.c.request_id,
        requests.c.finished.is_(None),
    )
    connection.execute(delete(uploads).where(uploads.c.partial.is_not(None), uploads.c.updated < now - DAY, ~wanted))
    return set(connection.execute(select(uploads.c.partial).where(uploads.c.partial.is_not(None))).scalars())
