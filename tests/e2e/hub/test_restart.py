# SPDX-License-Identifier: Apache-2.0
"""SIGKILL in every state: nothing is lost and the request goes on. Policies, scans, leases, retention, events."""

from __future__ import annotations

import hashlib
import secrets
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from signwright.hub.adapters.database.database import open_engine, stored_events
from signwright.hub.adapters.database.events import verify_events
from signwright.hub.policies import write_bundle
from signwright.model.framing import encode_frame, read_frame
from signwright.policy import documents as d
from signwright.policy.policy import open_policy
from tests.support.hub import HubHome
from tests.support.processes import wait_until


@contextmanager
def scanner(home: HubHome, path: Path, *, verdict: str = "clean") -> Iterator[None]:
    """A small real scanner: reads the descriptor, signs a verdict with the enrolled key."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()

    def answer(channel: socket.socket) -> bool:
        _, descriptors, _, _ = socket.recv_fds(channel, 1, 4)
        if not descriptors:
            return False
        asked = read_frame(lambda n: channel.recv(n, socket.MSG_WAITALL)).message["scan"]
        with open(descriptors[0], "rb") as file:
            content = file.read()
        assert isinstance(asked, dict)
        assert hashlib.sha256(content).hexdigest() == asked["sha256"]
        channel.sendall(encode_frame({"progress": {"scanned": 1, "members": 0}}))
        channel.sendall(encode_frame({"verdict": verdict}, [home.world.scan(content, verdict).encode()]))
        return True

    def serve() -> None:
        going = True
        while going:
            channel, _ = listener.accept()
            with channel:
                going = answer(channel)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        with socket.socket(socket.AF_UNIX) as last:
            last.connect(str(path))
        thread.join()
        listener.close()


def restart(home: HubHome) -> None:
    home.kill()
    home.start()


def state(home: HubHome, reference: str) -> str:
    return str(home.person("carol").view(reference)["state"])


def wait_for(home: HubHome, reference: str, wanted: str) -> None:
    person = home.person("carol")
    wait_until(lambda: person.view(reference)["state"] == wanted, what=f"{reference} is {wanted}")


def test_release_survives_a_kill_in_every_state(tmp_path):
    content = secrets.token_bytes(1_000_000)
    home = HubHome(tmp_path, scanner_socket=str(tmp_path / "s"), limits={"lease_seconds": 30})
    with home.running():
        view = (
            home.releaser()
            .post("/v1/requests", home.world.request("release", files={"a.exe": content}).encode())
            .json()
        )
        restart(home)
        assert state(home, view["id"]) == "uploading"
        assert home.releaser().put(content[:400_000], whole=content).status_code == 204
        restart(home)
        assert home.releaser().offset(content).headers["upload-offset"] == "400000"
        assert home.releaser().put(content[400_000:], whole=content, offset=400_000).status_code == 201
        assert state(home, view["id"]) == "scanning"
        restart(home)
        with scanner(home, tmp_path / "s"):
            wait_for(home, view["id"], "awaiting-approval")
        restart(home)
        assert home.approve(view["id"], "alice").status_code == 201
        restart(home)
        assert home.approve(view["id"], "bob").json()["state"] == "authorized"
        restart(home)
        (job,) = home.courier().poll()["jobs"]
        assert len(job["approvals"]) == 2
        assert len(job["evidence"]) == 1
        got = home.courier().get(f"/v1/courier/artifacts/sha256:{hashlib.sha256(content).hexdigest()}")
        assert got.content == content
        restart(home)
        assert state(home, view["id"]) == "signing"
        assert home.courier().result(job["id"], fence=job["fence"]).json()["state"] == "completed"
        restart(home)
        assert home.releaser().get(f"/v1/requests/{view['id']}/results/0/receipt").content == b"receipt 0"
    with open_engine(f"sqlite:///{tmp_path}/hub/hub.sqlite3").connect() as connection:
        events = stored_events(connection)
    head = verify_events(events)
    kinds = [event.kind for event in events if event.request_id == view["id"]]
    assert kinds == ["submit", "approval", "approval", "completed", "download"]
    assert head.count == len(events)


def test_silent_couriers_lease_ends_and_another_gets_the_job(tmp_path):
    home = HubHome(tmp_path, limits={"lease_seconds": 1})
    with home.running():
        view = home.tester().post("/v1/requests", home.world.request("test", mode="digest").encode()).json()
        (first,) = home.courier().poll()["jobs"]
        restart(home)
        jobs: list[dict[str, Any]] = []

        def leased_again() -> bool:
            """A poll may end early, when the hub has something else to say."""
            jobs.extend(home.courier().poll(wait=20, policy=home.policy.sha256)["jobs"])
            return bool(jobs)

        wait_until(leased_again, what="the job of the silent courier", seconds=60)
        (second,) = jobs
        assert second["id"] == first["id"] == view["id"]
        assert home.courier().result(view["id"], fence=first["fence"]).json()["code"] == "stale-lease"
        assert home.courier().result(view["id"], fence=second["fence"]).json()["state"] == "completed"


def test_infected_artifact_is_denied_with_the_finding(tmp_path):
    home = HubHome(tmp_path, scanner_socket=str(tmp_path / "s"))
    with home.running(), scanner(home, tmp_path / "s", verdict="infected"):
        view = home.releaser().post("/v1/requests", home.world.request("release").encode()).json()
        home.releaser().put(b"artifact")
        wait_for(home, view["id"], "denied")
        assert "EICAR" in home.releaser().view(view["id"])["reasons"][0]["found"]


def test_scanner_that_is_down_is_named_and_nothing_goes_on(tmp_path):
    home = HubHome(tmp_path, scanner_socket=str(tmp_path / "nobody"))
    with home.running():
        view = home.releaser().post("/v1/requests", home.world.request("release").encode()).json()
        home.releaser().put(b"artifact")
        wait_until(
            lambda: "did not answer" in str(home.releaser().view(view["id"])["reasons"]), what="the reason is shown"
        )
        assert state(home, view["id"]) == "scanning"


def bundle(home: HubHome) -> tuple[bytes, int]:
    """The next signed version of the home's policy."""
    root, index, documents, pinned = home.world.policy_parts()
    policy = open_policy(root, index, documents, pinned_root_sha256=pinned)
    home.policy = policy
    return write_bundle(policy, root.encode(), index.encode(), documents), policy.version


def test_new_policy_decides_open_requests_again_and_old_approvals_lapse(tmp_path):
    home = HubHome(tmp_path)
    with home.running():
        waiting = home.tester().post("/v1/requests", home.world.request("test", mode="digest").encode()).json()
        release = home.releaser().post("/v1/requests", home.world.request("release").encode()).json()
        home.approve(release["id"], "alice")
        old, _ = bundle(home)
        project = home.world.documents()["projects/default"]
        assert isinstance(project, d.Project)
        rules = dict(project.signing_policies)
        rules["test"] = rules["test"].model_copy(update={"modes": ("artifact",)})
        home.world.with_documents(projects_default=project.model_copy(update={"signing_policies": rules}))
        new, version = bundle(home)
        assert home.tester().post("/v1/policy", new).json()["version"] == version
        assert state(home, waiting["id"]) == "denied"
        found = [r["found"] for r in home.releaser().view(release["id"])["reasons"] if r["rule"] == "approvals"]
        assert found[0].startswith("0 of 2")
        back = home.tester().post("/v1/policy", old)
        assert (back.status_code, back.json()["code"]) == (409, "policy-version")
        restart(home)  # the folder still holds the first version
        assert home.tester().get("/v1/policy").json()["version"] == version
        assert home.courier().poll(policy=None)["policy"]["version"] == version
        assert home.courier().poll(policy=home.policy.sha256)["policy"] is None


def test_policy_of_a_stranger_is_refused(tmp_path):
    home = HubHome(tmp_path)
    with home.running():
        from tests.support.world import World

        stranger = World(now=home.world.now)
        root, index, documents, pinned = stranger.policy_parts()
        policy = open_policy(root, index, documents, pinned_root_sha256=pinned)
        answer = home.tester().post("/v1/policy", write_bundle(policy, root.encode(), index.encode(), documents))
        assert (answer.status_code, answer.json()["code"]) == (422, "unknown-policy-root")


def told(folder):
    """Kind and request of each event, in order, once the chain was verified."""
    with open_engine(f"sqlite:///{folder}/hub/hub.sqlite3").connect() as connection:
        events = stored_events(connection)
    verify_events(events)
    return [(event.kind, event.request_id) for event in events]


def test_contents_are_deleted_when_the_policy_no_longer_wants_them(tmp_path):
    home = HubHome(tmp_path)
    with home.running():
        project = home.world.documents()["projects/default"]
        assert isinstance(project, d.Project)
        rules = dict(project.signing_policies)
        rules["test"] = rules["test"].model_copy(update={"retention_days": 0})
        home.world.with_documents(projects_default=project.model_copy(update={"signing_policies": rules}))
        assert home.tester().post("/v1/policy", bundle(home)[0]).status_code == 201
        view = home.tester().post("/v1/requests", home.world.request("test").encode()).json()
        home.tester().put(b"artifact")
        kept = home.releaser().post("/v1/requests", home.world.request("release").encode()).json()
        home.releaser().put(b"artifact")
        for caller, one in ((home.tester(), view), (home.releaser(), kept)):
            assert caller.post(f"/v1/requests/{one['id']}/cancel").status_code == 200
        restart(home)  # retention is looked at first thing
        wait_until(lambda: home.tester().view(view["id"])["purged"], what="the test request is purged")
        assert not home.releaser().view(kept["id"])["purged"]  # the organisation wants releases kept
        assert home.releaser().get(f"/v1/requests/{kept['id']}/artifacts/0").content == b"artifact"
        assert home.tester().get(f"/v1/requests/{view['id']}/artifacts/0").json()["code"] == "artifact-gone"
    assert [request for kind, request in told(tmp_path) if kind == "deletion"] == [view["id"]]


def test_log_files_are_published_and_read(tmp_path):
    home = HubHome(tmp_path)
    with home.running():
        courier = home.courier()
        for path, content in (("tile/0/000", b"one"), ("tile/entries/x001/234.p/5", b"two"), ("checkpoint", b"three")):
            assert courier.call("PUT", f"/v1/courier/log/{path}", content).status_code == 204
            assert home.tester().get(f"/v1/log/{path}").content == content
        frame = encode_frame({"paths": ["tile/0/001", "checkpoint"]}, [b"more", b"newer"])
        assert courier.post("/v1/courier/log", frame).status_code == 204
        assert home.person("alice").get("/v1/log/checkpoint").text == "newer"
        assert courier.call("PUT", "/v1/courier/log/tile/0/000", b"other").json()["code"] == "log-file-changed"
        assert home.tester().get("/v1/log/tile/0/777").status_code == 404
        for path in ("..%2f..%2fhub.json", "tile/../../hub.sqlite3", "tile", "hub.json", "tile/0/000.tmp"):
            assert courier.call("PUT", f"/v1/courier/log/{path}", b"x").status_code in {400, 401, 404}, path
            assert home.tester().get(f"/v1/log/{path}").status_code in {400, 401, 404}, path


def test_session_survives_a_restart(tmp_path):
    home = HubHome(tmp_path)
    with home.running():
        alice = home.person("alice")
        restart(home)
        from tests.support.hub import Caller

        assert Caller(home.url, alice.key).get("/v1/requests").status_code == 200
    assert [kind for kind, _ in told(tmp_path)].count("login") == 1


def test_hub_without_a_policy_does_not_start(tmp_path):
    home = HubHome(tmp_path)
    (tmp_path / "policy/policy.json").unlink()
    with pytest.raises(AssertionError, match="no policy to start with"):
        home.start()


def test_unknown_setting_is_refused(tmp_path):
    import subprocess
    import sys

    path = tmp_path / "hub.toml"
    path.write_text('colour = "red"\n')
    command = [sys.executable, "-m", "signwright.hub", "--settings", path]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert "hub settings" in ended.stderr
