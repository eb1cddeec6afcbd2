# SPDX-License-Identifier: Apache-2.0
"""The one blob of role ``index`` in each bundle: which blob belongs to which, by digest. Pure.

Nothing in it decides anything. The gate reads requests, approvals and policies from their own signatures, and
cosignatures from the witnesses' keys; the hub reads results as the gate wrote them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import Field

from signwright.errors import MalformedError
from signwright.model.operation import Many, Name, Sha256Text, Strict
from signwright.signer.courier.media.bundle import Manifest
from signwright.transparency.tiles import ENTRIES, WIDTH

#: Of requests in one bundle, and of log files.
MOST_JOBS, MOST_FILES = 1024, 8192
#: (role, digest) of a blob that an index names.
Named = tuple[str, str]


class PolicySet(Strict):
    """A policy with its root; the names of its documents stand in the policy itself."""

    root: Sha256Text
    policy: Sha256Text
    documents: Many[Sha256Text] = Field(max_length=1024)


class Word(Strict):
    kind: Literal["freshness", "halt", "resume"]
    envelope: Sha256Text


class Job(Strict):
    """``request`` and the others: digests of envelopes, ``artifacts``: of files."""

    request: Sha256Text
    approvals: Many[Sha256Text] = Field(default=(), max_length=64)
    evidence: Many[Sha256Text] = Field(default=(), max_length=256)
    artifacts: Many[Sha256Text] = Field(default=(), max_length=1024)


class Answer(Strict):
    """What a witness said to the question with this digest: HTTP status and body."""

    witness: Name
    question: Sha256Text
    status: Literal[200, 404, 409]
    answer: Sha256Text


class EventsHead(Strict):
    head: Sha256Text
    count: int = Field(ge=0)


class OutsideIndex(Strict):
    """``open``: every request that the hub still wants an answer to; ``published``: leaves whose files the hub has."""

    policies: Many[PolicySet] = Field(default=(), max_length=4)
    words: Many[Word] = Field(default=(), max_length=1024)
    jobs: Many[Job] = Field(default=(), max_length=MOST_JOBS)
    answers: Many[Answer] = Field(default=(), max_length=256)
    open: Many[Sha256Text] = Field(default=(), max_length=4 * MOST_JOBS)
    published: int = Field(default=0, ge=0)
    events: EventsHead | None = None

    def named(self) -> Iterator[Named]:
        for policy in self.policies:
            yield from (("policy-root", policy.root), ("policy", policy.policy))
            yield from (("document", sha256) for sha256 in policy.documents)
        yield from ((word.kind, word.envelope) for word in self.words)
        for job in self.jobs:
            yield "request", job.request
            yield from (("approval", sha256) for sha256 in job.approvals)
            yield from (("evidence", sha256) for sha256 in job.evidence)
            yield from (("artifact", sha256) for sha256 in job.artifacts)
        yield from (("answer", answer.answer) for answer in self.answers)


class Question(Strict):
    """``cosign``: an add-checkpoint body; ``latest``: the SHA-256 of a log's origin in hex, for its newest."""

    kind: Literal["cosign", "latest"]
    witness: Name
    question: Sha256Text


class Result(Strict):
    """The gate's result frame about the request with this digest."""

    request: Sha256Text
    result: Sha256Text


class Held(Strict):
    """A request that needs not be brought again. ``state``: the gate's word for what it waits for."""

    request: Sha256Text
    state: Annotated[str, Field(pattern=r"^[a-z][a-z-]{0,40}$")]


class LogFile(Strict):
    """A tile, or an entry bundle (level -1), or with level -2 the checkpoint."""

    level: int = Field(ge=-2, lt=64)
    index: int = Field(ge=0)
    width: int = Field(ge=1, le=WIDTH)
    content: Sha256Text


class SignerState(Strict):
    """What the gate said of itself, for the hub."""

    policy_version: int = Field(ge=0)
    waiting_policy: int | None = None
    freshness: int = Field(ge=0)
    halts: Many[Sha256Text] = Field(default=(), max_length=1024)


class VaultIndex(Strict):
    """``complete``: leaves whose files a hub has when it has those in ``log``, and those of bundles before."""

    questions: Many[Question] = Field(default=(), max_length=256)
    results: Many[Result] = Field(default=(), max_length=4 * MOST_JOBS)
    held: Many[Held] = Field(default=(), max_length=4 * MOST_JOBS)
    log: Many[LogFile] = Field(default=(), max_length=MOST_FILES + 1)
    complete: int = Field(default=0, ge=0)
    signer: SignerState | None = None

    def named(self) -> Iterator[Named]:
        yield from (("question", question.question) for question in self.questions)
        yield from (("result", result.result) for result in self.results)
        yield from (("log", file.content) for file in self.log)


CHECKPOINT = -2
assert ENTRIES == -1


def check_complete(index: OutsideIndex | VaultIndex, manifest: Manifest) -> None:
    """Every blob that the index names is there, and no other; raises `MalformedError`."""
    there = {(str(row.role), row.sha256) for row in manifest.rows if row.role != "index"}
    named = set(index.named())
    for role, sha256 in sorted(named - there):
        raise MalformedError(f"bundle: its index names a {role} {sha256[:16]}… that is not in it", code="bad-index")
    for role, sha256 in sorted(there - named):
        raise MalformedError(f"bundle: a {role} {sha256[:16]}… that its index does not name", code="bad-index")
    counted: Counter[str] = Counter(_subjects(index))
    for sha256, count in counted.items():
        if count > 1:
            raise MalformedError(f"bundle: its index speaks of {sha256[:16]}… twice", code="bad-index")


def _subjects(index: OutsideIndex | VaultIndex) -> Iterator[Any]:
    rows = index.jobs if isinstance(index, OutsideIndex) else index.results
    yield from (row.request for row in rows)
