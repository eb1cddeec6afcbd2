# SPDX-License-Identifier: Apache-2.0
"""The tables. Times are seconds since 1970, digests lower-case hex, lists JSON text. No permission is stored here.

``migrations/`` makes them; a test compares the two.
"""

from __future__ import annotations

from sqlalchemy import Column, Index, Integer, LargeBinary, MetaData, String, Table, Text, text

metadata = MetaData()

policies = Table(
    "policies",
    metadata,
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("sha256", String(64), nullable=False, unique=True),
    Column("bundle", LargeBinary, nullable=False),
    Column("adopted", Integer, nullable=False),
    #: Since when a version that weakens waits for the signer; NULL for one that is or was in force.
    Column("waits_since", Integer),
)

#: What keepers said beside the policy: ``freshness``, ``halt``, ``resume``. ``number``: of the freshness statement; the
#: policy version in force when a halt came; the version that a resume names. ``resumed_at``: of a halt, that version.
keepers_words = Table(
    "keepers_words",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("number", Integer, nullable=False),
    Column("resumed_at", Integer),
    Column("envelope", LargeBinary, nullable=False),
    Column("created", Integer, nullable=False),
)
Index("keepers_words_kind", keepers_words.c.kind, keepers_words.c.number)

requests = Table(
    "requests",
    metadata,
    Column("id", String(24), primary_key=True),
    Column("digest", String(64), nullable=False, unique=True),
    Column("envelope", LargeBinary, nullable=False),
    Column("project", String(64), nullable=False),
    Column("signing_policy", String(64), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("mode", String(16), nullable=False),
    Column("submitter", String(32), nullable=False),
    Column("artifacts", Text, nullable=False),
    Column("operations", Integer, nullable=False),
    Column("size", Integer, nullable=False),
    Column("created", Integer, nullable=False),
    Column("deadline", Integer, nullable=False),
    Column("idempotency_key", String(255)),
    Column("fingerprint", String(64)),
    Column("state", String(24), nullable=False),
    Column("reasons", Text, nullable=False),
    Column("history", Text, nullable=False),
    Column("approvals", Text, nullable=False),
    Column("results", Text, nullable=False),
    Column("finished", Integer),
    Column("purged", Integer),
)
Index("requests_state", requests.c.state, requests.c.deadline)
Index("requests_submitter", requests.c.submitter, requests.c.finished, requests.c.created)
Index(
    "requests_key",
    requests.c.submitter,
    requests.c.idempotency_key,
    sqlite_where=text("idempotency_key IS NOT NULL"),
)
Index("requests_finished", requests.c.finished, requests.c.purged)

#: Artifact mode only: which contents a request needs.
request_artifacts = Table(
    "request_artifacts",
    metadata,
    Column("request_id", String(24), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("submitter", String(32), nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("size", Integer, nullable=False),
)
Index("request_artifacts_content", request_artifacts.c.submitter, request_artifacts.c.sha256)

#: What each credential has sent. Two that send the same content know nothing of each other; the file is stored once.
uploads = Table(
    "uploads",
    metadata,
    Column("submitter", String(32), primary_key=True),
    Column("sha256", String(64), primary_key=True),
    Column("size", Integer, nullable=False),
    Column("partial", String(64)),
    Column("updated", Integer, nullable=False),
)
Index("uploads_content", uploads.c.sha256)

#: Approvals and evidence: signed envelopes about a request.
words = Table(
    "words",
    metadata,
    Column("request_id", String(24), primary_key=True),
    Column("kind", String(16), primary_key=True),
    Column("digest", String(64), primary_key=True),
    Column("envelope", LargeBinary, nullable=False),
    Column("created", Integer, nullable=False),
)

results = Table(
    "results",
    metadata,
    Column("request_id", String(24), primary_key=True),
    Column("frame", LargeBinary, nullable=False),
)

jobs = Table(
    "jobs",
    metadata,
    Column("kind", String(16), primary_key=True),
    Column("request_id", String(24), primary_key=True),
    Column("run_after", Integer, nullable=False),
    Column("lease_until", Integer, nullable=False),
    Column("owner", String(64)),
    Column("fence", Integer, nullable=False),
    Column("attempt", Integer, nullable=False),
)
Index("jobs_ready", jobs.c.kind, jobs.c.lease_until, jobs.c.run_after)

sessions = Table(
    "sessions",
    metadata,
    Column("key_id", String(32), primary_key=True),
    Column("person", String(64), nullable=False),
    Column("envelope", LargeBinary, nullable=False),
    Column("expires", Integer, nullable=False),
)

#: The hub's own events, each with the hash of all before it.
events = Table(
    "events",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("time", Integer, nullable=False),
    Column("kind", String(32), nullable=False),
    Column("who", String(64), nullable=False),
    Column("request_id", String(24)),
    Column("details", Text, nullable=False),
    Column("sha256", String(64), nullable=False),
)
