# SPDX-License-Identifier: Apache-2.0
"""The authority over HTTP (RFC 3161 3.4): POST to any path, a rejected query is still a reply with status 200."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import structlog
from cryptography import x509
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from signwright.errors import SignwrightError
from signwright.timestamps.issue import MAX_QUERY, Answer, Issuer, PkiFailure, rejection, reply_to
from signwright.timestamps.query import QUERY_TYPE, REPLY_TYPE

_log = structlog.get_logger()


def make_app(issuer: Issuer, *, next_serial: Callable[[], int], now: Callable[[], datetime]) -> Starlette:
    """The ASGI application. Stamps in the event loop: a signature takes less time than a thread would."""
    certificate = x509.load_der_x509_certificate(issuer.chain[0])

    def is_valid() -> bool:
        return certificate.not_valid_before_utc <= now() <= certificate.not_valid_after_utc

    async def stamp(request: Request) -> Response:
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != QUERY_TYPE:
            return PlainTextResponse(f"wanted {QUERY_TYPE}\n", 415)
        query = await _body(request)
        if query is None:
            return PlainTextResponse(f"a query has at most {MAX_QUERY} bytes\n", 413, {"connection": "close"})
        answer = _answer(query, issuer=issuer, next_serial=next_serial, now=now() if is_valid() else None)
        _log.info("stamped" if answer.failure is None else "refused", serial=answer.serial_number, why=answer.text)
        return Response(answer.reply, media_type=REPLY_TYPE, headers={"cache-control": "no-store"})

    async def healthz(request: Request) -> Response:  # noqa: ARG001 - the signature of a route
        if not is_valid():
            return PlainTextResponse("the timestamping certificate is not valid now\n", 503)
        return PlainTextResponse("ok\n")

    return Starlette(
        routes=[Route("/healthz", healthz, methods=["GET"]), Route("/{path:path}", stamp, methods=["POST"])]
    )


def _answer(query: bytes, *, issuer: Issuer, next_serial: Callable[[], int], now: datetime | None) -> Answer:
    try:
        return reply_to(query, issuer=issuer, now=now, next_serial=next_serial)
    except SignwrightError as problem:  # no serial number to be had: say so in the protocol's own words
        failure = PkiFailure.SYSTEM_FAILURE
        return Answer(rejection(failure, "no serial number at hand"), failure=failure, text=problem.message)


async def _body(request: Request) -> bytes | None:
    """The body, or None as soon as it is larger than a query may be."""
    body = bytearray()
    async for block in request.stream():
        body += block
        if len(body) > MAX_QUERY:
            return None
    return bytes(body)
