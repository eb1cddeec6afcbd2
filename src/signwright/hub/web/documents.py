# SPDX-License-Identifier: Apache-2.0
"""What the OpenAPI document says of each resource: bodies, answers, problems."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

_ENVELOPE = "application/vnd.signwright.envelope+json"
_FRAME = "application/vnd.signwright.result"
_BINARY = "application/octet-stream"
_TEXT = {"type": "string"}
_BYTES = {"type": "string", "format": "binary"}
_OBJECT = {"type": "object"}

#: Media type and schema of the body, by method and path.
_BODIES: dict[tuple[str, str], tuple[str, dict[str, Any]]] = {
    ("POST", "/v1/requests"): (_ENVELOPE, _OBJECT),
    ("POST", "/v1/requests/{reference}/approvals"): (_ENVELOPE, _OBJECT),
    ("POST", "/v1/sessions"): (_ENVELOPE, _OBJECT),
    ("POST", "/v1/policy"): ("application/json", _OBJECT),
    ("POST", "/v1/freshness"): (_ENVELOPE, _OBJECT),
    ("POST", "/v1/halts"): (_ENVELOPE, _OBJECT),
    ("POST", "/v1/resumes"): (_ENVELOPE, _OBJECT),
    ("POST", "/v1/courier/poll"): ("application/json", _OBJECT),
    ("POST", "/v1/courier/progress"): ("application/json", _OBJECT),
    ("PUT", "/v1/courier/results/{reference}"): (_FRAME, _BYTES),
    ("POST", "/v1/courier/results"): (_FRAME, _BYTES),
    ("PUT", "/v1/courier/log/{path}"): (_BINARY, _BYTES),
    ("POST", "/v1/courier/log"): (_FRAME, _BYTES),
    ("PUT", "/v1/artifacts/{digest}"): (_BINARY, _BYTES),
}
_QUERIES: dict[tuple[str, str], dict[str, str]] = {
    ("POST", "/v1/requests"): {"wait": "integer", "include": "string"},
    ("GET", "/v1/requests"): {"state": "string", "limit": "integer", "before": "string"},
    ("GET", "/v1/requests/{reference}"): {"wait": "integer", "after": "string", "include": "string"},
    ("PUT", "/v1/courier/results/{reference}"): {"fence": "integer"},
}
_HEADERS: dict[tuple[str, str], tuple[str, ...]] = {
    ("POST", "/v1/requests"): ("Idempotency-Key",),
    ("PUT", "/v1/artifacts/{digest}"): ("Upload-Offset", "Repr-Digest"),
}


class Problem(BaseModel):
    """RFC 9457, with a stable ``code``. Denials list ``reasons``."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    hint: str | None = None
    reasons: list[dict[str, str]] | None = None


def add(
    app: FastAPI, method: str, path: str, handler: Callable[[Request], Awaitable[Response]], *, status: int
) -> None:
    """Register a route with its documentation."""
    plain = re.sub(r":\w+}", "}", path)
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "query", "schema": {"type": kind}}
        for name, kind in _QUERIES.get((method, plain), {}).items()
    ]
    parameters += [
        {"name": name, "in": "path", "required": True, "schema": {"type": "integer" if kind == ":int" else "string"}}
        for name, kind in re.findall(r"{(\w+)(:\w+)?}", path)
    ]
    parameters += [{"name": n, "in": "header", "schema": _TEXT} for n in _HEADERS.get((method, plain), ())]
    extra: dict[str, Any] = {"parameters": parameters}
    if (method, plain) in _BODIES:
        kind, schema = _BODIES[method, plain]
        extra["requestBody"] = {"required": True, "content": {kind: {"schema": schema}}}
    app.add_api_route(
        path,
        handler,
        methods=[method],
        status_code=status,
        response_class=Response,
        response_model=None,
        openapi_extra=extra,
        responses={"default": {"model": Problem, "description": "A problem document (RFC 9457)"}},
    )
