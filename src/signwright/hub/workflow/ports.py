# SPDX-License-Identifier: Apache-2.0
"""What the workflow needs from the outside. Adapters keep these promises; `signwright.hub.bootstrap` joins the two."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from signwright.hub.workflow.states import FINAL, State

Json = dict[str, object]


@dataclass(slots=True)
class RequestRecord:
    """One request as it is stored. Times are seconds since 1970; ``deadline``: when it expires if it is still open.

    ``envelope`` is the signed request, the truth; the other fields repeat it for queries and views.
    ``history``: ``{state, time, who}``; ``reasons``: as `Reason.as_json`; ``results``: ``{artifact, result_sha256,
    has_patch}``; ``fingerprint``: digest of what was asked for, without nonce and times.
    """

    id: str
    digest: str
    envelope: bytes
    project: str
    signing_policy: str
    kind: str
    mode: str
    submitter: str
    artifacts: list[Json]
    operations: int
    created: int
    deadline: int
    idempotency_key: str | None = None
    fingerprint: str | None = None
    state: State = State.SUBMITTED
    reasons: list[Json] = field(default_factory=list)
    history: list[Json] = field(default_factory=list)
    approvals: list[Json] = field(default_factory=list)
    results: list[Json] = field(default_factory=list)
    finished: int | None = None
    purged: int | None = None

    @property
    def is_final(self) -> bool:
        return self.state in FINAL

    @property
    def size(self) -> int:
        """Bytes that this request wants to store: nothing in digest mode."""
        return sum(int(str(a["size"])) for a in self.artifacts) if self.mode == "artifact" else 0


@dataclass(frozen=True, slots=True)
class Claim:
    """A job that its owner may work on until the lease ends. ``fence`` grows with each claim."""

    request_id: str
    fence: int
    attempt: int


@dataclass(frozen=True, slots=True)
class KeepersWord:
    """A freshness statement, halt or resume whose signature held under the policy of its time.

    ``number``: of the freshness statement; the policy version in force when a halt came; the one that a resume names.
    ``resumed_at``: of a halt, the version that its resume names.
    """

    kind: str
    digest: str
    number: int
    envelope: bytes
    resumed_at: int | None = None


@dataclass(frozen=True, slots=True)
class Upload:
    """What one credential has sent of one content. ``partial``: name of the unfinished file, None when complete."""

    submitter: str
    sha256: str
    size: int
    partial: str | None


class Jobs(Protocol):
    """Work that somebody must do: ``examine`` (this process) or ``sign`` (the courier)."""

    def put(self, kind: str, request_id: str, *, run_after: int) -> None: ...
    def claim(self, kind: str, *, owner: str, now: int, lease: int, most: int) -> list[Claim]: ...
    def extend(self, kind: str, request_id: str, *, fence: int, until: int) -> bool: ...
    def holds(self, kind: str, request_id: str, *, fence: int) -> bool: ...
    def put_back(self, kind: str, request_id: str, *, run_after: int) -> None: ...
    def remove(self, request_id: str) -> None: ...
    def expired(self, kind: str, *, now: int) -> list[str]: ...


class Records(Protocol):
    """Everything stored about requests, inside one transaction."""

    @property
    def jobs(self) -> Jobs: ...
    def find(self, reference: str) -> RequestRecord | None: ...
    def find_by_key(self, submitter: str, key: str) -> RequestRecord | None: ...
    def add(self, record: RequestRecord) -> None: ...
    def save(self, record: RequestRecord) -> None: ...
    def usage(self, submitter: str) -> tuple[int, int]: ...
    def operations_since(self, project: str, signing_policies: Sequence[str], since: int) -> int: ...
    def add_word(self, kind: str, request_id: str, digest: str, envelope: bytes, *, now: int) -> bool: ...
    def words(self, kind: str, request_id: str) -> list[bytes]: ...
    def newest_freshness(self) -> bytes | None: ...
    def halts(self, policy_version: int) -> list[str]: ...
    def missing(self, record: RequestRecord) -> list[str]: ...
    def waiting_for(self, submitter: str, sha256: str) -> list[RequestRecord]: ...
    def open_ids(self) -> list[str]: ...
    def due(self, now: int) -> list[str]: ...
    def without_job(self) -> list[str]: ...
    def set_result(self, request_id: str, frame: bytes) -> None: ...
    def result(self, request_id: str) -> bytes | None: ...
    def event(self, kind: str, *, who: str, request_id: str | None = None, details: Json | None = None) -> None: ...


class ScannerPort(Protocol):
    """The scanner process. Blocking; raises `UnavailableError` when there is no answer."""

    def scan(self, descriptor: int, *, name: str, sha256: str, size: int) -> bytes: ...
