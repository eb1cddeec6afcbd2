# SPDX-License-Identifier: Apache-2.0
"""`init`, `up`, `down` and `doctor`: what a home is made of, and what happens to its processes."""

from __future__ import annotations

import os
import secrets
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.homes import RunningHome, running_home
from tests.support.pe_builder import Pe
from tests.support.processes import wait_until
from tests.support.tools import require_softhsm_module, require_tool

CLI = [sys.executable, "-m", "signwright.cli"]


def cli(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {k: v for k, v in os.environ.items() if not k.startswith("SIGNWRIGHT_")} | environment
    command = [*CLI, *map(str, arguments)]
    return subprocess.run(command, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)


def test_every_secret_of_a_home_is_its_owners_alone(home: RunningHome) -> None:
    open_to_others = [p for p in home.folder.rglob("*") if p.is_dir() and stat.S_IMODE(p.stat().st_mode) & 0o077]
    assert not [p for p in open_to_others if p.parent == home.folder]
    secret = [
        p for p in home.folder.rglob("*") if p.suffix in (".key", ".p8", ".pass") or p.name in ("ci.json", "alice")
    ]
    assert len(secret) >= 12
    assert {stat.S_IMODE(p.stat().st_mode) for p in secret} == {0o600}


def test_policy_sources_are_what_was_signed(home: RunningHome) -> None:
    assert home.cli("policy", "check", home.folder).code == 0
    ran = home.cli("policy", "diff", home.folder)
    assert (ran.code, ran.out) == (0, "")


def test_head_of_the_hubs_own_events_stands_in_the_log(home: RunningHome) -> None:
    """The chain as the hub has it leads through the head that was logged, at the place that was logged."""

    def logged() -> list[str]:
        shown = home.cli("log", "show", "--from", "0").out.splitlines()
        return [row for row in shown if " hub-events " in row]

    wait_until(lambda: bool(logged()), what="a hub-events leaf")
    head, count = logged()[0].split("head=")[1].split("… count=")
    with closing(sqlite3.connect(f"file:{home.folder}/hub/hub.sqlite3?mode=ro", uri=True)) as database:
        ((sha256,),) = database.execute("SELECT sha256 FROM events WHERE number = ?", (int(count),))
    assert sha256.startswith(head)


def test_doctor_names_what_a_trial_does_not_give(home: RunningHome) -> None:
    ran = home.cli("doctor", "--home", home.folder, "--output", "json")
    assert ran.code == 0, ran.err
    weak = {finding["topic"] for finding in ran.json["findings"] if finding["level"] == "weak"}
    assert {"root", "witness", "timestamp", "profile", "secret", "key", "exception"} <= weak


def test_doctor_finds_a_secret_that_others_can_read(home: RunningHome) -> None:
    file = home.folder / "courier" / "courier.key"
    file.chmod(0o644)
    try:
        ran = home.cli("doctor", "--home", home.folder)
    finally:
        file.chmod(0o600)
    assert ran.code == 1
    assert "courier.key can be read by others" in ran.out


def test_full_folder_is_never_touched(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("x", encoding="utf-8")
    done = cli("init", "--home", tmp_path)
    assert done.returncode == 2
    assert "not empty" in done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["precious"]


def test_home_that_is_up_is_not_started_twice(home: RunningHome) -> None:
    ran = home.cli("up", "--home", home.folder, "--detach")
    assert ran.code == 1
    assert "is up already" in ran.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--release-store", "gold"), "wanted software or a pkcs11: URI"),
        (("--address", "nonsense"), "HOST:PORT"),
        (("--address", "0.0.0.0:80"), "HOST:PORT"),
        (("--pin-file", "x"), "--pin-file is for"),
        (("--release-store", "pkcs11:token=x"), "a release wants two"),
        (("--release-store", "pkcs11:token=x", "--approver", "Alice=x"), "NAME=FILE.pub"),
    ],
)
def test_init_refuses_what_makes_no_sense_and_leaves_nothing(
    tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    done = cli("init", "--home", tmp_path / "h", *arguments)
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert not list((tmp_path / "h").iterdir())


def test_killed_processes_come_back_and_requests_go_on(home: RunningHome, tmp_path: Path) -> None:
    def pid(name: str) -> int:
        return int((home.folder / "run" / f"{name}.pid").read_text(encoding="ascii"))

    before = {name: pid(name) for name in ("hub", "witness")}
    for number in before.values():
        os.kill(number, signal.SIGKILL)
    wait_until(lambda: all(pid(name) != number for name, number in before.items()), what="restart")
    file = tmp_path / "a.exe"
    file.write_bytes(Pe(overlay=secrets.token_bytes(8)).build())
    wait_until(lambda: home.cli("requests").code == 0, what="hub", seconds=30)
    assert home.cli("sign", file, "--in-place").code == 0


def test_witness_that_is_starting_again_is_waited_for(home: RunningHome, tmp_path: Path) -> None:
    os.kill(int((home.folder / "run" / "witness.pid").read_text(encoding="ascii")), signal.SIGKILL)
    file = tmp_path / "a.exe"
    file.write_bytes(Pe(overlay=secrets.token_bytes(8)).build())
    signed = home.cli("sign", file, "--in-place")
    assert signed.code == 0, signed.err


def test_home_stops_starts_again_and_remembers(tmp_path: Path) -> None:
    file = tmp_path / "a.exe"
    file.write_bytes(Pe(overlay=secrets.token_bytes(8)).build())
    folder = tmp_path / "h"
    with running_home(folder, tmp_path / "state") as home:
        request = home.cli("sign", file, "--no-wait").out.strip()
        assert home.cli("wait", request).code == 0
        assert home.cli("down", "--home", folder).code == 0
        assert not list((folder / "run").glob("*.pid"))
        assert home.cli("requests").code == 7
        command = home.command("up", "--home", folder)
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=home.env) as up:
            try:
                assert up.stdout is not None
                assert up.stdout.readline().startswith("ready http://127.0.0.1:")
                assert home.cli("fetch", request, file, "--in-place").code == 0
            finally:
                up.send_signal(signal.SIGINT)
                _, err = up.communicate(timeout=40)
        assert up.returncode == 0, err
        assert err.splitlines()[-1] == "signwright: stopped"


def test_sockets_of_a_deep_home_leave_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own path is too long for a Unix socket: the short folder is there while the home is up, and ours alone."""
    file = tmp_path / "a.exe"
    file.write_bytes(Pe(overlay=secrets.token_bytes(8)).build())
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    with tempfile.TemporaryDirectory(dir="/tmp") as short:
        monkeypatch.setenv("TMPDIR", short)
        with running_home(deep, tmp_path / "state") as home:
            (sockets,) = Path(short).glob("signwright-*")
            assert stat.S_IMODE(sockets.stat().st_mode) == 0o700
            assert {file.name for file in sockets.iterdir()} == {"gate.sock", "scanner.sock"}
            assert home.cli("sign", file, "--in-place").code == 0
            assert home.cli("down", "--home", deep).code == 0
            assert not sockets.exists()
            sockets.mkdir(mode=0o777)
            sockets.chmod(0o777)
            refused = cli("up", "--home", deep, "--detach")
            assert (refused.returncode, "is not a folder that is ours alone" in refused.stderr) == (7, True)
            (sockets / "gate.sock").touch()  # as after a power cut
            assert home.cli("down", "--home", deep).code == 0
            assert not sockets.exists()
        made = cli("init", "--home", deep.parent / ("f" * 60))
        assert made.returncode == 0, made.stderr
        assert not list(Path(short).glob("signwright-*"))


@pytest.fixture
def token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """(module, PIN file) of a fresh SoftHSM token named ``ev`` with one key pair and its certificate."""
    module, tool = require_softhsm_module(), require_tool("softhsm2-util", "softhsm2")
    folder = tmp_path / "tokens"
    folder.mkdir()
    config = tmp_path / "softhsm2.conf"
    config.write_text(f"directories.tokendir = {folder}\nobjectstore.backend = file\n", encoding="utf-8")
    monkeypatch.setenv("SOFTHSM2_CONF", str(config))
    subprocess.run(
        [tool, "--init-token", "--free", "--label", "ev", "--pin", "1234", "--so-pin", "12345678"],
        check=True,
        capture_output=True,
    )
    pin = tmp_path / "pin"
    pin.write_text("1234\n", encoding="utf-8")
    pin.chmod(0o600)
    return module, pin


@pytest.mark.hsm
def test_key_on_a_token_signs_releases_under_a_root_that_is_no_trial(token: tuple[Path, Path], tmp_path: Path) -> None:
    module, pin = token
    people = []
    for name in ("ann", "ben"):
        from signwright.client.ssh_keys import make_key_files

        make_key_files(tmp_path / name, comment=name)
        people += ["--approver", f"{name}={tmp_path / name}.pub"]
    common = ["--release-store", "pkcs11:token=ev", "--module", str(module), "--pin-file", str(pin)]
    none = cli("init", "--home", tmp_path / "none", *common, *people)
    assert (none.returncode, "no such key" in none.stderr) == (2, True), none.stderr
    file = tmp_path / "a.exe"
    file.write_bytes(Pe(overlay=secrets.token_bytes(8)).build())
    with running_home(tmp_path / "h", tmp_path / "state", *common, *people, "--generate") as home:
        assert not (home.folder / "people").exists()
        request = home.cli("sign", file, "--policy", "default/release", "--no-wait").out.strip()
        for name in ("ann", "ben"):
            ran = home.cli("approve", request, "--key", tmp_path / name, "--yes")
            assert ran.code == 0, ran.err
        assert home.cli("wait", request).code == 0
        fetched = home.cli("fetch", request, file, "--in-place", "--output", "json")
        assert fetched.code == 0, fetched.err
        assert fetched.json["files"][0]["trial"] is False
        assert "key claimed" in home.cli("verify", file).out
