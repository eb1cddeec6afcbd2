# SPDX-License-Identifier: Apache-2.0
"""The `Records` port on one SQLAlchemy connection. Statements are built once, executed many times."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

from sqlalchemy import Connection, and_, bindparam, exists, func, or_, select, update
from sqlalchemy.dialects.sqlite import insert

from signwright.hub.adapters.database.events import canonical
from signwright.hub.adapters.database.hot import Hot, driver_of
from signwright.hub.adapters.database.schema import (
    jobs,
    keepers_words,
    request_artifacts,
    requests,
    results,
    uploads,
    words,
)
from signwright.hub.jobs.leases import Leases
from signwright.hub.workflow.ports import Json, RequestRecord, Upload
from signwright.hub.workflow.states import OPEN, State
from signwright.policy.succession import has_ended

_LISTS = ("artifacts", "reasons", "history", "approvals", "results")
_CHANGING = ("state", "reasons", "history", "approvals", "results", "finished", "purged")
_OPEN = sorted(str(state) for state in OPEN)
_NAMES = tuple(column.name for column in requests.c)
_FIELDS: tuple[str, ...] = tuple(RequestRecord.__slots__)
_values_of = attrgetter(*_FIELDS)
#: Larger result frames are not kept in memory for whoever waits; they are read from the database again.
_MOST_NOTICED = 1 << 20
_encode = json.JSONEncoder(separators=(",", ":")).encode

_BY_ID = Hot(select(requests).where(requests.c.id == bindparam("reference")))
_BY_DIGEST = Hot(select(requests).where(requests.c.digest == bindparam("reference")))
_BY_KEY = Hot(
    select(requests)
    .where(requests.c.submitter == bindparam("submitter"), requests.c.idempotency_key == bindparam("key"))
    .order_by(requests.c.created.desc(), requests.c.finished.is_(None).desc())
    .limit(1)
)
_ADD = Hot(insert(requests))
_SAVE = Hot(
    update(requests).where(requests.c.id == bindparam("b_id")).values({name: bindparam(name) for name in _CHANGING})
)
_USAGE = Hot(
    select(func.count(), func.coalesce(func.sum(requests.c.size), 0)).where(
        requests.c.submitter == bindparam("submitter"), requests.c.finished.is_(None)
    )
)
_ADD_WORD = Hot(insert(words).on_conflict_do_nothing())
_WORDS = Hot(
    select(words.c.envelope)
    .where(words.c.request_id == bindparam("request_id"), words.c.kind == bindparam("kind"))
    .order_by(words.c.created, words.c.digest)
)
_FRESHNESS = Hot(
    select(keepers_words.c.envelope)
    .where(keepers_words.c.kind == "freshness")
    .order_by(keepers_words.c.number.desc())
    .limit(1)
)
_HALTS = Hot(
    select(keepers_words.c.digest, keepers_words.c.number, keepers_words.c.resumed_at)
    .where(keepers_words.c.kind == "halt")
    .order_by(keepers_words.c.created, keepers_words.c.digest)
)
_NEEDS = insert(request_artifacts)
_MISSING = (
    select(request_artifacts.c.sha256)
    .where(
        request_artifacts.c.request_id == bindparam("request_id"),
        ~exists().where(
            uploads.c.submitter == request_artifacts.c.submitter,
            uploads.c.sha256 == request_artifacts.c.sha256,
            uploads.c.partial.is_(None),
        ),
    )
    .distinct()
)
_WAITING_FOR = (
    select(requests)
    .join(request_artifacts, request_artifacts.c.request_id == requests.c.id)
    .where(
        request_artifacts.c.submitter == bindparam("submitter"),
        request_artifacts.c.sha256 == bindparam("sha256"),
        requests.c.finished.is_(None),
    )
    .distinct()
)
_UPLOAD = select(uploads).where(uploads.c.submitter == bindparam("submitter"), uploads.c.sha256 == bindparam("sha256"))
_WANTED = (
    select(request_artifacts.c.size)
    .join(requests, requests.c.id == request_artifacts.c.request_id)
    .where(
        request_artifacts.c.submitter == bindparam("submitter"),
        request_artifacts.c.sha256 == bindparam("sha256"),
        requests.c.finished.is_(None),
    )
    .limit(1)
)
_SIGNING = (
    select(request_artifacts.c.size)
    .join(requests, requests.c.id == request_artifacts.c.request_id)
    .where(request_artifacts.c.sha256 == bindparam("sha256"), requests.c.state == State.SIGNING.value)
    .limit(1)
)
_OPEN_IDS = select(requests.c.id).where(requests.c.finished.is_(None)).order_by(requests.c.created)
_DUE = (
    select(requests.c.id)
    .where(
        requests.c.state.in_([s for s in _OPEN if s != State.SIGNING.value]), requests.c.deadline <= bindparam("now")
    )
    .order_by(requests.c.deadline)
)
_WITHOUT_JOB = select(requests.c.id).where(
    or_(
        (requests.c.state == State.SCANNING.value)
        & ~exists().where(jobs.c.request_id == requests.c.id, jobs.c.kind == "examine"),
        requests.c.state.in_([State.AUTHORIZED.value, State.SIGNING.value])
        & ~exists().where(jobs.c.request_id == requests.c.id, jobs.c.kind == "sign"),
    )
)
_SET_RESULT = Hot(insert(results).on_conflict_do_nothing())
_RESULT = Hot(select(results.c.frame).where(results.c.request_id == bindparam("request_id")))
_PUT_UPLOAD = insert(uploads)
_PUT_UPLOAD = _PUT_UPLOAD.on_conflict_do_update(
    index_elements=[uploads.c.submitter, uploads.c.sha256],
    set_={name: _PUT_UPLOAD.excluded[name] for name in ("size", "partial", "updated")},
)


@dataclass(slots=True)
class PendingEvent:
    """An event that the writer will chain when its transaction holds."""

    kind: str
    who: str
    request_id: str | None
    details: str


@dataclass(slots=True)
class Notices:
    """What changed, for wake-ups after the commit. ``results``: small result frames that are new."""

    records: dict[str, RequestRecord] = field(default_factory=dict)
    results: dict[str, bytes] = field(default_factory=dict)
    job_kinds: set[str] = field(default_factory=set)


class SqlRecords:
    """See `signwright.hub.workflow.ports.Records`; upload and list queries of the web layer stand here too."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._driver = driver_of(connection)
        self.jobs = Leases(self._driver)
        self.events: list[PendingEvent] = []
        self.changed: dict[str, RequestRecord] = {}
        self.new_results: dict[str, bytes] = {}
        self._new: set[str] = set()
        self._dirty: set[str] = set()

    def _request(self, statement: Hot, values: dict[str, object]) -> RequestRecord | None:
        row = statement.run(self._driver, values).fetchone()
        return None if row is None else record_of(row)

    def find(self, reference: str) -> RequestRecord | None:
        """By id or by request digest."""
        for record in self.changed.values():
            if reference in {record.id, record.digest}:
                return record
        statement = _BY_ID if reference.startswith("r-") else _BY_DIGEST
        return self._request(statement, {"reference": reference})

    def find_by_key(self, submitter: str, key: str) -> RequestRecord | None:
        """The newest request of this credential with this idempotency key."""
        return self._request(_BY_KEY, {"submitter": submitter, "key": key})

    def add(self, record: RequestRecord) -> None:
        """The row itself is written by `flush`, once, however often the record is saved before."""
        self._new.add(record.id)
        if record.mode == "artifact":
            rows = [
                {
                    "request_id": record.id,
                    "position": i,
                    "submitter": record.submitter,
                    "sha256": a["sha256"],
                    "size": a["size"],
                }
                for i, a in enumerate(record.artifacts)
            ]
            self.connection.execute(_NEEDS, rows)
        self.changed[record.id] = record

    def save(self, record: RequestRecord) -> None:
        self._dirty.add(record.id)
        self.changed[record.id] = record

    def flush(self) -> None:
        """Write what was added and saved. The writer calls it at the end; queries that would miss it call it first."""
        for request_id in self._new:
            _ADD.run(self._driver, _row_of(self.changed[request_id]))
        for request_id in self._dirty - self._new:
            _SAVE.run(self._driver, {"b_id": request_id, **_changing(self.changed[request_id])})
        self._new.clear()
        self._dirty.clear()

    def usage(self, submitter: str) -> tuple[int, int]:
        """(open requests, bytes of their artifacts)."""
        self.flush()
        count, size = _USAGE.run(self._driver, {"submitter": submitter}).fetchone()
        return int(count), int(size)

    def operations_since(self, project: str, signing_policies: Sequence[str], since: int) -> int:
        self.flush()
        statement = select(func.coalesce(func.sum(requests.c.operations), 0)).where(
            requests.c.project == project,
            requests.c.signing_policy.in_(signing_policies),
            requests.c.state == State.COMPLETED.value,
            requests.c.finished >= since,
        )
        return int(self.connection.execute(statement).scalar_one())

    def add_word(self, kind: str, request_id: str, digest: str, envelope: bytes, *, now: int) -> bool:
        """False when it was there."""
        values = {"kind": kind, "request_id": request_id, "digest": digest, "envelope": envelope, "created": now}
        return _ADD_WORD.run(self._driver, values).rowcount == 1

    def words(self, kind: str, request_id: str) -> list[bytes]:
        return [envelope for (envelope,) in _WORDS.run(self._driver, {"kind": kind, "request_id": request_id})]

    def newest_freshness(self) -> bytes | None:
        """The envelope with the highest number; whether it holds is for whoever decides."""
        row = _FRESHNESS.run(self._driver, {}).fetchone()
        return None if row is None else row[0]

    def halts(self, policy_version: int) -> list[str]:
        """Digests of the halts that are not over while a policy of this version is in force."""
        rows = _HALTS.run(self._driver, {})
        return [digest for digest, under, resumed in rows if not has_ended(under, resumed, policy_version)]

    def missing(self, record: RequestRecord) -> list[str]:
        """Hex digests of contents that the submitter has not sent, in the order of the artifacts."""
        if record.mode != "artifact":
            return []
        found = set(self.connection.execute(_MISSING, {"request_id": record.id}).scalars())
        return [d for d in dict.fromkeys(str(a["sha256"]) for a in record.artifacts) if d in found]

    def waiting_for(self, submitter: str, sha256: str) -> list[RequestRecord]:
        self.flush()
        rows = self.connection.execute(_WAITING_FOR, {"submitter": submitter, "sha256": sha256})
        return [record_of(row) for row in rows]

    def open_ids(self) -> list[str]:
        self.flush()
        return list(self.connection.execute(_OPEN_IDS).scalars())

    def due(self, now: int) -> list[str]:
        """Open requests past their deadline that the signer does not have."""
        self.flush()
        return list(self.connection.execute(_DUE, {"now": now}).scalars())

    def without_job(self) -> list[str]:
        self.flush()
        return list(self.connection.execute(_WITHOUT_JOB).scalars())

    def set_result(self, request_id: str, frame: bytes) -> None:
        added = _SET_RESULT.run(self._driver, {"request_id": request_id, "frame": frame}).rowcount == 1
        if added and len(frame) <= _MOST_NOTICED:
            self.new_results[request_id] = frame

    def result(self, request_id: str) -> bytes | None:
        row = _RESULT.run(self._driver, {"request_id": request_id}).fetchone()
        return None if row is None else row[0]

    def event(self, kind: str, *, who: str, request_id: str | None = None, details: Json | None = None) -> None:
        """Recorded with the transaction, chained when it commits."""
        self.events.append(PendingEvent(kind, who, request_id, canonical(details or {})))

    def upload(self, submitter: str, sha256: str) -> Upload | None:
        row = self.connection.execute(_UPLOAD, {"submitter": submitter, "sha256": sha256}).first()
        return None if row is None else Upload(row.submitter, row.sha256, row.size, row.partial)

    def put_upload(self, upload: Upload, *, now: int) -> None:
        values = {
            "submitter": upload.submitter,
            "sha256": upload.sha256,
            "size": upload.size,
            "partial": upload.partial,
        }
        self.connection.execute(_PUT_UPLOAD, values | {"updated": now})

    def wanted_size(self, submitter: str, sha256: str) -> int | None:
        """The size that an open request of this credential states for a content; None when there is no such request."""
        return self.connection.execute(_WANTED, {"submitter": submitter, "sha256": sha256}).scalar_one_or_none()

    def size_being_signed(self, sha256: str) -> int | None:
        """The size of a content that the signer is working on; None for any other."""
        return self.connection.execute(_SIGNING, {"sha256": sha256}).scalar_one_or_none()

    def listed(
        self, *, submitter: str | None, state: str | None, limit: int, before: tuple[int, str] | None = None
    ) -> list[RequestRecord]:
        """Newest first; ``before``: creation and id of the last one of the page before."""
        statement = select(requests).order_by(requests.c.created.desc(), requests.c.id).limit(limit)
        if submitter is not None:
            statement = statement.where(requests.c.submitter == submitter)
        if state is not None:
            statement = statement.where(requests.c.state == state)
        if before is not None:
            created, request_id = before
            same = and_(requests.c.created == created, requests.c.id > request_id)
            statement = statement.where(or_(requests.c.created < created, same))
        return [record_of(row) for row in self.connection.execute(statement)]


def record_of(row: Sequence[Any]) -> RequestRecord:
    """A row of ``requests``, all columns in their order, as the workflow knows it."""
    values = dict(zip(_NAMES, row, strict=True))
    del values["size"]
    for name in _LISTS:
        text = values[name]
        values[name] = json.loads(text) if text != "[]" else []
    values["state"] = State(values["state"])
    return RequestRecord(**values)


def _text(rows: list[Json]) -> str:
    return _encode(rows) if rows else "[]"


def _row_of(record: RequestRecord) -> dict[str, object]:
    row = dict(zip(_FIELDS, _values_of(record), strict=True))
    return row | _changing(record) | {"artifacts": _text(record.artifacts), "size": record.size}


def _changing(record: RequestRecord) -> dict[str, object]:
    """The columns that `SqlRecords.save` writes."""
    return {
        "state": record.state.value,
        "reasons": _text(record.reasons),
        "history": _text(record.history),
        "approvals": _text(record.approvals),
        "results": _text(record.results),
        "finished": record.finished,
        "purged": record.purged,
    }
