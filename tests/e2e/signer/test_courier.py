# SPDX-License-Identifier: Apache-2.0
"""The real courier process between a small hub of our own and a real gate with real witness and TSA addresses."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from signwright.errors import ConflictError, SignwrightError
from signwright.identity.messages import MessageParts, check_created, parse_signed_message
from signwright.model.framing import Frame, read_frame
from signwright.signer.worker.pool import WorkerPool
from signwright.statements.keyfile import seed_text
from signwright.timestamps.issue import reply_to
from tests.support.custodians import Desk, custodian_site
from tests.support.gates import GateSite, digest_request, now_utc, pe_artifact, pe_program, sha256, until, unused_pool
from tests.support.processes import stop


class SmallHub:
    """Jobs out, results in; every call must carry a message signature of the courier's key. Plays witness and TSA
    too.
    """

    def __init__(self, site: GateSite, key: Ed25519PrivateKey) -> None:
        self.site = site
        self.public_key = key.public_key()
        self.jobs: list[dict[str, Any]] = []
        self.results: dict[str, Frame] = {}
        self.artifacts: dict[str, bytes] = {}
        self.log: dict[str, bytes] = {}
        self.unsigned = 0
        self.failing = 0
        self.fences: list[str] = []
        self.progress: list[tuple[str, int]] = []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _serve(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", "0")))
                status, kind, content = hub.answer(self.command, self.path, dict(self.headers.items()), body)
                self.send_response(status)
                self.send_header("content-type", kind)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_PUT = _serve

            def log_message(self, *arguments: object) -> None:
                """Tests are quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05})
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    def answer(self, method: str, target: str, headers: dict[str, str], body: bytes) -> tuple[int, str, bytes]:
        path, _, query = target.partition("?")
        if path == "/add-checkpoint":
            return self._witness(body)
        if method == "GET" and path.endswith("/checkpoint"):
            return self._latest(path.split("/")[1])
        if path == "/tsa":
            reply = reply_to(body, issuer=self.site.issuer, now=now_utc(), next_serial=lambda: 7)
            return 200, "application/timestamp-reply", reply.reply
        if method == "GET" and path.endswith("/checkpoint"):
            return self._latest(path.split("/")[-2])
        lower = {name.lower(): value for name, value in headers.items()}
        try:
            parts = MessageParts.received(method, path, query, headers=lower)
            assert MessageParts.with_body(method, path, query, body) == parts
            message = parse_signed_message(lower, parts)
            check_created(message, now=int(now_utc().timestamp()))
            self.public_key.verify(message.value, message.base)
        except (SignwrightError, AssertionError):
            self.unsigned += 1
            return 401, "text/plain", b""
        if self.failing:
            self.failing -= 1
            return 503, "text/plain", b"later"
        return self._courier(method, path, query, body)

    def _witness(self, body: bytes) -> tuple[int, str, bytes]:
        try:
            return 200, "text/plain", self.site.witness.add_checkpoint(body).line().encode()
        except ConflictError as problem:
            return 409, "text/x.tlog.size", f"{problem.details['size']}\n".encode()

    def _latest(self, origin: str) -> tuple[int, str, bytes]:
        try:
            return 200, "text/plain", self.site.witness.latest(origin)
        except SignwrightError:
            return 404, "text/plain", b""

    def _latest(self, origin: str) -> tuple[int, str, bytes]:
        try:
            return 200, "text/plain", self.site.witness.latest(origin)
        except SignwrightError:
            return 404, "text/plain", b""

    def _courier(self, method: str, path: str, query: str, body: bytes) -> tuple[int, str, bytes]:
        name = path.removeprefix("/v1/courier/")
        if name == "poll":
            return 200, "application/json", json.dumps(self._work(json.loads(body))).encode()
        if name.startswith("artifacts/sha256:"):
            return 200, "application/octet-stream", self.artifacts[name.removeprefix("artifacts/sha256:")]
        if name == "progress":
            self.progress += [(row["state"], row["fence"]) for row in json.loads(body)["jobs"]]
        elif name.startswith("results/"):
            self.fences.append(query)
            self.results[name.removeprefix("results/")] = _frame(body)
        elif name == "log":
            frame = _frame(body)
            self.log.update(zip(frame.message["paths"], frame.parts, strict=True))  # type: ignore[call-overload]
        return 200, "application/json", b"{}"

    def _work(self, poll: dict[str, Any]) -> dict[str, Any]:
        root, index, documents, _ = self.site.policy_parts
        policy = None
        if poll["policy_sha256"] != self.site.policy.sha256:
            names = {name: base64.b64encode(content).decode() for name, content in documents.items()}
            envelopes = [base64.b64encode(e.encode()).decode() for e in (root, index)]
            policy = {
                "root": envelopes[0],
                "policy": envelopes[1],
                "documents": names,
                "sha256": self.site.policy.sha256,
            }
        jobs, self.jobs = self.jobs, []
        head = {"head": hashlib.sha256(b"events").hexdigest(), "count": 3}
        return {"policy": policy, "jobs": jobs, "events_head": head}

    def hand_out(self, name: str, request: bytes, *, fence: int = 5) -> None:
        encoded = base64.b64encode(request).decode()
        self.jobs.append(
            {"id": name, "fence": fence, "lease_seconds": 60, "request": encoded, "approvals": [], "evidence": []}
        )


def _frame(content: bytes) -> Frame:
    at = 0

    def exactly(length: int) -> bytes:
        nonlocal at
        at += length
        return content[at - length : at]

    return read_frame(exactly)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[GateSite]:
    made = GateSite(tmp_path)
    yield made
    made.close()


@pytest.fixture
def pool() -> Iterator[WorkerPool]:
    with unused_pool() as warm:
        yield warm


@pytest.fixture
def hub(site: GateSite, hub_of: Callable[[GateSite], SmallHub]) -> SmallHub:
    return hub_of(site)


@pytest.fixture
def hub_of() -> Iterator[Callable[[GateSite], SmallHub]]:
    """Makes a hub for a site, and the settings of its courier."""
    with ExitStack() as stack:
        yield lambda site: stack.enter_context(_small_hub(site))


@contextmanager
def _small_hub(site: GateSite) -> Iterator[SmallHub]:
    key = Ed25519PrivateKey.generate()
    path = site.folder / "courier.key"
    path.touch(mode=0o600)
    path.write_text(seed_text(key), encoding="ascii")
    made = SmallHub(site, key)
    lines = [f'hub = "{made.url}"', f'gate = "{site.settings.socket}"', f'key_file = "{path}"', "wait_seconds = 1"]
    lines += ["[witnesses]", f'w1 = "{made.url}"', "[timestamp_authorities]", f'builtin = "{made.url}/tsa"']
    (site.folder / "courier.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    try:
        yield made
    finally:
        made.close()


def start_courier(site: GateSite) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "signwright.signer.courier", "--settings", str(site.folder / "courier.toml")]
    with (site.folder / "courier.log").open("ab") as log:
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log)


def test_policy_jobs_artifacts_results_and_tiles_are_carried(site: GateSite, hub: SmallHub, pool: WorkerPool) -> None:
    content = pe_program()
    request = site.world.request("test", files={"a.exe": content}, artifacts=[pe_artifact(content)])
    hub.artifacts[sha256(content)] = content
    hub.failing = 2  # the hub is not well when the courier comes

    async def scenario() -> None:
        async with site.run(pool, policy=False, courier=False) as (gate, _):
            process = start_courier(site)
            try:
                assert process.stdout is not None
                assert await asyncio.to_thread(process.stdout.readline) == b"ready\n"
                await until(lambda: gate.parts.policies.current is not None)
                hub.hand_out("r-one", request.encode())
                hub.hand_out("r-two", digest_request(site).encode())
                await until(lambda: set(hub.results) == {"r-one", "r-two"}, seconds=30)
                await until(lambda: "checkpoint" in hub.log)
            finally:
                await asyncio.to_thread(stop, process)
            assert process.returncode == 0
            assert [frame.message["outcome"] for frame in hub.results.values()] == ["signed", "signed"]
            assert set(hub.fences) == {"fence=5"}
            assert hub.unsigned == 0
            assert site.keyholder.operations == 2

    asyncio.run(scenario())


def test_courier_comes_back_to_a_gate_that_was_started_again(site: GateSite, hub: SmallHub) -> None:
    async def serve(name: str) -> None:
        async with site.run(policy=False, courier=False):
            hub.hand_out(name, digest_request(site).encode())
            await until(lambda: name in hub.results, seconds=40)
            assert hub.results[name].message["outcome"] == "signed", hub.results[name].message

    process = start_courier(site)
    try:
        asyncio.run(serve("r-one"))
        asyncio.run(serve("r-two"))
    finally:
        stop(process)
    assert site.keyholder.operations == 2


def test_job_that_waits_for_the_custodian_and_is_handed_out_again_ends_under_the_newer_lease(
    tmp_path: Path, hub_of: Callable[[GateSite], SmallHub]
) -> None:
    """As after a restart of the hub: what it handed out before has lapsed, and the gate still waits for a person."""
    with custodian_site(tmp_path) as site:
        hub = hub_of(site)

        async def scenario() -> None:
            async with site.run(policy=False, courier=False) as (gate, courier):
                desk = Desk(site, gate, courier)
                process = start_courier(site)
                try:
                    request = digest_request(site).encode()
                    hub.hand_out("r-one", request)
                    await until(lambda: ("custodian", 5) in hub.progress, seconds=30)
                    hub.hand_out("r-one", request, fence=9)
                    await until(lambda: ("custodian", 9) in hub.progress, seconds=30)
                    await desk.word(await desk.list())
                    await until(lambda: "r-one" in hub.results, seconds=30)
                finally:
                    await asyncio.to_thread(stop, process)
                assert hub.results["r-one"].message["outcome"] == "signed"
                assert hub.fences == ["fence=9"]

        asyncio.run(scenario())


def test_name_without_an_address_is_an_honest_failure(site: GateSite, hub: SmallHub) -> None:
    path = site.folder / "courier.toml"
    path.write_text(path.read_text(encoding="utf-8").replace("builtin =", "another ="), encoding="utf-8")

    async def scenario() -> None:
        async with site.run(policy=False, courier=False):
            process = start_courier(site)
            try:
                hub.hand_out("r-one", digest_request(site).encode())
                await until(lambda: "r-one" in hub.results, seconds=30)
            finally:
                await asyncio.to_thread(stop, process)
            message = hub.results["r-one"].message
            assert (message["outcome"], message["code"]) == ("failed", "no-timestamp")
            assert "no address" in str(message["message"])

    asyncio.run(scenario())
