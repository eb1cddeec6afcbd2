# SPDX-License-Identifier: Apache-2.0
"""``courier export | import | status`` against the courier's real door: files, progress, refusals, exit codes."""

from __future__ import annotations

import asyncio
import io
import json
import os
import stat
import threading
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from signwright.cli.main import run
from signwright.errors import ConflictError, UnavailableError, VerificationError
from signwright.signer.courier.media.door import Door, Tell


@dataclass
class Behind:
    """What is behind the door: reads or writes what the medium holds, or refuses. ``read``: what came in."""

    read: list[bytes] = field(default_factory=list)
    write: bytes = b"bundle"
    refuse: Exception | None = None

    async def take_in(self, descriptor: int | None, tell: Tell) -> dict[str, object]:
        tell("reading", 1, 2)
        if self.refuse is not None:
            raise self.refuse
        assert descriptor is not None
        self.read.append(os.read(descriptor, 100))
        return {"side": "vault", "requests": {"ab" * 32: "logging"}, "questions": ["cosign w1"], "notes": ["a note"]}

    async def give_out(self, descriptor: int | None, tell: Tell) -> dict[str, object]:
        tell("writing", 1, 2)
        assert descriptor is not None
        os.write(descriptor, self.write)
        if self.refuse is not None:
            raise self.refuse
        return {"side": "outside", "bytes": len(self.write), "notes": []}

    async def status(self, descriptor: int | None, tell: Tell) -> dict[str, object]:
        assert descriptor is None
        return {"side": "vault", "requests": {}, "policy_version": 3, "waiting_policy": 4, "policy_on_its_way": True}


@dataclass
class Opened:
    home: Path
    behind: Behind

    def cli(self, *words: object) -> tuple[int, str, str]:
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            code = run(["courier", *map(str, words), "--home", str(self.home)])
        return code, out.getvalue(), err.getvalue()


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opened]:
    home = tmp_path / "home"
    (home / "settings").mkdir(parents=True)
    (home / "settings/courier.toml").write_text('[media]\nsocket = "../c.sock"\n', encoding="utf-8")
    behind, loop, ready = Behind(), asyncio.new_event_loop(), threading.Event()
    verbs = {"import": behind.take_in, "export": behind.give_out, "status": behind.status}
    door = Door(home / "c.sock", verbs)
    life = loop.create_task(door.run(on_ready=ready.set))

    def serve() -> None:
        asyncio.set_event_loop(loop)
        loop.run_until_complete(asyncio.gather(life, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_default_executor())

    thread = threading.Thread(target=serve)
    thread.start()
    assert ready.wait(10)
    try:
        yield Opened(home, behind)
    finally:
        loop.call_soon_threadsafe(life.cancel)
        thread.join(10)
        loop.close()


def test_an_exported_file_is_new_and_its_owners_alone(opened: Opened, tmp_path: Path) -> None:
    file = tmp_path / "out.swb"
    code, out, err = opened.cli("export", file)
    assert code == 0, err
    assert file.read_bytes() == b"bundle"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "6 bytes" in out
    assert "writing" in err
    assert opened.cli("export", file)[0] == 2
    assert file.read_bytes() == b"bundle"


def test_a_failed_export_leaves_no_file(opened: Opened, tmp_path: Path) -> None:
    opened.behind.refuse = UnavailableError("the hub is away", code="hub-unreachable")
    code, _, err = opened.cli("export", tmp_path / "out.swb")
    assert code == 7
    assert "the hub is away" in err
    assert not (tmp_path / "out.swb").exists()


def test_an_export_follows_no_link(opened: Opened, tmp_path: Path) -> None:
    (tmp_path / "link.swb").symlink_to(tmp_path / "elsewhere")
    assert opened.cli("export", tmp_path / "link.swb")[0] == 2
    assert not (tmp_path / "elsewhere").exists()


def test_an_import_reads_the_file_and_says_what_waits(opened: Opened, tmp_path: Path) -> None:
    file = tmp_path / "in.swb"
    file.write_bytes(b"content")
    code, out, err = opened.cli("import", file)
    assert code == 0, err
    assert opened.behind.read == [b"content"]
    assert "logging" in out
    assert "waits for a medium: cosign w1" in out
    assert "a note" in err


def test_json_is_one_object(opened: Opened, tmp_path: Path) -> None:
    file = tmp_path / "in.swb"
    file.write_bytes(b"content")
    code, out, _ = opened.cli("import", file, "--output", "json")
    assert code == 0
    assert json.loads(out)["questions"] == ["cosign w1"]


def test_an_import_follows_no_link_and_reads_no_pipe(opened: Opened, tmp_path: Path) -> None:
    (tmp_path / "real.swb").write_bytes(b"content")
    (tmp_path / "link.swb").symlink_to(tmp_path / "real.swb")
    os.mkfifo(tmp_path / "pipe.swb")
    for name in ("link.swb", "pipe.swb", "missing.swb"):
        code, _, err = opened.cli("import", tmp_path / name)
        assert code == 2, err
    assert opened.cli("import", tmp_path)[0] == 2
    assert opened.behind.read == []


@pytest.mark.parametrize(
    ("problem", "status"),
    [
        (VerificationError("of another key", code="foreign-bundle"), 8),
        (ConflictError("older", code="older"), 1),
        (UnavailableError("no gate", code="no-gate"), 7),
    ],
)
def test_a_refusal_keeps_its_words_and_its_exit_code(
    opened: Opened, tmp_path: Path, problem: Exception, status: int
) -> None:
    opened.behind.refuse = problem
    (tmp_path / "in.swb").write_bytes(b"content")
    code, out, err = opened.cli("import", tmp_path / "in.swb", "--output", "json")
    assert code == status
    assert str(problem) in err
    assert json.loads(out)["error"]["code"] == problem.code  # type: ignore[attr-defined]


def test_status_wants_no_medium(opened: Opened) -> None:
    code, out, _ = opened.cli("status")
    assert code == 0
    assert "policy version 3 in force, version 4 waits" in out


def test_a_courier_that_is_not_there_is_said_to_be_so(tmp_path: Path) -> None:
    (tmp_path / "settings").mkdir()
    settings = tmp_path / "settings/courier.toml"
    settings.write_text('hub = "http://127.0.0.1"\n', encoding="utf-8")
    nobody = Opened(tmp_path, Behind())
    assert nobody.cli("status")[0] == 2
    settings.write_text('[media]\nsocket = "../c.sock"\n', encoding="utf-8")
    code, _, err = nobody.cli("status")
    assert code == 7
    assert "does not answer" in err


def test_a_peer_that_says_nothing_sound_does_not_end_the_door(opened: Opened) -> None:
    import socket

    for said in (b"", b".", b".\xff\xff\xff\xff", b".\0\0\0\x02{}"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as door:
            door.connect(str(opened.home / "c.sock"))
            door.sendall(said)
    assert opened.cli("status")[0] == 0
