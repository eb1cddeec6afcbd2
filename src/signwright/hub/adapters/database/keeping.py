# SPDX-License-Identifier: Apache-2.0
"""Policies, sessions and retention: what the database keeps, and for how long."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, delete, exists, func, insert, select, update

from signwright.errors import ConflictError, LimitError
from signwright.hub.adapters.database.records import SqlRecords
from signwright.hub.adapters.database.schema import (
    keepers_words,
    policies,
    request_artifacts,
    requests,
    results,
    sessions,
    uploads,
    words,
)
from signwright.hub.workflow.ports import KeepersWord
from signwright.identity.sessions import OpenSession
from signwright.policy.policy import Policy

DAY = 86400
_WORD = ("kind", "digest", "number", "envelope", "resumed_at")
#: Halts, and resumes, that are kept.
MOST_WORDS = 256
#: Unfinished uploads of requests that ended are dropped, others are kept as long as their request is open.
PURGE_BATCH = 100


def newest_policies(connection: Connection) -> tuple[bytes | None, tuple[bytes, int] | None]:
    """The bundle of the highest version in force, and bundle and time of a higher one that waits."""
    newest = select(policies.c.bundle, policies.c.version, policies.c.waits_since).order_by(policies.c.version.desc())
    in_force = connection.execute(newest.where(policies.c.waits_since.is_(None)).limit(1)).first()
    highest = connection.execute(newest.limit(1)).first()
    waits = highest is not None and highest.waits_since is not None
    return in_force and in_force.bundle, (highest.bundle, highest.waits_since) if highest and waits else None


def add_policy(
    records: SqlRecords, *, policy: Policy, bundle: bytes, who: str, now: datetime, waits: bool = False
) -> None:
    """Keep a verified policy; raises `ConflictError` unless its version is above every other."""
    highest = records.connection.execute(select(func.max(policies.c.version))).scalar_one()
    if highest is not None and policy.version <= highest:
        raise ConflictError(f"policy version {policy.version}; wanted one above {highest}", code="policy-version")
    seconds = int(now.timestamp())
    row = {"version": policy.version, "sha256": policy.sha256, "bundle": bundle, "adopted": seconds}
    records.connection.execute(insert(policies).values(**row, waits_since=seconds if waits else None))
    kind = "policy-waits" if waits else "policy"
    records.event(kind, who=who, details={"version": policy.version, "policy_sha256": policy.sha256})


def put_in_force(records: SqlRecords, *, policy: Policy, who: str) -> None:
    """A policy that waited counts from now on."""
    changed = update(policies).where(policies.c.version == policy.version).values(waits_since=None)
    records.connection.execute(changed)
    records.event("policy", who=who, details={"version": policy.version, "policy_sha256": policy.sha256})


def add_keepers_word(records: SqlRecords, *, word: KeepersWord, ends: Sequence[str], who: str, now: datetime) -> bool:
    """Keep a verified word; False when it was there. ``ends``: halts that it ends.

    Raises `ConflictError` for a freshness statement that is no newer than one that was kept, and `LimitError`.
    """
    connection, table = records.connection, keepers_words
    if connection.execute(select(table.c.kind).where(table.c.digest == word.digest)).first() is not None:
        return False
    same = table.c.kind == word.kind
    count, highest = connection.execute(select(func.count(), func.max(table.c.number)).where(same)).one()
    if word.kind == "freshness":
        if highest is not None and word.number <= highest:
            raise ConflictError(f"freshness number {word.number}; wanted one above {highest}", code="freshness-old")
        connection.execute(delete(table).where(same))
    elif count >= MOST_WORDS:
        raise LimitError(f"{count} statements of kind {word.kind} are kept", code="too-many-requests")
    values = {name: getattr(word, name) for name in _WORD}
    connection.execute(insert(table).values(**values, created=int(now.timestamp())))
    ended = update(table).where(table.c.kind == "halt", table.c.digest.in_(ends)).values(resumed_at=word.number)
    if ends:
        connection.execute(ended)
    records.event(word.kind, who=who, details={"statement": word.digest, "number": word.number})
    return True


def keepers_words_of(connection: Connection) -> list[KeepersWord]:
    """All that are kept, in the order of `signwright.hub.standing`."""
    columns = [keepers_words.c[name] for name in _WORD]
    rows = connection.execute(
        select(*columns).order_by(keepers_words.c.kind, keepers_words.c.number, keepers_words.c.digest)
    )
    return [KeepersWord(**row._mapping) for row in rows]  # noqa: SLF001 - SQLAlchemy's documented name


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
