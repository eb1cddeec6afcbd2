# SPDX-License-Identifier: Apache-2.0
"""The authority's web application with a clock in hand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta

import httpx
import pytest

from signwright.errors import ConflictError, TimestampError
from signwright.model.digest import Digest
from signwright.timestamps.issue import Issuer
from signwright.timestamps.query import QUERY_TYPE, timestamp_query
from signwright.timestamps.reply import token_of_reply
from signwright.tsa.web import make_app
from tests.support.faulty_tsa import POLICY
from tests.support.pki import NOT_AFTER, NOW, default_pki

QUERY = timestamp_query(Digest.of(b"content"), 1)


def ask(method: str, path: str, *, now: datetime, next_serial: Callable[[], int] = lambda: 1) -> httpx.Response:
    identity = default_pki().timestamping()
    issuer = Issuer(key=identity.key, chain=identity.chain, policy_oid=POLICY)  # type: ignore[arg-type]
    app = make_app(issuer, next_serial=next_serial, now=lambda: now)

    async def send() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://tsa") as client:
            content = QUERY if method == "POST" else None
            return await client.request(method, path, content=content, headers={"content-type": QUERY_TYPE})

    return asyncio.run(send())


def no_serial() -> int:
    raise ConflictError("the disk is full", code="no-serial")


def test_within_the_validity_of_its_certificate_it_stamps() -> None:
    assert token_of_reply(ask("POST", "/", now=NOW).content)
    assert ask("GET", "/healthz", now=NOW).status_code == 200


def test_when_its_certificate_has_ended_it_stamps_no_more_and_says_so() -> None:
    later = NOT_AFTER + timedelta(seconds=1)
    with pytest.raises(TimestampError, match="time_not_available"):
        token_of_reply(ask("POST", "/", now=later).content)
    assert ask("GET", "/healthz", now=later).status_code == 503


def test_without_a_serial_number_it_answers_a_system_failure() -> None:
    response = ask("POST", "/", now=NOW, next_serial=no_serial)
    assert response.status_code == 200
    with pytest.raises(TimestampError, match="system_failure"):
        token_of_reply(response.content)
