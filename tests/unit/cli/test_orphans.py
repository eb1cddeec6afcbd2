# SPDX-License-Identifier: Apache-2.0
"""``signwright orphans``: what it takes, says and refuses. What it finds: ``tests/attacks/monitor``."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from signwright.cli.main import run
from signwright.model.digest import sha256_hex
from tests.support.orphans import released, stolen, write, zipped
from tests.support.served_log import Served, served_log
from tests.support.terminal import on_terminal


@pytest.fixture
def served(tmp_path, monkeypatch) -> Iterator[Served]:
    with served_log(tmp_path, monkeypatch) as found:
        yield found


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "nothing to look at"),
        (("x", "--certificate", "nowhere"), "certificate nowhere"),
        (("x", "--certificate", "trust.json"), "neither PEM nor DER"),
        (("x", "--key", "trust.json"), "neither PEM nor DER"),
        (("x", "--since", "2026"), "--since: not a time"),
        (("x", "--log", "nowhere"), "no folder with a log"),
    ],
)
def test_what_makes_no_sense_is_refused(served, capsys, arguments, said):
    assert run(["orphans", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert said in captured.err


def test_a_mirror_whose_log_names_no_key_needs_one(served, capsys, tmp_path):
    from signwright.transparency.leaf import GenesisLeaf
    from tests.support.signing import MemoryLog

    served.world.log = MemoryLog(served.world.world)
    genesis = {"root_sha256": "a" * 64, "origin": "x", "profile": 0, "trial": True, "time": "2026-11-21T09:30:00Z"}
    served.world.log.append(GenesisLeaf(**genesis).encode())
    served.publish()
    assert run(["orphans", ".", "--log", str(served.write(tmp_path / "mirror"))]) == 2
    assert "neither policy nor log names a key" in capsys.readouterr().err


def test_an_error_is_json_as_well(served, capsys, monkeypatch):
    monkeypatch.setenv("SIGNWRIGHT_URL", "http://127.0.0.1:1")
    assert run(["orphans", ".", "--output", "json"]) == 7
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "hub-unreachable"


def test_summary_counts_everything_and_packed_files_are_a_warning(served, capsys, tmp_path):
    files = {**released(served, "pe"), "b.7z": b"7z\xbc\xaf\x27\x1c" + bytes(40), "c.zip": zipped({"x": b"x"})}
    assert run(["orphans", str(write(tmp_path / "out", files))]) == 0
    captured = capsys.readouterr()
    assert captured.out == f"CLOSED {tmp_path / 'out' / 'b.7z'}: 7z files are not looked into\n"
    counts = "1 ours, 0 others, 0 older, 0 orphans, 0 forged, 0 unread, 1 closed"
    assert f"4 files, 0 links not followed: {counts}" in captured.err
    assert "1 packed files were not looked into" in captured.err


def test_names_with_line_breaks_stay_on_one_line(served, capsys, tmp_path):
    (content,) = stolen(served, "pe").values()
    folder = write(tmp_path / "out", {"a\nORPHAN b\x1b[2J.exe": content})
    assert run(["orphans", str(folder)]) == 8
    out = capsys.readouterr().out
    assert len(out.splitlines()) == 1
    assert "\x1b" not in out


def test_settings_choose_json(served, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("SIGNWRIGHT_OUTPUT", "json")
    folder = write(tmp_path / "out", stolen(served, "raw"))
    assert run(["orphans", str(folder)]) == 8
    orphan, last = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert (orphan["type"], last["type"], last["orphans"]) == ("orphan", "scan", 1)
    assert len(orphan["signature_sha256"]) == len(sha256_hex(b""))


def test_list_comes_from_stdin(served, capsys, tmp_path, monkeypatch):
    folder = write(tmp_path / "out", stolen(served, "pe"))
    lines = tmp_path / "lines"
    lines.write_bytes(os.fsencode(folder / "evil-setup.exe") + b"\n")
    with lines.open() as opened:
        monkeypatch.setattr(sys, "stdin", opened)
        assert run(["orphans", "--list", "-"]) == 8
    assert capsys.readouterr().out.startswith(f"ORPHAN {folder / 'evil-setup.exe'} ")
    assert Path(folder).is_dir()


def test_person_at_a_terminal_sees_how_far_it_is(served, tmp_path):
    folder = write(tmp_path / "out", {**released(served, "pe"), **stolen(served, "pe")})
    command = [sys.executable, "-m", "signwright.cli", "orphans", str(folder)]
    env = {name: value for name, value in os.environ.items() if name not in ("CI", "SIGNWRIGHT_NO_INPUT")}
    with on_terminal(command, env=env) as terminal:
        terminal.expect("files, ")
        code, out = terminal.end()
    assert code == 8
    assert out.startswith(f"ORPHAN {folder / 'evil-setup.exe'} ")
    assert "2 files, 0 links not followed: 2 ours" in terminal.text
