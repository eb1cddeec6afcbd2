# SPDX-License-Identifier: Apache-2.0
"""``/v1/courier``: the signer's relay fetches work and artifacts, reports progress, brings results and log files.

A job in a poll's answer carries ``fence`` and ``lease_seconds``. The courier repeats the fence with progress and result
(``?fence=``); a result under an older fence is refused, and one under none, so that of two couriers with one job only
the one that holds the lease is heard. Progress extends the lease.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import Sequence
from datetime import datetime
from functools import partial

import structlog
from pydantic import Field
from starlette.requests import Request
from starlette.responses import FileResponse, Response

from signwright.errors import MalformedError, NotFoundError, SignwrightError
from signwright.hub.adapters.database.records import SqlRecords
from signwright.hub.logfiles import write_log_files
from signwright.hub.service import Hub
from signwright.hub.web.problems import status_of
from signwright.hub.web.views import base64_text, body_of, caller_of, hub_of, json_response
from signwright.hub.workflow.ports import Json, RequestRecord
from signwright.hub.workflow.results import (
    SignerResult,
    claim,
    note_progress,
    open_result,
    store_result,
    whole_frame,
)
from signwright.model.digest import Digest
from signwright.model.framing import read_frame
from signwright.model.operation import Many, Sha256Text, Strict
from signwright.policy.policy import Policy
from signwright.statements.models import Text
from signwright.statements.parse import parse_model, validate_model

log = structlog.get_logger()

MOST_JOBS = 64
#: Where so many callers wait for their requests, a poll waits so long for what they send next.
_CROWD, _COMPANY_SECONDS = 3, 0.004


class SignerState(Strict):
    """What the gate said of itself. ``freshness``: number of the newest statement that it has."""

    policy_version: int = Field(ge=0)
    waiting_policy: int | None = None
    freshness: int = Field(ge=0)
    halts: Many[Sha256Text] = Field(default=(), max_length=1024)


class Poll(Strict):
    """``max`` jobs (0: keepers' words alone), ``wait`` seconds for the first.

    ``policy_sha256``: the policy that the signer has; ``words_sha256``: the set of keepers' words that it has, absent
    from a courier that carries none.
    """

    max: int = Field(default=16, ge=0, le=1024)
    wait: int = Field(default=0, ge=0)
    policy_sha256: Sha256Text | None = None
    words_sha256: Sha256Text | None = None
    signer: SignerState | None = None

    @property
    def carries_words(self) -> bool:
        return "words_sha256" in self.model_fields_set


class ProgressRow(Strict):
    """``state``: what the gate is at, in its own word."""

    id: Text
    state: Text
    fence: int


class Progress(Strict):
    """Either one job's ``id`` and ``state``, or several ``jobs``."""

    jobs: Many[ProgressRow] = ()


class ResultRow(Strict):
    """Which request a result is about; ``fence`` as in the poll's answer."""

    id: Text
    fence: int


class Results(Strict):
    """The message of a frame with several results."""

    results: Many[ResultRow] = Field(min_length=1, max_length=MOST_JOBS)


async def post_poll(request: Request) -> Response:
    """Work for the signer, at once or as soon as there is some."""
    hub = hub_of(request)
    poll = parse_model(Poll, body_of(request))
    if poll.signer is not None:
        hub.signer = poll.signer.model_dump()
        await hub.promote(poll.signer.policy_version, who="courier")
    loop = asyncio.get_running_loop()
    end = loop.time() + min(poll.wait, hub.settings.limits.wait_seconds)
    while True:
        bell = hub.wakeups.bell("sign" if poll.max else "words")
        if poll.wait and poll.max and hub.wakeups.waiters >= _CROWD:
            await asyncio.sleep(_COMPANY_SECONDS)
        jobs = await hub.database.write(partial(_claim, hub=hub, most=min(poll.max, MOST_JOBS))) if poll.max else []
        bundle = _policy_for(hub, poll.policy_sha256) if poll.max else None
        words = poll.carries_words and poll.words_sha256 != hub.standing.sha256
        head = hub.events_head() if poll.max else None
        if jobs or bundle or words or head or hub.wakeups.closing or (left := end - loop.time()) <= 0:
            return _poll_answer(hub, jobs, bundle=bundle, words=words, head=head)
        await hub.wakeups.wait(bell, seconds=left)


def _policy_for(hub: Hub, sha256: str | None) -> bytes | None:
    """What a signer that has the policy ``sha256`` lacks: first the one in force, then one that waits."""
    waiting = hub.waiting
    if waiting is not None and sha256 in {hub.policy.sha256, waiting.policy.sha256}:
        return waiting.bundle if sha256 == hub.policy.sha256 else None
    return hub.current.bundle if sha256 != hub.policy.sha256 else None


def _poll_answer(hub: Hub, jobs: list[Json], *, bundle: bytes | None, words: bool, head: Json | None) -> Response:
    import json

    answer: Json = {"jobs": jobs}
    if head is not None:
        answer["events_head"] = head
    if words:
        standing = hub.standing
        rows = [{"kind": word.kind, "envelope": base64_text(word.envelope)} for word in standing.ordered]
        answer["words"] = {"sha256": standing.sha256, "envelopes": rows}
    content = json.dumps(answer, separators=(",", ":")).encode()
    return Response(b'{"policy":' + (bundle or b"null") + b"," + content[1:], media_type="application/json")


def _claim(records: SqlRecords, *, hub: Hub, most: int) -> list[Json]:
    lease = hub.settings.limits.lease_seconds
    taken = claim(records, owner="courier", now=hub.clock(), lease=lease, most=most)
    return [_job(records, record, fence, lease) for record, fence in taken]


def _job(records: SqlRecords, record: RequestRecord, fence: int, lease: int) -> Json:
    approvals = records.words("approval", record.id) if record.approvals else []
    evidence = records.words("evidence", record.id) if record.mode == "artifact" else []
    return {
        "id": record.id,
        "fence": fence,
        "lease_seconds": lease,
        "request": base64_text(record.envelope),
        "approvals": [base64_text(content) for content in approvals],
        "evidence": [base64_text(content) for content in evidence],
    }


async def get_courier_artifact(request: Request) -> Response:
    """The bytes of an artifact that is being signed; no other."""
    hub = hub_of(request)
    sha256 = Digest.parse(str(request.path_params["digest"])).hex
    size = await hub.database.read(partial(SqlRecords.size_being_signed, sha256=sha256))
    if size is None or not hub.store.has(sha256):
        raise NotFoundError(f"no request that is being signed holds sha256:{sha256}", code="no-such-artifact")
    return FileResponse(hub.store.path_of(sha256), media_type="application/octet-stream")


async def post_progress(request: Request) -> Response:
    """Extend leases, and show what a request waits for. The answer lists the jobs that are no longer the courier's."""
    hub = hub_of(request)
    content = body_of(request)
    rows = _progress_rows(content)
    until = int(hub.clock().timestamp()) + hub.settings.limits.lease_seconds

    def work(records: SqlRecords) -> list[str]:
        lost = [row.id for row in rows if not records.jobs.extend("sign", row.id, fence=row.fence, until=until)]
        for row in rows:
            if row.id not in lost:
                note_progress(records, row.id, row.state)
        return lost

    lost = await hub.database.write(work)
    for row in rows:
        log.debug("progress", request=row.id, state=row.state)
    return json_response({"lost": lost})


def _progress_rows(content: bytes) -> tuple[ProgressRow, ...]:
    """One row, or several under ``jobs``."""
    if b'"jobs"' in content:
        return parse_model(Progress, content).jobs
    return (parse_model(ProgressRow, content),)


async def put_result(request: Request) -> Response:
    """One result frame of the gate, as it is."""
    hub, caller = hub_of(request), caller_of(request)
    row = ResultRow(id=str(request.path_params["reference"])[:80], fence=_fence(request))
    (record,) = await _take_results(hub, [(row, body_of(request))], who=caller.name)
    if isinstance(record, BaseException):
        raise record
    return json_response({"id": record.id, "state": str(record.state)})


async def post_results(request: Request) -> Response:
    """Several at once: a frame ``{"results": [{"id", "fence"}]}`` with one result frame each.

    Each is taken or refused by itself; the answer has a row for each, with the status that it would have got alone.
    """
    hub, caller = hub_of(request), caller_of(request)
    frame = whole_frame(body_of(request))
    rows = validate_model(Results, frame.message).results
    if len(rows) != len(frame.parts):
        raise MalformedError("wanted one result frame for each row", code="bad-result")
    outcomes = await _take_results(hub, list(zip(rows, frame.parts, strict=True)), who=caller.name)
    return json_response({"results": [_result_answer(row, one) for row, one in zip(rows, outcomes, strict=True)]})


async def _take_results(
    hub: Hub, brought: Sequence[tuple[ResultRow, bytes]], *, who: str
) -> list[RequestRecord | BaseException]:
    """Each result in a piece of work of its own, all of them for one commit; its request or error in its place."""
    results = [_opened(content) for _, content in brought]
    works = [
        partial(_store, policy=hub.policy, row=row, result=result, content=content, who=who, now=hub.clock())
        for (row, content), result in zip(brought, results, strict=True)
    ]
    outcomes = await hub.database.write_each(works)
    for result, outcome in zip(results, outcomes, strict=True):
        if isinstance(outcome, RequestRecord) and isinstance(result, SignerResult):
            state = str(outcome.state)
            log.info("result", request=outcome.id, state=state, outcome=result.outcome, code=result.code)
    return outcomes


def _opened(content: bytes) -> SignerResult | SignwrightError:
    try:
        return open_result(content)[0]
    except SignwrightError as problem:
        return problem


def _store(
    records: SqlRecords,
    *,
    policy: Policy,
    row: ResultRow,
    result: SignerResult | SignwrightError,
    content: bytes,
    who: str,
    now: datetime,
) -> RequestRecord:
    if isinstance(result, SignwrightError):
        raise result
    record = records.find(row.id)
    if record is None:
        raise NotFoundError(f"no request {row.id!r}", code="no-such-request")
    return store_result(records, policy, record, result=result, content=content, fence=row.fence, who=who, now=now)


def _result_answer(row: ResultRow, outcome: RequestRecord | BaseException) -> Json:
    if isinstance(outcome, RequestRecord):
        return {"id": row.id, "status": 200, "state": str(outcome.state)}
    if isinstance(outcome, SignwrightError):
        return {"id": row.id, "status": status_of(outcome), "code": outcome.code}
    raise outcome


def _fence(request: Request) -> int:
    text = request.query_params.get("fence", "")
    if not text.isdecimal() or not text.isascii() or len(text) > 18:
        raise MalformedError(f"fence={text[:20]!r}; wanted a number", code="bad-parameter")
    return int(text)


async def put_log_file(request: Request) -> Response:
    """One file of the log: a tile, an entry bundle, the checkpoint."""
    hub, path = hub_of(request), str(request.path_params["path"])
    await hub.in_thread(partial(write_log_files, hub.log_folder, [(path, body_of(request))]))
    return Response(status_code=204)


async def post_log_files(request: Request) -> Response:
    """Several files at once: a frame ``{"paths": [...]}`` with one part each, written in that order."""
    hub = hub_of(request)
    stream = io.BytesIO(body_of(request))
    frame = read_frame(stream.read)
    paths = frame.message.get("paths")
    if not isinstance(paths, list) or len(paths) != len(frame.parts) or not all(isinstance(p, str) for p in paths):
        raise MalformedError("wanted one path for each part", code="bad-log-files")
    await hub.in_thread(partial(write_log_files, hub.log_folder, list(zip(paths, frame.parts, strict=True))))
    return Response(status_code=204)
