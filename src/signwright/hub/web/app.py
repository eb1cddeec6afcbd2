# SPDX-License-Identifier: Apache-2.0
"""The application: every route in one table, signatures in front, problems behind. OpenAPI 3.1 at ``/openapi.json``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from signwright import __version__
from signwright.errors import SignwrightError
from signwright.hub.service import Hub
from signwright.hub.web import documents, problems
from signwright.hub.web.api import artifacts, courier, log, policy, requests, results, standing
from signwright.hub.web.auth import Nonces, SignedCalls

Handler = Callable[[Request], Awaitable[Response]]
_REQUEST = "/v1/requests/{reference}"


@dataclass(frozen=True, slots=True)
class Resource:
    """``hot``: served by a bare Starlette route; it stands in the OpenAPI document all the same."""

    method: str
    path: str
    handler: Handler
    status: int = 200
    hot: bool = False


RESOURCES = (
    Resource("POST", "/v1/requests", requests.post_request, 202, hot=True),
    Resource("POST", "/v1/courier/poll", courier.post_poll, hot=True),
    Resource("PUT", "/v1/courier/results/{reference}", courier.put_result, hot=True),
    Resource("POST", "/v1/courier/results", courier.post_results, hot=True),
    Resource("POST", "/v1/courier/log", courier.post_log_files, 204, hot=True),
    Resource("PUT", "/v1/courier/log/{path:path}", courier.put_log_file, 204, hot=True),
    Resource("PUT", "/v1/artifacts/{digest}", artifacts.put_artifact, 201, hot=True),
    Resource("HEAD", "/v1/artifacts/{digest}", artifacts.head_artifact, hot=True),
    Resource("GET", _REQUEST, requests.get_request, hot=True),
    Resource("GET", "/v1/health", policy.get_health),
    Resource("GET", "/v1/policy", policy.get_policy),
    Resource("POST", "/v1/policy", policy.post_policy, 201),
    Resource("POST", "/v1/freshness", standing.post_freshness, 201),
    Resource("POST", "/v1/halts", standing.post_halt, 201),
    Resource("POST", "/v1/resumes", standing.post_resume, 201),
    Resource("GET", "/v1/standing", standing.get_standing),
    Resource("GET", "/v1/signing-policies", policy.get_signing_policies),
    Resource("POST", "/v1/sessions", policy.post_session, 201),
    Resource("GET", "/v1/requests", requests.list_requests),
    Resource("POST", _REQUEST + "/approvals", requests.post_approval, 201),
    Resource("POST", _REQUEST + "/cancel", requests.post_cancel),
    Resource("GET", _REQUEST + "/evidence", results.get_evidence),
    Resource("GET", _REQUEST + "/artifacts/{index:int}", results.get_artifact),
    Resource("GET", _REQUEST + "/results/{index:int}/receipt", results.get_receipt),
    Resource("GET", _REQUEST + "/results/{index:int}/patch", results.get_patch),
    Resource("GET", _REQUEST + "/results/{index:int}/envelopes/{number:int}", results.get_envelope),
    Resource("GET", "/v1/log/{path:path}", log.get_log_file),
    Resource("GET", "/v1/courier/artifacts/{digest}", courier.get_courier_artifact),
    Resource("POST", "/v1/courier/progress", courier.post_progress),
)


class HotCalls:
    """ASGI: what each request in digest mode calls goes to its handler at once; everything else to ``app``.

    Errors become the same problems as behind ``app``.
    """

    def __init__(self, app: FastAPI) -> None:
        self._app = app
        self._handlers = {(r.method, r.path): r.handler for r in RESOURCES if r.hot and "{" not in r.path}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        handler = self._handlers.get((scope["method"], scope["path"])) if scope["type"] == "http" else None
        if handler is None:
            await self._app(scope, receive, send)
            return
        scope["app"] = self._app
        request = Request(scope, receive, send)
        try:
            response = await handler(request)
        except SignwrightError as problem:
            response = await problems.on_signwright_error(request, problem)
        except Exception as problem:  # noqa: BLE001 - it is logged, and the caller learns only that there was one
            response = await problems.on_any_error(request, problem)
        await response(scope, receive, send)


def create_app(hub: Hub, *, nonces: Nonces) -> ASGIApp:
    """The whole web side of ``hub``."""
    app = FastAPI(title="Signwright hub", version=__version__, docs_url=None, redoc_url=None)
    app.state.hub = hub
    hot = [resource for resource in RESOURCES if resource.hot]
    app.router.routes[:0] = [Route(r.path, r.handler, methods=[r.method]) for r in hot]
    for resource in RESOURCES:
        documents.add(app, resource.method, resource.path, resource.handler, status=resource.status)
    app.add_exception_handler(SignwrightError, problems.on_signwright_error)
    app.add_exception_handler(HTTPException, problems.on_http_exception)
    app.add_exception_handler(RequestValidationError, problems.on_validation_error)
    app.add_exception_handler(Exception, problems.on_any_error)
    seconds = hub.settings.limits.body_seconds
    return SignedCalls(HotCalls(app), keyring=hub.keyring, nonces=nonces, clock=hub.clock, body_seconds=seconds)
