# SPDX-License-Identifier: Apache-2.0
"""``/v1/requests``: submit, list, look, wait, approve, cancel."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import structlog
from starlette.requests import Request
from starlette.responses import Response

from signwright.errors import DeniedError, MalformedError, UsageError
from signwright.hub.adapters.database.records import SqlRecords
from signwright.hub.service import Hub
from signwright.hub.web.auth import Caller
from signwright.hub.web.views import (
    MAX_EMBEDDED,
    body_of,
    caller_of,
    embedded_results,
    hub_of,
    json_response,
    may_see,
    request_view,
    whole_number,
)
from signwright.hub.workflow.approve import approve
from signwright.hub.workflow.cancel import cancel
from signwright.hub.workflow.ports import RequestRecord
from signwright.hub.workflow.states import State
from signwright.hub.workflow.submit import Quota, submit
from signwright.model.spoken import request_id
from signwright.policy.facts import gather
from signwright.statements.dsse import parse_envelope

log = structlog.get_logger()

DEFAULT_LISTED, MOST_LISTED = 50, 500
_KEY_LENGTH = 255


async def post_request(request: Request) -> Response:
    """Take a signed request in. 202, or 200 with the full view after ``wait``; ``include=results`` adds results."""
    hub, caller = hub_of(request), caller_of(request)
    if caller.kind != "credential":
        raise DeniedError("only a credential may submit; a person's session may not", code="wrong-door")
    envelope = parse_envelope(body_of(request))
    limits = hub.settings.limits
    facts = gather(hub.policy, envelope, approvals=[], evidence=[], now=hub.clock(), revoked=hub.revoked)
    facts = replace(facts, freshness=hub.freshness)
    work = partial(
        _submit_with_missing,
        policy=hub.policy,
        facts=facts,
        envelope=envelope,
        caller=caller.name,
        idempotency_key=_idempotency_key(request),
        quota=Quota(limits.open_requests, limits.open_bytes),
    )
    seconds = whole_number(request, "wait", default=0, most=limits.wait_seconds)
    waits = "wait" in request.query_params
    own_id = request_id(facts.request.digest)
    with hub.wakeups.watch(own_id) as watch:
        record, missing = await hub.database.write(work)
        log.info("request", request=record.id, state=str(record.state), who=caller.name)
        if waits and record.id == own_id:
            record = await hub.wakeups.until(watch, record, lambda r: r.is_final, seconds=seconds)
            return await _viewed(hub, record, request, missing, content=watch.result)
    if waits:
        return await _waited(hub, caller, record.id, request, seconds=seconds)
    view = request_view(record, missing)
    return json_response(view, status=202, headers={"location": f"/v1/requests/{record.id}"})


def _submit_with_missing(records: SqlRecords, **asked: object) -> tuple[RequestRecord, list[str]]:
    record = submit(records, **asked)  # type: ignore[arg-type]
    return record, records.missing(record) if record.state is State.UPLOADING else []


def _idempotency_key(request: Request) -> str | None:
    key = request.headers.get("idempotency-key")
    if key is not None and not (0 < len(key) <= _KEY_LENGTH and key.isascii() and key.isprintable()):
        raise MalformedError("idempotency-key: wanted 1 to 255 printable ASCII characters", code="bad-parameter")
    return key


async def _viewed(
    hub: Hub,
    record: RequestRecord,
    request: Request,
    missing: list[str] | None = None,
    *,
    content: bytes | None = None,
) -> Response:
    """``content``: the result frame, when it is at hand."""
    view = request_view(record, missing if record.state is State.UPLOADING else None)
    include = request.query_params.get("include")
    if include not in {None, "results"}:
        raise MalformedError(f"include={include[:20] if include else ''!r}; wanted results", code="bad-parameter")
    if include and record.state is State.COMPLETED and record.results:
        if content is None:
            content = await hub.database.read(partial(SqlRecords.result, request_id=record.id))
        if content is not None and len(content) <= MAX_EMBEDDED:
            view["results"] = embedded_results(content)
    return json_response(view)


async def list_requests(request: Request) -> Response:
    """Newest first: a credential's own, for a person all. ``state``, ``limit``; ``before``: id after which to go on."""
    hub, caller = hub_of(request), caller_of(request)
    state = request.query_params.get("state")
    if state is not None and state not in set(State):
        raise MalformedError(f"state={state[:30]!r}; wanted one of {', '.join(State)}", code="bad-parameter")
    limit = whole_number(request, "limit", default=DEFAULT_LISTED, most=MOST_LISTED)
    submitter = caller.name if caller.kind == "credential" else None
    last = request.query_params.get("before")

    def work(records: SqlRecords) -> list[RequestRecord]:
        found = may_see(records.find(last), caller, last) if last is not None else None
        before = (found.created, found.id) if found is not None else None
        return records.listed(submitter=submitter, state=state, limit=limit, before=before)

    records = await hub.database.read(work)
    return json_response({"requests": [request_view(record) for record in records]})


async def get_request(request: Request) -> Response:
    """By id or request digest. ``wait``: until it ended, or with ``after`` until it is no longer in that state."""
    hub, caller, reference = hub_of(request), caller_of(request), str(request.path_params["reference"])
    seconds = whole_number(request, "wait", default=0, most=hub.settings.limits.wait_seconds)
    after = request.query_params.get("after")
    if seconds:
        return await _waited(hub, caller, reference, request, seconds=seconds, after=after)
    record, missing = await hub.database.read(partial(_seen_with_missing, caller=caller, reference=reference))
    return await _viewed(hub, record, request, missing)


async def _waited(
    hub: Hub, caller: Caller, reference: str, request: Request, *, seconds: float, after: str | None = None
) -> Response:
    """The view once the request ended, or left the state ``after``, or the time is up."""
    seen = partial(_seen_with_missing, caller=caller, reference=reference)
    record, missing = await hub.database.read(seen)
    with hub.wakeups.watch(record.id) as watch:
        record, missing = await hub.database.read(seen)
        record = await hub.wakeups.until(
            watch, record, lambda r: r.is_final or (after is not None and r.state != after), seconds=seconds
        )
    return await _viewed(hub, record, request, missing, content=watch.result)


def _seen_with_missing(records: SqlRecords, *, caller: Caller, reference: str) -> tuple[RequestRecord, list[str]]:
    record = may_see(records.find(reference), caller, reference)
    return record, records.missing(record) if record.state is State.UPLOADING else []


async def post_approval(request: Request) -> Response:
    """A person's signed word. Who posts it does not matter; who signed it does."""
    hub, caller, reference = hub_of(request), caller_of(request), str(request.path_params["reference"])
    envelope = parse_envelope(body_of(request))
    policy, now = hub.policy, hub.clock()

    def work(records: SqlRecords) -> RequestRecord:
        record = may_see(records.find(reference), caller, reference)
        return approve(records, policy, record, envelope=envelope, now=now)

    record = await hub.database.write(work)
    log.info("approval", request=record.id, state=str(record.state), who=caller.name)
    return json_response(request_view(record), status=201)


async def post_cancel(request: Request) -> Response:
    """Give a request up: its submitter, or any person."""
    hub, caller, reference = hub_of(request), caller_of(request), str(request.path_params["reference"])
    now = hub.clock()
    if body_of(request) not in {b"", b"{}"}:
        raise UsageError("cancel takes no body", code="bad-body")

    def work(records: SqlRecords) -> RequestRecord:
        record = may_see(records.find(reference), caller, reference)
        return cancel(records, record, who=caller.name, now=now)

    record = await hub.database.write(work)
    log.info("cancel", request=record.id, state=str(record.state), who=caller.name)
    return json_response(request_view(record))
