# SPDX-License-Identifier: Apache-2.0
"""The witness's HTTP face (c2sp.org/tlog-witness): ``add-checkpoint``, the monitoring endpoint, and ``healthz``."""

from __future__ import annotations

import asyncio

import structlog
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from signwright.errors import (
    AuthenticationError,
    ConflictError,
    LimitError,
    MalformedError,
    NotFoundError,
    SignwrightError,
    UnavailableError,
    VerificationError,
)
from signwright.transparency.witnessing import MAX_BODY, SIZE_TYPE
from signwright.witness.cosigner import Cosigner

BODY_SECONDS = 10
_STATUS: tuple[tuple[type[SignwrightError], int], ...] = (
    (MalformedError, 400),
    (LimitError, 413),
    (AuthenticationError, 403),
    (NotFoundError, 404),
    (VerificationError, 422),
    (UnavailableError, 503),
)

_log = structlog.get_logger("signwright.witness")


def create_app(cosigner: Cosigner) -> Starlette:
    """Routes over one cosigner, which does its work (a transaction with an fsync) on a thread."""

    async def add_checkpoint(request: Request) -> Response:
        try:
            signature = await run_in_threadpool(cosigner.add_checkpoint, await _body(request))
        except ConflictError as problem:
            _log.info("conflict", reason=problem.message)
            return Response(f"{problem.details['size']}\n", status_code=409, headers={"content-type": SIZE_TYPE})
        except SignwrightError as problem:
            return _refusal(problem)
        return PlainTextResponse(signature.line())

    async def latest(request: Request) -> Response:
        try:
            note = await run_in_threadpool(cosigner.latest, request.path_params["origin_hash"])
        except SignwrightError as problem:
            return _refusal(problem)
        return PlainTextResponse(note, headers={"cache-control": "no-cache"})

    async def healthz(_request: Request) -> Response:
        try:
            await run_in_threadpool(cosigner.ready)
        except SignwrightError as problem:
            return _refusal(problem)
        return JSONResponse({"status": "ok"})

    return Starlette(
        routes=[
            Route("/add-checkpoint", add_checkpoint, methods=["POST"]),
            Route("/healthz", healthz, methods=["GET"]),
            Route("/{origin_hash}/checkpoint", latest, methods=["GET"]),
        ]
    )


async def _body(request: Request) -> bytes:
    """The body, never more than `MAX_BODY` bytes of it in memory."""
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAX_BODY:
                    raise LimitError(f"a body beyond {MAX_BODY} bytes", code="body-too-large")
    except TimeoutError:
        raise MalformedError(f"the body did not arrive within {BODY_SECONDS} s", code="slow-body") from None
    return bytes(body)


def _refusal(problem: SignwrightError) -> Response:
    status = next((status for kind, status in _STATUS if isinstance(problem, kind)), 500)
    _log.warning("refused", status=status, code=problem.code, reason=problem.message)
    return PlainTextResponse(f"{problem.code}: {problem.message}\n", status_code=status)
