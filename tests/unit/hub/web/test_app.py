# SPDX-License-Identifier: Apache-2.0
"""Calls that go to their handlers at once end like all others when something breaks."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from fastapi import FastAPI

from signwright.hub.web.app import HotCalls


def call(method: str, path: str) -> httpx.Response:
    """Against an application behind which there is no hub: whatever handler is reached breaks."""

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app=HotCalls(FastAPI()))
        async with httpx.AsyncClient(transport=transport, base_url="http://hub") as client:
            return await client.request(method, path)

    return asyncio.run(ask())


@pytest.mark.parametrize("path", ["/v1/requests", "/v1/courier/poll", "/v1/courier/results", "/v1/courier/log"])
def test_broken_handler_tells_the_caller_nothing_of_the_inside(path):
    answer = call("POST", path)
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == "internal"
    assert "state" not in answer.json()["detail"]


@pytest.mark.parametrize(("method", "path"), [("GET", "/v1/requests"), ("POST", "/v1/requests/"), ("POST", "/v1")])
def test_other_calls_go_to_the_application(method, path):
    assert call(method, path).status_code == 404
