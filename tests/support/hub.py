# SPDX-License-Identifier: Apache-2.0
"""A real hub process for tests, and callers that sign like the client and the courier do."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from signwright.identity.messages import MessageParts, sign_message
from signwright.identity.sessions import session_subject
from signwright.model.framing import encode_frame
from signwright.model.times import format_time
from signwright.policy.policy import Policy, open_policy
from signwright.statements.session import Session
from signwright.statements.writing import public_text, statement_payload
from tests.support.processes import stop, wait_until
from tests.support.world import World, key_id, sign_ssh

#: One pool of connections for each hub; closed when the hub ends.
_CLIENTS: dict[str, httpx.Client] = {}


class Caller:
    """Signs every call (RFC 9421) with one Ed25519 key. ``clock_off``: seconds that this caller's clock is ahead."""

    def __init__(self, url: str, key: Ed25519PrivateKey, *, clock_off: int = 0) -> None:
        self.key, self.key_id, self.clock_off = key, key_id(key), clock_off
        if url not in _CLIENTS:
            _CLIENTS[url] = httpx.Client(base_url=url, timeout=30, trust_env=False)
        self.http = _CLIENTS[url]

    def headers(self, parts: MessageParts, **changes: Any) -> dict[str, str]:
        values: dict[str, Any] = {
            "key_id": self.key_id,
            "sign": self.key.sign,
            "created": int(time.time()) + self.clock_off,
            "nonce": base64.urlsafe_b64encode(secrets.token_bytes(16)).decode().rstrip("="),
        }
        return sign_message(parts, **(values | changes))

    def call(self, method: str, target: str, body: bytes | dict[str, Any] = b"", **headers: str) -> httpx.Response:
        content = json.dumps(body).encode() if isinstance(body, dict) else body
        path, _, query = target.partition("?")
        signed = self.headers(MessageParts.with_body(method, path, query, content))
        extra = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.http.request(method, target, content=content, headers=signed | extra)

    def get(self, target: str, **headers: str) -> httpx.Response:
        return self.call("GET", target, **headers)

    def post(self, target: str, body: bytes | dict[str, Any] = b"", **headers: str) -> httpx.Response:
        return self.call("POST", target, body, **headers)

    def put(
        self,
        content: bytes,
        *,
        whole: bytes | None = None,
        offset: int = 0,
        body: Iterable[bytes] | None = None,
        sha256: str | None = None,
    ) -> httpx.Response:
        """Upload ``content`` from ``offset`` of the file ``whole``; ``body`` may break off."""
        digest = sha256 or hashlib.sha256(content if whole is None else whole).hexdigest()
        path = f"/v1/artifacts/sha256:{digest}"
        parts = MessageParts.with_artifact("PUT", path, "", sha256=digest, offset=offset, length=len(content))
        return self.http.put(path, content=content if body is None else body, headers=self.headers(parts))

    def offset(self, content: bytes) -> httpx.Response:
        return self.call("HEAD", f"/v1/artifacts/sha256:{hashlib.sha256(content).hexdigest()}")

    def view(self, reference: str, query: str = "") -> dict[str, Any]:
        answer = self.get(f"/v1/requests/{reference}{query}")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found


class Courier(Caller):
    """Does what the relay does, with made-up results: the hub believes no result and checks only its form."""

    def poll(self, *, most: int = 16, wait: int = 0, policy: str | None = None) -> dict[str, Any]:
        answer = self.post("/v1/courier/poll", {"max": most, "wait": wait, "policy_sha256": policy})
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def result(
        self, request_id: str, *, fence: int | None, outcome: str = "signed", artifacts: int = 1, **more: Any
    ) -> httpx.Response:
        query = "" if fence is None else f"?fence={fence}"
        frame = self.frame(outcome=outcome, artifacts=artifacts, **more)
        return self.call("PUT", f"/v1/courier/results/{request_id}{query}", frame)

    def results(self, *rows: tuple[str, int | None, bytes]) -> httpx.Response:
        """Several in one call: id, fence and frame of each."""
        message: dict[str, object] = {"results": [{"id": name, "fence": fence} for name, fence, _ in rows]}
        return self.call("POST", "/v1/courier/results", encode_frame(message, [frame for *_, frame in rows]))

    @staticmethod
    def frame(*, outcome: str = "signed", artifacts: int = 1, **more: Any) -> bytes:
        """A result as the gate would give it."""
        rows = [
            {"bundle": 2 * n, "patch": None, "envelopes": [2 * n + 1], "result_sha256": None} for n in range(artifacts)
        ]
        parts = [part for n in range(artifacts) for part in (b"receipt %d" % n, b"envelope %d" % n)]
        signed = outcome == "signed"
        message = {"type": "result", "id": 1, "outcome": outcome, "artifacts": rows if signed else [], **more}
        return encode_frame(message, parts if signed else [])


@dataclass
class HubHome:
    """A folder with settings and a signed policy; `running` starts the process."""

    folder: Path
    world: World = field(default_factory=lambda: World(now=datetime.now(UTC).replace(microsecond=0)))
    courier_key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    scanner_socket: str | None = None
    limits: Mapping[str, int] = field(default_factory=dict)
    policy: Policy = field(init=False)
    url: str = ""
    process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        root, index, documents, self.pinned = self.world.policy_parts()
        self.policy = open_policy(root, index, documents, pinned_root_sha256=self.pinned)
        signed = self.folder / "policy"
        (signed / "documents").mkdir(parents=True, exist_ok=True)
        (signed / "root.json").write_bytes(root.encode())
        (signed / "policy.json").write_bytes(index.encode())
        for name, content in documents.items():
            path = signed / "documents" / f"{name}.json"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)
        (signed / "freshness.json").write_bytes(self.world.freshness(root_sha256=self.pinned).encode())

    def write_settings(self) -> Path:
        settings = {
            "port": 0,
            "data_dir": "hub",
            "policy_dir": "policy",
            "policy_root_sha256": self.pinned,
            "courier_key": public_text(self.courier_key),
            "scanner_socket": self.scanner_socket,
            "sweep_seconds": 1,
            "limits": dict(self.limits),
        }
        path = self.folder / "hub.json"
        path.write_text(json.dumps(settings))
        return path

    def start(self, *, preexec: Any = None) -> None:
        ready = self.folder / "ready"
        ready.unlink(missing_ok=True)
        command = [sys.executable, "-m", "signwright.hub", "--settings", self.write_settings(), "--ready-file", ready]
        with (self.folder / "hub.log").open("ab") as log:
            self.process = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=preexec,  # noqa: PLW1509 - a test's own limits
            )
        process = self.process
        wait_until(lambda: ready.exists() or process.poll() is not None, what="hub is ready")
        if process.poll() is not None:
            message = "hub did not start: " + self.log()
            raise AssertionError(message)
        self.url = json.loads(ready.read_text())["url"]

    def log(self) -> str:
        return (self.folder / "hub.log").read_text(errors="replace")

    def hang_up(self) -> None:
        """Close the connections of every caller."""
        client = _CLIENTS.pop(self.url, None)
        if client is not None:
            client.close()

    def kill(self) -> None:
        """SIGKILL, as a power switch would."""
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.hang_up()

    @contextmanager
    def running(self, **how: Any) -> Iterator[HubHome]:
        self.start(**how)
        try:
            yield self
        finally:
            assert self.process is not None
            self.hang_up()
            stop(self.process)

    def tester(self, **how: Any) -> Caller:
        return Caller(self.url, self.world.test_credential, **how)

    def releaser(self) -> Caller:
        return Caller(self.url, self.world.release_credential)

    def courier(self) -> Courier:
        return Courier(self.url, self.courier_key)

    def session_envelope(self, person: str, key: Ed25519PrivateKey) -> bytes:
        now = datetime.now(UTC)
        text = public_text(key)
        word = Session(
            person=person, public_key=text, created=format_time(now), expires=format_time(now + timedelta(hours=8))
        )
        return sign_ssh(statement_payload(word, [session_subject(text)]), self.world.people[person], "session").encode()

    def person(self, name: str) -> Caller:
        """A caller with an open session of ``name``."""
        key = Ed25519PrivateKey.generate()
        caller = Caller(self.url, key)
        answer = caller.post("/v1/sessions", self.session_envelope(name, key))
        assert answer.status_code == 201, answer.text
        return caller

    def approve(self, reference: str, name: str, *, decision: str = "approve") -> httpx.Response:
        """What the native client does: fetch the request, sign a word about it, post it."""
        from signwright.statements.dsse import parse_envelope

        caller = self.person(name)
        evidence = caller.get(f"/v1/requests/{reference}/evidence").json()
        request = parse_envelope(base64.b64decode(evidence["request"]))
        now = datetime.now(UTC)
        times = {"created": format_time(now), "expires": format_time(now + timedelta(hours=24))}
        envelope = self.world.approval(request, name, policy=self.policy, decision=decision, **times)
        return caller.post(f"/v1/requests/{reference}/approvals", envelope.encode())
