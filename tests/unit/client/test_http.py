# SPDX-License-Identifier: Apache-2.0
"""Calls over a bad network: what is sent again, what is not, and what the hub's problems become."""

from __future__ import annotations

import io
import json
import secrets

import pytest

from signwright import errors
from signwright.client.credentials import new_credential
from signwright.client.http import ATTEMPTS, CallKey, HubConnection
from signwright.client.hub import Hub
from signwright.client.upload import upload
from signwright.identity.messages import MessageParts, parse_signed_message
from tests.support.small_hub import Call, Reply, small_hub

CREDENTIAL = new_credential("test")
KEY = CallKey(CREDENTIAL.key_id, CREDENTIAL.key.sign)


def check_signature(call: Call, *, artifact: bool = False) -> str:
    """Verifies, and returns the nonce."""
    path, _, query = call.path.partition("?")
    parts = MessageParts.received(call.method, path, query, headers=call.headers, artifact=artifact)
    message = parse_signed_message(call.headers, parts)
    CREDENTIAL.key.public_key().verify(message.value, message.base)
    return message.nonce


def test_lost_connection_is_tried_again_with_a_fresh_nonce() -> None:
    with (
        small_hub(lambda _, number: Reply(drop=number < 2, body=b'{"a":1}')) as hub,
        HubConnection(hub.url, KEY) as one,
    ):
        assert one.call("POST", "/v1/requests", query="wait=1", body=b"{}").json() == {"a": 1}
    assert len({check_signature(call) for call in hub.calls}) == 3
    assert all(call.body == b"{}" for call in hub.calls)


def test_call_that_must_not_happen_twice_is_sent_once() -> None:
    with small_hub(lambda *_: Reply(drop=True)) as hub, HubConnection(hub.url, KEY) as one:
        with pytest.raises(errors.UnavailableError):
            one.call("POST", "/v1/x", repeatable=False)
    assert len(hub.calls) == 1


def test_attempts_come_to_an_end() -> None:
    with small_hub(lambda *_: Reply(drop=True)) as hub, HubConnection(hub.url, KEY) as one:
        with pytest.raises(errors.UnavailableError) as refused:
            one.call("GET", "/v1/x")
    assert (len(hub.calls), refused.value.code) == (ATTEMPTS, "hub-unreachable")


def test_hub_that_asks_for_patience_gets_it() -> None:
    busy = Reply(503, {"retry-after": "0"}, b'{"code":"busy"}')
    with small_hub(lambda _, number: busy if number < 1 else Reply()) as hub, HubConnection(hub.url, KEY) as one:
        assert one.call("GET", "/v1/x").status == 200
    assert len(hub.calls) == 2


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, errors.MalformedError),
        (401, errors.AuthenticationError),
        (403, errors.DeniedError),
        (404, errors.NotFoundError),
        (409, errors.ConflictError),
        (413, errors.LimitError),
        (422, errors.VerificationError),
        (500, errors.SignwrightError),
        (503, errors.UnavailableError),
    ],
)
def test_problem_document_becomes_the_error_it_names(status: int, kind: type[errors.SignwrightError]) -> None:
    body = {
        "type": "x",
        "title": "T",
        "status": status,
        "detail": "what",
        "code": "some-code",
        "hint": "h",
        "reasons": [],
    }
    with small_hub(lambda *_: Reply(status, {}, json.dumps(body).encode())) as hub, HubConnection(hub.url, KEY) as one:
        with pytest.raises(kind) as refused:
            one.call("GET", "/v1/x")
    found = refused.value
    assert (type(found), found.message, found.code, found.hint) == (kind, "what", "some-code", "h")
    assert found.details == {"reasons": []}


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"code": 1}', b'{"code":"a","code":"b"}', b"[" * 100_000, b"\xff"])
def test_answer_in_another_form_is_an_error_and_no_crash(body: bytes) -> None:
    with small_hub(lambda *_: Reply(500, {}, body)) as hub, HubConnection(hub.url, KEY) as one:
        with pytest.raises(errors.SignwrightError, match="no problem document"):
            one.call("GET", "/v1/x")


def test_redirects_are_not_followed() -> None:
    with small_hub(lambda *_: Reply(302, {"location": "/v1/other"})) as hub, HubConnection(hub.url, KEY) as one:
        with pytest.raises(errors.SignwrightError):
            one.call("GET", "/v1/x")
    assert len(hub.calls) == 1


def test_broken_upload_goes_on_where_it_ended() -> None:
    content = secrets.token_bytes(3 << 20)
    have = {"bytes": 0}

    def answer(call: Call, number: int) -> Reply:
        if call.method == "HEAD":
            return Reply(200, {"upload-offset": str(have["bytes"])})
        if number == 1:
            have["bytes"] = 1 << 20
            return Reply(read=1 << 20)
        return Reply(201)

    sent: list[int] = []
    with small_hub(answer) as hub, HubConnection(hub.url, KEY) as one:
        upload(
            Hub(one),
            io.BytesIO(content),
            sha256="ab" * 32,
            size=len(content),
            progress=lambda now, _: sent.append(now),
        )
    puts = [call for call in hub.calls if call.method == "PUT"]
    assert [int(call.headers["upload-offset"]) for call in puts] == [0, 1 << 20]
    assert puts[0].body + puts[1].body == content
    assert [check_signature(call, artifact=True) for call in puts]
    assert sent[-1] == len(content)


def test_empty_file_is_sent_as_well() -> None:
    def answer(call: Call, _: int) -> Reply:
        return Reply(201 if call.method == "PUT" else 404)

    with small_hub(answer) as hub, HubConnection(hub.url, KEY) as one:
        upload(Hub(one), io.BytesIO(b""), sha256="ab" * 32, size=0, progress=lambda *_: None)
    assert [call.method for call in hub.calls] == ["HEAD", "PUT"]
