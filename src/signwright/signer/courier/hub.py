# SPDX-License-Identifier: Apache-2.0
"""The courier's calls to the hub, each with an RFC 9421 message signature of its transport key."""

from __future__ import annotations

import base64
import json
import secrets
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from signwright.errors import ConflictError, MalformedError, SignwrightError, UnavailableError
from signwright.identity.messages import MessageParts, sign_message
from signwright.model.base64text import strict_base64
from signwright.model.framing import Frame, encode_frame
from signwright.signer.courier.http import UNREACHABLE, HttpClient
from signwright.statements.keys import key_id_of

#: Bytes of an answer to a poll.
MAX_POLL = 64 << 20
RESULT_TYPE = "application/vnd.signwright.result"
_SLACK_SECONDS = 15.0
_OK, _CONFLICT = 200, 409


@dataclass(frozen=True, slots=True)
class CarriedPolicy:
    """A policy as the hub sends it. Nothing in it is verified here."""

    root: bytes
    policy: bytes
    documents: dict[str, bytes]
    sha256: str


@dataclass(frozen=True, slots=True)
class CarriedJob:
    """A request that the hub wants signed. ``id``: the hub's name for it; ``fence``: of the hub's lease, repeated
    to it.
    """

    id: str
    fence: int | None
    lease_seconds: int
    request: bytes
    approvals: tuple[bytes, ...]
    evidence: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class CarriedWords:
    """What keepers said besides the policy: (kind, envelope), in the order in which the gate hears them.

    ``sha256``: the hub's name for the set.
    """

    sha256: str | None
    words: tuple[tuple[str, bytes], ...]


@dataclass(frozen=True, slots=True)
class Work:
    """An answer to a poll. ``events_head``: members ``head`` and ``count`` of the hub's own chain of events."""

    policy: CarriedPolicy | None
    jobs: tuple[CarriedJob, ...]
    events_head: dict[str, object] | None
    words: CarriedWords | None = None


@dataclass(slots=True)
class Carried:
    """What the gate was given, and what it said of itself last; goes along with each poll."""

    policy_sha256: str | None = None
    words_sha256: str | None = None
    signer: dict[str, object] | None = None


class Hub:
    """``client``: with the hub's address as base. Every method raises `UnavailableError` when the hub does
    not do it.
    """

    def __init__(self, client: HttpClient, key: Ed25519PrivateKey) -> None:
        self._client = client
        self._key = key
        self._key_id = key_id_of(key.public_key().public_bytes_raw())

    async def poll(self, *, most: int, wait: int, carried: Carried) -> Work:
        """What there is to do, after at most ``wait`` seconds."""
        body = {
            "max": most,
            "wait": wait,
            "policy_sha256": carried.policy_sha256,
            "words_sha256": carried.words_sha256,
            "signer": carried.signer,
        }
        answer = await self._json("POST", "/v1/courier/poll", body, seconds=wait + _SLACK_SECONDS)
        policy, jobs = answer.get("policy"), answer.get("jobs")
        try:
            return Work(
                policy=_policy(policy) if isinstance(policy, dict) else None,
                jobs=tuple(map(_job, jobs)) if isinstance(jobs, list) else (),
                events_head=_events_head(answer.get("events_head")),
                words=_words(answer.get("words")),
            )
        except (KeyError, TypeError, ValueError, AttributeError, MalformedError) as problem:
            raise UnavailableError("the hub's answer to a poll does not parse", code="bad-hub-answer") from problem

    async def progress(self, states: Mapping[CarriedJob, str]) -> frozenset[str]:
        """Where each job is; extends its lease. Ids of those that are no longer ours."""
        rows = [{"id": job.id, "state": state, "fence": job.fence} for job, state in states.items()]
        answer = await self._json("POST", "/v1/courier/progress", {"jobs": rows}, seconds=_SLACK_SECONDS)
        lost = answer.get("lost")
        return frozenset(map(str, lost)) if isinstance(lost, list) else frozenset()

    async def result(self, job: CarriedJob, frame: Frame) -> None:
        """Deliver what the gate said about a job. Raises `ConflictError` when the job is no longer ours."""
        content = encode_frame(frame.message, frame.parts)
        query = "" if job.fence is None else f"fence={job.fence}"
        await self._call("PUT", f"/v1/courier/results/{job.id}", content, kind=RESULT_TYPE, seconds=60.0, query=query)

    async def results(self, answers: Sequence[tuple[CarriedJob, Frame]]) -> list[SignwrightError | None]:
        """Several at once; for each what `result` would raise, or None. Raises `UnavailableError`."""
        rows = [{"id": job.id, "fence": job.fence} for job, _ in answers]
        content = encode_frame({"results": rows}, [encode_frame(frame.message, frame.parts) for _, frame in answers])
        body = await self._call("POST", "/v1/courier/results", content, kind=RESULT_TYPE, seconds=60.0)
        said = _object(body).get("results")
        if not isinstance(said, list) or len(said) != len(answers):
            raise UnavailableError("the hub's answer to results does not parse", code="bad-hub-answer")
        return [_outcome(job, row) for (job, _), row in zip(answers, said, strict=True)]

    async def publish(self, paths: Sequence[str], contents: Sequence[bytes]) -> None:
        """Files of the log, to be written in this order."""
        content = encode_frame({"paths": list(paths)}, contents)
        await self._call("POST", "/v1/courier/log", content, kind="application/octet-stream", seconds=60.0)

    @asynccontextmanager
    async def artifact(self, sha256: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """The bytes of an artifact in blocks."""
        path = f"/v1/courier/artifacts/sha256:{sha256}"
        headers = self._signed("GET", path, b"")
        try:
            async with self._client.stream("GET", path, headers=headers, seconds=60.0) as (status, blocks):
                if status != _OK:
                    raise UnavailableError(f"hub: artifact: HTTP status {status}", code="hub-status")
                yield blocks
        except UnavailableError as problem:
            raise _told("artifact", problem) from problem

    async def _json(self, method: str, path: str, body: object, *, seconds: float) -> dict[str, object]:
        content = json.dumps(body, separators=(",", ":")).encode()
        return _object(await self._call(method, path, content, kind="application/json", seconds=seconds))

    async def _call(
        self, method: str, path: str, content: bytes, *, kind: str, seconds: float, query: str = ""
    ) -> bytes:
        headers = {"content-type": kind, **self._signed(method, path, content, query)}
        url = f"{path}?{query}" if query else path
        try:
            answer = await self._client.call(
                method, url, content=content, headers=headers, seconds=seconds, limit=MAX_POLL
            )
        except UnavailableError as problem:
            raise _told(f"{method} {path}", problem) from problem
        if answer.status == _CONFLICT:
            raise ConflictError(f"hub: {method} {path}: it says that this is out of date", code="stale")
        if not answer.is_success:
            raise UnavailableError(f"hub: {method} {path}: HTTP status {answer.status}", code="hub-status")
        return answer.body

    def _signed(self, method: str, path: str, body: bytes, query: str = "") -> dict[str, str]:
        parts = MessageParts.with_body(method, path, query, body)
        nonce = base64.urlsafe_b64encode(secrets.token_bytes(16)).rstrip(b"=").decode()
        return sign_message(parts, key_id=self._key_id, sign=self._key.sign, created=int(time.time()), nonce=nonce)


def _told(what: str, problem: UnavailableError) -> UnavailableError:
    """With the hub's name where there was no answer; anything else says itself what it is."""
    if problem.code != UNREACHABLE:
        return problem
    return UnavailableError(f"hub: {what}: {problem.message}", code="hub-unreachable")


def _object(answer: bytes) -> dict[str, object]:
    try:
        parsed = json.loads(answer) if answer else {}
    except (ValueError, RecursionError) as problem:
        raise UnavailableError("the hub's answer is not JSON", code="bad-hub-answer") from problem
    if not isinstance(parsed, dict):
        raise UnavailableError("the hub's answer is not a JSON object", code="bad-hub-answer")
    return parsed


def _outcome(job: CarriedJob, row: object) -> SignwrightError | None:
    """What the hub says about one of several results."""
    if not isinstance(row, dict) or row.get("id") != job.id:
        return UnavailableError(f"hub: nothing about the result of {job.id}", code="bad-hub-answer")
    status = row.get("status")
    if status == _OK:
        return None
    if status == _CONFLICT:
        return ConflictError(f"hub: result of {job.id}: it says that this is out of date", code="stale")
    return UnavailableError(f"hub: result of {job.id}: status {str(status)[:20]}", code="hub-status")


def _events_head(row: object) -> dict[str, object] | None:
    """These two members and no other: what the hub adds must not become a message of ours to the gate."""
    return {"head": row["head"], "count": row["count"]} if isinstance(row, dict) else None


def _words(row: object) -> CarriedWords | None:
    if not isinstance(row, dict):
        return None
    words = [(str(one["kind"]), strict_base64(str(one["envelope"]))) for one in row["envelopes"]]
    sha256 = row["sha256"]
    return CarriedWords(str(sha256) if sha256 is not None else None, tuple(words))


def _policy(row: dict[str, object]) -> CarriedPolicy:
    documents = row["documents"]
    if not isinstance(documents, dict):
        raise TypeError("documents are not an object")
    contents = {str(name): strict_base64(text) for name, text in documents.items()}
    return CarriedPolicy(
        strict_base64(str(row["root"])), strict_base64(str(row["policy"])), contents, str(row["sha256"])
    )


def _job(row: dict[str, object]) -> CarriedJob:
    lists = [row["approvals"], row["evidence"]]
    approvals, evidence = (tuple(strict_base64(text) for text in one) for one in lists if isinstance(one, list))
    fence, lease = row.get("fence"), row.get("lease_seconds")
    return CarriedJob(
        id=str(row["id"]),
        fence=fence if isinstance(fence, int) else None,
        lease_seconds=lease if isinstance(lease, int) and lease > 0 else 60,
        request=strict_base64(str(row["request"])),
        approvals=approvals,
        evidence=evidence,
    )
