# SPDX-License-Identifier: Apache-2.0
"""What callers see of requests and policies: plain data in the shape that the API promises."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache

from starlette.requests import Request
from starlette.responses import Response

from signwright.errors import MalformedError, NotFoundError
from signwright.hub.service import Hub
from signwright.hub.web.auth import Caller
from signwright.hub.workflow.ports import Json, RequestRecord
from signwright.hub.workflow.results import open_result
from signwright.model.times import format_time
from signwright.policy.policy import Policy

#: Results that go along with a view when asked for, in bytes.
MAX_EMBEDDED = 1 << 20
_encode = json.JSONEncoder(separators=(",", ":")).encode


def hub_of(request: Request) -> Hub:
    """The hub behind the application."""
    hub: Hub = request.app.state.hub
    return hub


def caller_of(request: Request) -> Caller:
    """Who was let in (`signwright.hub.web.auth`)."""
    caller: Caller = request.state.caller
    return caller


def body_of(request: Request) -> bytes:
    """The body, whose digest was checked."""
    body: bytes = request.state.body
    return body


def json_response(value: object, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    content = _encode(value).encode()
    return Response(content, status_code=status, headers=headers, media_type="application/json")


def base64_text(content: bytes) -> str:
    return base64.b64encode(content).decode()


@lru_cache(maxsize=1024)
def _time(seconds: int) -> str:
    return format_time(datetime.fromtimestamp(seconds, UTC))


def request_view(record: RequestRecord, missing: list[str] | None = None) -> Json:
    """The full view of a request. ``missing``: contents that are still to be sent."""
    return {
        "id": record.id,
        "request_sha256": record.digest,
        "state": str(record.state),
        "missing": missing or [],
        "reasons": record.reasons,
        "artifacts": record.artifacts,
        "project": record.project,
        "signing_policy": record.signing_policy,
        "kind": record.kind,
        "mode": record.mode,
        "submitter": record.submitter,
        "created": _time(record.created),
        "expires": _time(record.deadline),
        "approvals": record.approvals,
        "history": [{**row, "time": _time(int(str(row["time"])))} for row in record.history],
        "results": record.results,
        "purged": record.purged is not None,
    }


def embedded_results(content: bytes) -> list[Json]:
    """``results`` with receipts, patches and envelopes in base64, for callers that want all in one answer."""
    result, frame = open_result(content)
    rows: list[Json] = []
    for index, artifact in enumerate(result.artifacts):
        patch = None if artifact.patch is None else base64_text(frame.parts[artifact.patch])
        row: Json = {
            "artifact": index,
            "result_sha256": artifact.result_sha256,
            "has_patch": artifact.patch is not None,
            "receipt": base64_text(frame.parts[artifact.bundle]),
            "patch": patch,
            "envelopes": [base64_text(frame.parts[part]) for part in artifact.envelopes],
        }
        rows.append(row)
    return rows


def may_see(record: RequestRecord | None, caller: Caller, reference: str) -> RequestRecord:
    """The record, if there is one and ``caller`` may see it; `NotFoundError` either way otherwise."""
    if record is None or (caller.kind == "credential" and record.submitter != caller.name):
        raise NotFoundError(f"no request {reference[:80]!r}", code="no-such-request")
    return record


def whole_number(request: Request, name: str, *, default: int, most: int) -> int:
    """A query parameter from 0 to ``most``; larger ones are cut down to it."""
    text = request.query_params.get(name)
    if text is None:
        return default
    if not text.isdecimal() or not text.isascii() or len(text) > 9:
        raise MalformedError(f"{name}={text[:20]!r}; wanted a whole number", code="bad-parameter")
    return min(int(text), most)


def signing_policies(policy: Policy) -> list[Json]:
    """Every signing policy, as a client may want to know it before it asks."""
    rows: list[Json] = []
    for project, document in sorted(policy.projects.items()):
        for name, rule in sorted(document.signing_policies.items()):
            configuration = document.artifact_configurations[rule.artifact_configuration]
            row: Json = {
                "address": f"{project}/{name}",
                "kind": rule.kind,
                "formats": sorted({r.format for r in configuration.rules}),
                "modes": list(rule.modes),
                "submitters": list(rule.submitters),
                "approvals": rule.approvals.model_dump(mode="json"),
                "options": {key: value.model_dump(mode="json") for key, value in rule.options.items()},
                "scan": rule.scan.model_dump(mode="json"),
                "timestamp": rule.timestamp,
                "hold": rule.hold,
                "key": rule.key,
                "family": policy.key_of(rule).family,
                "max_request_age_hours": rule.max_request_age_hours,
            }
            rows.append(row)
    return rows
