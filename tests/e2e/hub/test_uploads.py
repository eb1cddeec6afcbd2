# SPDX-License-Identifier: Apache-2.0
"""Artifacts on their way in: resumed, checked, limited, in constant memory, and never a rumour of what others sent."""

from __future__ import annotations

import hashlib
import os
import resource
import secrets
import socket
from urllib.parse import urlsplit

import pytest

from signwright.identity.messages import MessageParts
from tests.support.hub import HubHome
from tests.support.processes import wait_until


def ask(hub: HubHome, content: bytes, *, policy: str = "test", by=None):
    caller = by or hub.tester()
    answer = caller.post("/v1/requests", hub.world.request(policy, files={"a.exe": content}).encode())
    assert answer.status_code == 202, answer.text
    return answer.json()


def send_half(hub: HubHome, content: bytes, upto: int) -> None:
    """Promise the whole of ``content``, send ``upto`` bytes, and break off."""
    caller, digest = hub.tester(), hashlib.sha256(content).hexdigest()
    path = f"/v1/artifacts/sha256:{digest}"
    parts = MessageParts.with_artifact("PUT", path, "", sha256=digest, offset=0, length=len(content))
    lines = "".join(f"{name}: {value}\r\n" for name, value in caller.headers(parts).items())
    where = urlsplit(hub.url)
    with socket.create_connection((where.hostname, where.port), timeout=10) as channel:
        channel.sendall(f"PUT {path} HTTP/1.1\r\nhost: x\r\n{lines}\r\n".encode() + content[:upto])
    wait_until(lambda: hub.tester().offset(content).headers["upload-offset"] == str(upto), what="the half is kept")


def test_artifact_is_uploaded_and_the_request_goes_on(hub):
    content = secrets.token_bytes(5 << 20)
    view = ask(hub, content)
    assert view["missing"] == [hashlib.sha256(content).hexdigest()]
    assert hub.tester().put(content).status_code == 201
    assert hub.tester().view(view["id"])["state"] == "authorized"
    got = hub.person("alice").get(f"/v1/requests/{view['id']}/artifacts/0", range="bytes=5-9")
    assert (got.status_code, got.content) == (206, content[5:10])


def test_broken_upload_goes_on_where_it_stopped(hub):
    content = secrets.token_bytes(3_000_000)
    view = ask(hub, content)
    send_half(hub, content, 1_500_000)
    wrong = hub.tester().put(content[10:], whole=content, offset=10)
    assert (wrong.status_code, wrong.headers["upload-offset"], wrong.json()["code"]) == (409, "1500000", "wrong-offset")
    assert hub.tester().put(content[1_500_000:2_000_000], whole=content, offset=1_500_000).status_code == 204
    assert hub.tester().put(content[2_000_000:], whole=content, offset=2_000_000).status_code == 201
    assert hub.tester().view(view["id"])["state"] == "authorized"
    assert hub.tester().offset(content).headers["upload-offset"] == "3000000"


def test_wrong_content_is_removed_and_named(hub):
    content, other = secrets.token_bytes(2_000_000), secrets.token_bytes(2_000_000)
    view = ask(hub, content)
    refused = hub.tester().put(other, whole=content)
    assert (refused.status_code, refused.json()["code"]) == (422, "wrong-content")
    assert hashlib.sha256(other).hexdigest() in refused.json()["detail"]
    assert hub.tester().offset(content).headers["upload-offset"] == "0"
    assert hub.tester().put(content).status_code == 201
    assert hub.tester().view(view["id"])["state"] == "authorized"


def test_more_bytes_than_the_request_says_are_refused(hub):
    content = b"y" * 1000
    ask(hub, content)
    refused = hub.tester().put(content + b"z", whole=content)
    assert (refused.status_code, refused.json()["code"]) == (413, "artifact-too-large")


def test_artifact_that_no_request_names_is_refused(hub):
    content = secrets.token_bytes(100)
    assert hub.tester().put(content).json()["code"] == "artifact-not-wanted"
    assert hub.tester().offset(content).status_code == 404


def test_what_others_sent_changes_no_answer(hub):
    content = secrets.token_bytes(100_000)
    ask(hub, content)
    assert hub.tester().put(content).status_code == 201
    releaser = hub.releaser()
    assert releaser.offset(content).status_code == 404
    view = ask(hub, content, policy="release", by=releaser)
    assert view["missing"] == [hashlib.sha256(content).hexdigest()]
    assert releaser.offset(content).headers["upload-offset"] == "0"
    assert releaser.put(content).status_code == 201


def test_own_content_is_not_sent_twice(hub):
    content = secrets.token_bytes(1000)
    ask(hub, content)
    hub.tester().put(content)
    assert ask(hub, content)["state"] == "authorized"


def test_empty_artifact_is_uploaded(hub):
    view = ask(hub, b"")
    assert hub.tester().put(b"").status_code == 201
    assert hub.tester().view(view["id"])["state"] == "authorized"


def test_quota_of_open_requests_and_bytes(tmp_path):
    with HubHome(tmp_path, limits={"open_requests": 2, "open_bytes": 1000}).running() as home:
        ask(home, b"a" * 600)
        post = home.tester().post("/v1/requests", home.world.request("test", files={"b.exe": b"b" * 600}).encode())
        assert (post.status_code, post.json()["code"]) == (429, "quota-exceeded")
        ask(home, b"c")
        post = home.tester().post("/v1/requests", home.world.request("test", files={"d.exe": b"d"}).encode())
        assert (post.status_code, post.json()["code"]) == (429, "too-many-requests")
        assert home.releaser().post("/v1/requests", home.world.request("release").encode()).status_code == 202


def test_full_disk_is_a_clean_error_and_leaves_nothing_half_written(tmp_path):
    limit = 8 << 20

    def preexec() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    content = secrets.token_bytes(12 << 20)
    with HubHome(tmp_path).running(preexec=preexec) as home:
        view = ask(home, content)
        refused = home.tester().put(content)
        assert (refused.status_code, refused.json()["code"]) == (507, "storage-full")
        kept = int(home.tester().offset(content).headers["upload-offset"])
        assert 0 <= kept <= limit
        assert not list((home.folder / "hub/artifacts/objects").rglob("*/*/*"))
        assert home.tester().view(view["id"])["state"] == "uploading"
        home.kill()
        home.start()  # there is room now
        assert home.tester().put(content[kept:], whole=content, offset=kept).status_code == 201
        assert home.tester().view(view["id"])["state"] == "authorized"


def test_memory_stays_constant(tmp_path):
    size, block = 160 << 20, secrets.token_bytes(1 << 20)
    digest = hashlib.sha256()
    for _ in range(size >> 20):
        digest.update(block)
    with HubHome(tmp_path).running() as home:
        from signwright.statements.models import RequestedArtifact
        from tests.support.world import sign_ed25519

        world = home.world
        artifact = RequestedArtifact(size=size, format="pe", operations=(world.operation(),))
        envelope = _naming(world.request("test", artifacts=[artifact]), digest.hexdigest())
        envelope = sign_ed25519(envelope, world.test_credential)
        view = home.tester().post("/v1/requests", envelope.encode()).json()
        caller, path = home.tester(), f"/v1/artifacts/sha256:{digest.hexdigest()}"
        parts = MessageParts.with_artifact("PUT", path, "", sha256=digest.hexdigest(), offset=0, length=size)
        before = peak(home)
        answer = caller.http.put(path, content=(block for _ in range(size >> 20)), headers=caller.headers(parts))
        assert answer.status_code == 201
        assert caller.view(view["id"])["state"] == "authorized"
        assert peak(home) - before < 24 << 10
        assert peak(home) < 110 << 10


def _naming(envelope, sha256: str) -> bytes:
    return envelope.payload.replace(hashlib.sha256(b"artifact").hexdigest().encode(), sha256.encode(), 1)


def peak(home: HubHome) -> int:
    """Peak resident memory of the hub in KiB."""
    assert home.process is not None
    with open(f"/proc/{home.process.pid}/status", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM"))


@pytest.mark.parametrize("offset", ["-1", "1e3", "", "99999999999999999999"])
def test_bad_offset_header_is_a_clear_error(hub, offset):
    caller, path = hub.tester(), "/v1/artifacts/sha256:" + "ab" * 32
    fields = (
        ("repr-digest", MessageParts.with_artifact("PUT", path, "", sha256="ab" * 32, offset=0, length=0).fields[0][1]),
    )
    parts = MessageParts("PUT", path, "", (*fields, ("upload-offset", offset), ("content-length", "0")))
    answer = caller.http.put(path, content=b"", headers=caller.headers(parts))
    assert (answer.status_code, answer.json()["code"]) == (400, "bad-header")


def test_files_of_the_store_are_read_only_and_named_by_digest(hub):
    content = secrets.token_bytes(10)
    ask(hub, content)
    hub.tester().put(content)
    digest = hashlib.sha256(content).hexdigest()
    path = hub.folder / "hub/artifacts/objects" / digest[:2] / digest[2:4] / digest
    assert path.read_bytes() == content
    assert os.stat(path).st_mode & 0o777 == 0o400


def test_what_the_hub_stores_is_its_users_alone(hub):
    """Also where the data folder was made by somebody with other habits."""
    content = b"private " + bytes(100)
    ask(hub, content)
    assert hub.tester().put(content).status_code == 201
    open_to_others = [
        path for path in (hub.folder / "hub").rglob("*") if not path.is_symlink() and path.stat().st_mode & 0o077
    ]
    assert open_to_others == []
