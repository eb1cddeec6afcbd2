# SPDX-License-Identifier: Apache-2.0
"""Who may call: signatures, clocks, replays, doors."""

from __future__ import annotations

import json
import socket
from urllib.parse import urlsplit

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from signwright.identity.messages import MessageParts
from tests.support.hub import Caller, HubHome


def test_health_and_openapi_are_open_and_nothing_else(hub):
    plain = hub.tester().http
    assert plain.get("/v1/health").json() == {"status": "ok"}
    document = plain.get("/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    for path, methods in document["paths"].items():
        if path == "/v1/health":
            continue
        for method in methods:
            target = path.replace("{index}", "0").replace("{number}", "0").replace("{", "").replace("}", "")
            answer = plain.request(method, target)
            assert answer.status_code == 401, (method, path)
            if method != "head":
                assert answer.headers["content-type"] == "application/problem+json"
                assert answer.json()["code"] == "not-signed"


def test_openapi_lists_every_route(hub):
    from signwright.hub.web.app import RESOURCES

    paths = hub.tester().http.get("/openapi.json").json()["paths"]
    for resource in RESOURCES:
        plain = resource.path.replace(":int", "").replace(":path", "")
        assert resource.method.lower() in paths[plain]


def test_unknown_key_is_refused(hub):
    answer = Caller(hub.url, Ed25519PrivateKey.generate()).get("/v1/policy")
    assert (answer.status_code, answer.json()["code"]) == (401, "unknown-key")


def test_signature_of_another_key_is_refused(hub):
    caller = hub.tester()
    caller.key = Ed25519PrivateKey.generate()
    answer = caller.get("/v1/policy")
    assert (answer.status_code, answer.json()["code"]) == (401, "bad-message-signature")


@pytest.mark.parametrize("off", [600, -600])
def test_clock_ten_minutes_off_is_named(hub, off):
    answer = hub.tester(clock_off=off).get("/v1/policy")
    assert (answer.status_code, answer.json()["code"]) == (401, "clock-skew")
    assert "server_time" in answer.json()


def test_replayed_call_is_refused_also_after_a_kill(tmp_path):
    home = HubHome(tmp_path)
    with home.running():
        caller = home.tester()
        headers = caller.headers(MessageParts.with_body("GET", "/v1/policy", "", b""))
        assert caller.http.get("/v1/policy", headers=headers).status_code == 200
        assert caller.http.get("/v1/policy", headers=headers).json()["code"] == "replayed-call"
        home.kill()
        home.start()
        again = home.tester().http.get("/v1/policy", headers=headers)
        assert (again.status_code, again.json()["code"]) == (401, "replayed-call")


def test_other_body_than_the_signed_one_is_refused(hub):
    caller = hub.tester()
    headers = caller.headers(MessageParts.with_body("POST", "/v1/requests", "", b"{}"))
    answer = caller.http.post("/v1/requests", content=b"[]", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (401, "content-digest-mismatch")


def test_401_comes_before_the_first_byte_of_the_body(hub):
    where = urlsplit(hub.url)
    with socket.create_connection((where.hostname, where.port), timeout=10) as channel:
        channel.sendall(
            b"PUT /v1/artifacts/sha256:" + b"ab" * 32 + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n"
        )
        assert channel.recv(4096).startswith(b"HTTP/1.1 401")


def test_large_body_is_refused_before_it_is_read(hub):
    answer = hub.tester().post("/v1/requests", b"x" * (300 << 10))
    assert (answer.status_code, answer.json()["code"]) == (413, "body-too-large")


def test_doors_are_kept_apart(hub):
    assert hub.tester().post("/v1/courier/poll", {}).json()["code"] == "wrong-door"
    assert hub.courier().get("/v1/requests").json()["code"] == "wrong-door"
    assert hub.courier().get("/v1/policy").status_code == 200
    assert hub.person("alice").post("/v1/requests", hub.world.request("test").encode()).json()["code"] == "wrong-door"


def test_session_reads_and_posts_but_is_not_an_approval(hub):
    from signwright.statements.writing import sign_ed25519

    view = hub.releaser().post("/v1/requests", hub.world.request("release").encode()).json()
    key = Ed25519PrivateKey.generate()
    caller = Caller(hub.url, key)
    assert caller.get("/v1/requests").status_code == 401
    assert caller.post("/v1/sessions", hub.session_envelope("alice", key)).status_code == 201
    assert caller.view(view["id"])["state"] == "uploading"
    import base64

    from signwright.statements.dsse import parse_envelope

    evidence = caller.get(f"/v1/requests/{view['id']}/evidence").json()
    request = parse_envelope(base64.b64decode(evidence["request"]))
    word = hub.world.approval(request, "alice", policy=hub.policy)
    forged = sign_ed25519(word.payload, key)
    refused = caller.post(f"/v1/requests/{view['id']}/approvals", forged.encode())
    assert (refused.status_code, refused.json()["code"]) == (422, "bad-approval")


def test_session_signed_by_a_stranger_is_refused(hub):
    key = Ed25519PrivateKey.generate()
    envelope = hub.session_envelope("alice", Ed25519PrivateKey.generate())  # of another session key
    answer = Caller(hub.url, key).post("/v1/sessions", envelope)
    assert (answer.status_code, answer.json()["code"]) == (401, "unknown-key")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "bad-json"),
        (b"{}", "bad-field"),
        (b'{"payload":"","payload":""}', "duplicate-member"),
        (b'{"a":1.5}', "float"),
        (json.dumps({"payload": "x" * (131 << 10)}).encode(), "statement-too-large"),
        ('{"payload":"\u202e"}'.encode(), "bad-text"),
        (b'{"payload":"\\u001b[31m"}', "bad-text"),
    ],
)
def test_bad_statement_is_a_clear_error(hub, body, code):
    answer = hub.tester().post("/v1/requests", body)
    assert answer.status_code in {400, 413}
    assert answer.json()["code"] == code


def test_log_never_holds_a_signature_or_a_body(hub):
    caller, envelope = hub.tester(), hub.world.request("test", mode="digest")
    sent = caller.post("/v1/requests", envelope.encode()).request
    text = hub.log()
    assert "authorized" in text
    assert sent.headers["signature"][6:40] not in text
    assert sent.content[20:60].decode() not in text


def _open_call(hub: HubHome, method: str, path: str, headers: dict[str, str], length: int) -> socket.socket:
    """A call whose headers were sent and whose body was not."""
    address = urlsplit(hub.url)
    channel = socket.create_connection((address.hostname, address.port), timeout=20)
    lines = [f"{method} {path} HTTP/1.1", f"host: {address.netloc}", *(f"{k}: {v}" for k, v in headers.items())]
    if "content-length" not in headers:
        lines.append(f"content-length: {length}")
    channel.sendall("\r\n".join([*lines, "", ""]).encode())
    return channel


@pytest.fixture(scope="module")
def hasty(tmp_path_factory):
    """A hub that waits one second for a body."""
    with HubHome(tmp_path_factory.mktemp("hasty"), limits={"body_seconds": 1}).running() as home:
        yield home


def test_body_that_does_not_come_is_not_waited_for(hasty):
    """Neither a stranger, who may try to open a session, nor a known caller holds a connection open for nothing."""
    stranger = Caller(hasty.url, Ed25519PrivateKey.generate())
    content, tester = bytes(100), hasty.tester()
    calls = [
        (stranger, "POST", "/v1/sessions", MessageParts.with_body("POST", "/v1/sessions", "", content)),
        (tester, "POST", "/v1/requests", MessageParts.with_body("POST", "/v1/requests", "", content)),
    ]
    for caller, method, path, parts in calls:
        with _open_call(hasty, method, path, caller.headers(parts), 100) as channel:
            answer = b""
            while piece := channel.recv(4096):
                answer += piece
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"slow-body" in answer


def test_strangers_do_not_keep_known_callers_out(hasty):
    """Many half-sent calls of strangers: the next stranger is told to come again, a known caller is served."""
    from signwright.hub.web.auth import MOST_NEWCOMERS

    channels = []
    try:
        for _ in range(MOST_NEWCOMERS + 1):
            parts = MessageParts.with_body("POST", "/v1/sessions", "", bytes(100))
            headers = Caller(hasty.url, Ed25519PrivateKey.generate()).headers(parts)
            channels.append(_open_call(hasty, "POST", "/v1/sessions", headers, 100))
        assert hasty.tester().get("/v1/policy").status_code == 200
        assert b"busy" in channels[-1].recv(4096)
    finally:
        for channel in channels:
            channel.close()
