# SPDX-License-Identifier: Apache-2.0
"""Errors as RFC 9457 problem documents. The one place that knows the status codes of errors."""

from __future__ import annotations

import json

import structlog
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from signwright import errors as e

log = structlog.get_logger()

#: The first class that fits counts.
_STATUS: tuple[tuple[type[e.SignwrightError], int], ...] = (
    (e.AuthenticationError, 401),
    (e.DeniedError, 403),
    (e.RejectedError, 403),
    (e.NotFoundError, 404),
    (e.ConflictError, 409),
    (e.LimitError, 413),
    (e.MalformedError, 400),
    (e.UsageError, 400),
    (e.VerificationError, 422),
    (e.UnavailableError, 503),
)
_BY_CODE = {
    "wrong-content": 422,
    "storage-full": 507,
    "too-many-requests": 429,
    "quota-exceeded": 429,
    "length-required": 411,
    "method-not-allowed": 405,
    "slow-body": 408,
}
_TITLES = {
    400: "Malformed",
    401: "Not authenticated",
    403: "Denied",
    404: "Not found",
    405: "Method not allowed",
    408: "Too slow",
    409: "Conflict",
    411: "Length required",
    413: "Too large",
    422: "Does not hold",
    429: "Quota exceeded",
    500: "Internal error",
    503: "Unavailable",
    507: "Storage full",
}
_FROM_HTTP = {404: "not-found", 405: "method-not-allowed"}


def status_of(problem: e.SignwrightError) -> int:
    """The HTTP status of an error; 500 for one that no caller should see."""
    if problem.code in _BY_CODE:
        return _BY_CODE[problem.code]
    return next((status for kind, status in _STATUS if isinstance(problem, kind)), 500)


def problem_response(problem: e.SignwrightError, *, close: bool = False) -> Response:
    """``details`` become members; ``upload_offset`` is a header too. ``close``: do not read the rest of the call."""
    status = status_of(problem)
    body: dict[str, object] = {
        "type": f"https://signwright.dev/problems/{problem.code}",
        "title": _TITLES[status],
        "status": status,
        "detail": problem.message,
        "code": problem.code,
    }
    if status == 500:
        log.error("internal error", code=problem.code, message=problem.message)
        body["detail"] = "the hub failed; its log says why"
        return _respond(status, body, {})
    if problem.hint:
        body["hint"] = problem.hint
    body |= {name: value for name, value in problem.details.items() if name not in body}
    headers = {"connection": "close"} if close or status == 408 else {}
    if "upload_offset" in problem.details:
        headers["upload-offset"] = str(problem.details["upload_offset"])
    return _respond(status, body, headers)


def _respond(status: int, body: dict[str, object], headers: dict[str, str]) -> Response:
    content = json.dumps(body, separators=(",", ":")).encode()
    return Response(content, status_code=status, headers=headers, media_type="application/problem+json")


async def on_signwright_error(request: Request, problem: Exception) -> Response:
    """Exception handler for our own errors."""
    assert isinstance(problem, e.SignwrightError)
    log.info("refused", method=request.method, path=request.url.path, code=problem.code, detail=problem.message[:300])
    return problem_response(problem)


async def on_http_exception(request: Request, problem: Exception) -> Response:
    """Exception handler for the router's own: no such path, no such method."""
    assert isinstance(problem, HTTPException)
    code = _FROM_HTTP.get(problem.status_code)
    if code is None:
        return problem_response(e.SignwrightError(str(problem.detail), code="internal"))
    text = f"no such resource: {request.method} {request.url.path[:200]}"
    kind = e.NotFoundError if code == "not-found" else e.UsageError
    return problem_response(kind(text, code=code))


async def on_validation_error(_request: Request, problem: Exception) -> Response:
    """Exception handler for parameters that FastAPI read."""
    assert isinstance(problem, RequestValidationError)
    first = problem.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return problem_response(e.MalformedError(f"{where}: {first['msg']}", code="bad-parameter"))


async def on_any_error(request: Request, problem: Exception) -> Response:
    """Exception handler for everything else: nothing of the inside leaks."""
    log.error("internal error", method=request.method, path=request.url.path, exc_info=problem)
    return problem_response(e.SignwrightError("internal error", code="internal"))
