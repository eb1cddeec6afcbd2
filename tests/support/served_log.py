# SPDX-License-Identifier: Apache-2.0
"""A small hub that hands out a log and a policy, every part of which a test may replace; and its client's settings."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from signwright.client.credentials import encode_credentials, new_credential
from signwright.model.times import format_time
from signwright.transparency.leaf import EpochLeaf, GenesisLeaf, PolicyLeaf
from tests.support.receipts import Made, SignedWorld
from tests.support.signing import MemoryLog
from tests.support.world import ORIGIN


class Served:
    """``files``: what is handed out of the log, by path below ``/v1/log/``; ``answers``: other paths → JSON."""

    def __init__(self, world: SignedWorld) -> None:
        self.world, self.time = world, datetime.now(UTC).replace(microsecond=0)
        self.answers: dict[str, object] = {"/v1/requests": {"requests": []}}
        self.url = ""
        world.world.now = self.time
        world.load()
        self.publish_policy()
        world.log = MemoryLog(world.world)
        time = format_time(self.time)
        world.log.append(
            GenesisLeaf(root_sha256=world.parts[3], origin=ORIGIN, profile=0, trial=True, time=time).encode(),
            self.policy_leaf().encode(),
        )
        self.made: Made = world.make("raw")
        world.log.append(EpochLeaf(time=time).encode())
        self.publish()

    def policy_leaf(self) -> PolicyLeaf:
        policy, root = self.world.policy, self.world.parts[3]
        return PolicyLeaf(
            policy_sha256=policy.sha256,
            policy_version=policy.version,
            root_sha256=root,
            root_version=1,
            weakening=(),
            time=format_time(self.time),
        )

    def publish(self) -> None:
        log = self.world.log
        self.files = {"checkpoint": log.note(self.time), **log.tiles}

    def publish_policy(self) -> None:
        """The world's newest policy, as the hub has it in force."""
        root, index, documents, _ = self.world.parts
        envelopes = {"root": root.encode(), "policy": index.encode()}
        view: dict[str, object] = {name: base64.b64encode(content).decode() for name, content in envelopes.items()}
        view["documents"] = {name: base64.b64encode(content).decode() for name, content in documents.items()}
        self.answers["/v1/policy"] = view

    def body(self, path: str) -> bytes | None:
        if path in self.answers:
            answer = self.answers[path]
            return answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        return self.files.get(path.removeprefix("/v1/log/"))

    def write(self, folder: Path) -> Path:
        """The log's files in a folder, as a mirror keeps them."""
        for path, content in self.files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content)
        return folder


@contextmanager
def served_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """Up while the block runs, with every setting of a client in the environment."""
    found = Served(SignedWorld())

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = found.body(self.path.split("?")[0])
            self.send_response(404 if body is None else 200)
            body = body or b'{"code":"not-found","message":"no such file"}'
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    found.url = f"http://127.0.0.1:{server.server_address[1]}"
    credentials = tmp_path / "credentials.json"
    credentials.write_bytes(encode_credentials([new_credential("test")]))
    credentials.chmod(0o600)
    (tmp_path / "trust.json").write_bytes(found.world.trust().encode())
    monkeypatch.setenv("SIGNWRIGHT_URL", found.url)
    monkeypatch.setenv("SIGNWRIGHT_CREDENTIALS", str(credentials))
    monkeypatch.setenv("SIGNWRIGHT_TRUST", str(tmp_path / "trust.json"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("SIGNWRIGHT_OUTPUT", raising=False)
    monkeypatch.chdir(tmp_path)
    try:
        yield found
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
