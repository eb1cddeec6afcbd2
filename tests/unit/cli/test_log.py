# SPDX-License-Identifier: Apache-2.0
"""``signwright log`` and ``monitor`` over HTTP: what an honest and a lying server hand out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from signwright.cli.main import run
from signwright.cli.monitor import _published
from signwright.client.credentials import encode_credentials, new_credential
from signwright.client.log_reader import LogReader, open_log
from signwright.client.trust import TrustFile
from signwright.model.times import format_time
from signwright.transparency.leaf import EpochLeaf, GenesisLeaf, PolicyLeaf
from signwright.transparency.proof import TlogProof
from tests.support.receipts import Made, SignedWorld
from tests.support.signing import MemoryLog
from tests.support.world import ORIGIN


class Served:
    """A log behind HTTP. ``files``: what is handed out, by path below ``/v1/log/``; a test may replace any of them."""

    def __init__(self, world: SignedWorld) -> None:
        self.world, self.time = world, datetime.now(UTC).replace(microsecond=0)
        world.world.now = self.time
        world.load()
        policy, root = world.policy, world.parts[3]
        version = {"policy_version": policy.version, "policy_sha256": policy.sha256, "weakening": ()}
        time = format_time(self.time)
        world.log = MemoryLog(world.world)
        world.log.append(
            GenesisLeaf(root_sha256=root, origin=ORIGIN, profile=0, trial=True, time=time).encode(),
            PolicyLeaf(root_sha256=root, root_version=1, time=time, **version).encode(),
        )
        self.made: Made = world.make("raw")
        world.log.append(EpochLeaf(time=time).encode())
        self.publish()

    def publish(self) -> None:
        log = self.world.log
        self.files = {"checkpoint": log.note(self.time), **log.tiles}


@pytest.fixture
def served(tmp_path, monkeypatch) -> Iterator[Served]:
    found = Served(SignedWorld())

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.split("?")[0]
            body = found.files.get(path.removeprefix("/v1/log/"))
            if path == "/v1/requests":
                body = b'{"requests":[]}'
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
    credentials = tmp_path / "credentials.json"
    credentials.write_bytes(encode_credentials([new_credential("test")]))
    credentials.chmod(0o600)
    (tmp_path / "trust.json").write_bytes(found.world.trust().encode())
    monkeypatch.setenv("SIGNWRIGHT_URL", f"http://127.0.0.1:{server.server_address[1]}")
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


def test_leaves_are_shown(served, capsys):
    assert run(["log", "show"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines] == ["genesis", "policy", "intent", "epoch"]
    assert run(["log", "show", "--from", "2", "--limit", "1", "--output", "json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["leaves"]
    assert (row["index"], row["type"]) == (2, "intent")
    assert run(["log", "show", "--from", "99"]) == 2


def test_a_proof_is_given_by_index_and_by_receipt(served, capsys, tmp_path):
    receipt = tmp_path / "fw.swreceipt"
    receipt.write_bytes(served.made.bundle.encode())
    for which in ("2", str(receipt)):
        assert run(["log", "proof", which, "-o", "proof"]) == 0
        leaf = capsys.readouterr().out.strip().encode()
        assert leaf == served.made.bundle.waves[0].intent.leaf_bytes()
        TlogProof.parse((tmp_path / "proof").read_bytes()).verify(leaf, served.world.trust().log_trust)


def test_a_receipt_whose_intent_the_log_does_not_have_fails(served, tmp_path):
    receipt = tmp_path / "other.swreceipt"
    served_log, served.world.log = served.world.log, MemoryLog(served.world.world)
    served.world.log.append(b"x", b"y")
    receipt.write_bytes(served.world.make("raw").bundle.encode())
    served.world.log = served_log
    assert run(["log", "proof", str(receipt)]) == 8


def test_the_log_is_checked_and_may_not_go_back(served, capsys):
    assert run(["log", "check"]) == 0
    assert "4 leaves make root" in capsys.readouterr().out
    old = dict(served.files)
    served.world.log.append(EpochLeaf(time=format_time(served.time)).encode())
    served.publish()
    assert run(["log", "check"]) == 0
    served.files = old
    assert run(["log", "check"]) == 8


def test_an_edited_entry_is_noticed(served):
    for name in [path for path in served.files if "entries" in path]:
        served.files[name] = served.files[name].replace(b'"profile":0', b'"profile":1', 1)
    for verb in (["log", "show"], ["log", "check"], ["log", "proof", "0"], ["monitor", "--once"]):
        assert run(verb) == 8, verb


def test_a_checkpoint_without_its_witness_is_refused(served, capsys):
    served.files["checkpoint"] = served.world.log.note(served.time, witnesses=[])
    assert run(["log", "show"]) == 8
    assert run(["monitor", "--once"]) == 8
    assert "ALARM no-quorum" in capsys.readouterr().out


def test_the_monitor_is_quiet_then_alarms_and_remembers(served, capsys, tmp_path):
    state = str(tmp_path / "monitor.json")
    assert run(["monitor", "--once", "--from-state", state]) == 0
    assert capsys.readouterr().out == ""
    remembered = json.loads((tmp_path / "monitor.json").read_text())
    assert remembered["seen"]["size"] == 4
    before = served.world.log
    served.world.log = MemoryLog(served.world.world)
    served.world.log.append(EpochLeaf(time=format_time(served.time - timedelta(hours=1))).encode())
    served.publish()
    assert run(["monitor", "--once", "--from-state", state]) == 8
    out = capsys.readouterr().out
    assert "ALARM log-rollback: log: the log has 1 leaves, and 4 were seen before" in out
    assert "ALARM genesis: leaf 0" in out
    assert json.loads((tmp_path / "monitor.json").read_text()) == remembered
    served.world.log = before
    served.publish()
    assert run(["monitor", "--once", "--from-state", state, "--output", "json"]) == 0


def test_the_monitor_remembers_each_log_apart_and_takes_no_other_logs_memory(served, capsys, tmp_path):
    assert run(["monitor", "--once"]) == 0
    memory = list((tmp_path / "state" / "signwright" / "monitor").iterdir())
    assert [json.loads(file.read_text())["seen"]["origin"] for file in memory] == [ORIGIN]
    other = tmp_path / "other.json"
    text = memory[0].read_text()
    other.write_text(text.replace(ORIGIN, "another.example/log"))
    capsys.readouterr()
    assert run(["monitor", "--once", "--from-state", str(other)]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "remembers the log another.example/log" in captured.err
    assert other.read_text() == text.replace(ORIGIN, "another.example/log")


def test_a_receipt_that_came_home_before_its_leaf_was_published_is_waited_for(served):
    trust = served.world.trust()

    def read() -> tuple[LogReader, TrustFile]:
        return open_log(trust.log_trust, served.files["checkpoint"], dict(served.files).__getitem__), trust

    early, _ = read()
    bundle = served.world.make("raw").bundle
    waited = []

    def pause(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 2:
            served.publish()

    assert _published(bundle, early, read, tries=2, pause=pause).checkpoint.size > early.checkpoint.size
    assert len(waited) == 2
    assert _published(bundle, early, lambda: (early, trust), tries=2, pause=waited.append) is early


def test_an_unreachable_server_is_no_alarm_but_an_error(served, monkeypatch):
    monkeypatch.setenv("SIGNWRIGHT_URL", "http://127.0.0.1:1")
    assert run(["monitor", "--once"]) == 7
