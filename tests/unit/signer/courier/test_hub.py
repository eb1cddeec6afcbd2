# SPDX-License-Identifier: Apache-2.0
"""What a hub answers to a poll, read by the courier: a lie is an error and never a message to the gate."""

from __future__ import annotations

import asyncio
import json
import ssl

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from signwright.errors import UnavailableError
from signwright.signer.courier.http import HttpClient
from signwright.signer.courier.hub import Carried, Hub, Work
from tests.support.small_hub import Reply, small_hub


def polled(body: bytes) -> Work:
    async def poll(url: str) -> Work:
        async with HttpClient(tls=ssl.create_default_context(), base=url) as client:
            return await Hub(client, Ed25519PrivateKey.generate()).poll(most=1, wait=0, carried=Carried())

    with small_hub(lambda *_: Reply(body=body)) as hub:
        return asyncio.run(poll(hub.url))


def test_members_beside_the_head_of_the_events_are_left_behind():
    """The courier hands the head to the gate as a message: a ``type`` of the hub would make it another message."""
    told = {"head": "0" * 64, "count": 3, "type": "answer", "errand": 1, "ok": True, "status": 200}
    assert polled(json.dumps({"jobs": [], "events_head": told}).encode()).events_head == {"head": "0" * 64, "count": 3}


@pytest.mark.parametrize(
    "body",
    [
        b"[",
        b"[]",
        b"[" * 100_000,
        b'{"jobs":[7]}',
        b'{"jobs":[{"id":"r-1"}]}',
        b'{"jobs":[{"id":"r-1","request":"?","approvals":[],"evidence":[]}]}',
        b'{"jobs":[{"id":"r-1","request":"","approvals":7,"evidence":[]}]}',
        b'{"policy":{"documents":7,"root":"","policy":"","sha256":""}}',
        b'{"policy":{}}',
        b'{"events_head":{"type":"sign"}}',
    ],
)
def test_answer_in_another_form_is_no_crash(body):
    with pytest.raises(UnavailableError) as refused:
        polled(body)
    assert refused.value.code == "bad-hub-answer"
