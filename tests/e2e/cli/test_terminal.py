# SPDX-License-Identifier: Apache-2.0
"""What a person sees on a terminal, what a log of a build system gets, and what Ctrl-C leaves behind."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.homes import RunningHome
from tests.support.pe_builder import Pe
from tests.support.processes import wait_until
from tests.support.terminal import on_terminal

#: Select graphic rendition with a colour: what NO_COLOR forbids.
COLOURS = [f"\x1b[{number}" for number in (*range(31, 38), "38;", *range(91, 98))]


def program(folder: Path, size: int = 0) -> Path:
    file = folder / f"{secrets.token_hex(3)}.exe"
    file.write_bytes(Pe(overlay=secrets.token_bytes(16) + bytes(size)).build())
    return file


def environment(home: RunningHome, **more: str) -> dict[str, str]:
    return {k: v for k, v in home.env.items() if k not in ("CI", "NO_COLOR")} | more


@pytest.mark.parametrize("no_color", ["", "1"])
def test_terminal_gets_a_bar_and_the_result_alone_stands_on_stdout(
    home: RunningHome, tmp_path: Path, no_color: str
) -> None:
    file, out = program(tmp_path, 24 << 20), tmp_path / "out.exe"
    with on_terminal(home.command("sign", file, "-o", out), env=environment(home, NO_COLOR=no_color)) as terminal:
        code, stdout = terminal.end()
    assert (code, stdout) == (0, f"{out}\n"), terminal.text
    assert "of 24 MiB" in terminal.text
    assert "\x1b[?25l" in terminal.shown  # the cursor is hidden while a bar is painted …
    assert "\x1b[?25h" in terminal.shown  # … and given back
    assert any(colour in terminal.shown for colour in COLOURS) is not bool(no_color)
    assert "signed under default/test" in terminal.text


def test_without_a_terminal_there_are_plain_lines(home: RunningHome, tmp_path: Path) -> None:
    ran = subprocess.run(
        home.command("sign", program(tmp_path), "-o", tmp_path / "out.exe"),
        env=environment(home),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "\x1b" not in ran.stderr
    assert "\r" not in ran.stderr
    assert all(line.startswith("signwright: ") for line in ran.stderr.splitlines())


def test_ctrl_c_leaves_the_request_alive_and_says_how_to_go_on(home: RunningHome, tmp_path: Path) -> None:
    file = program(tmp_path)
    command = home.command("sign", file, "--policy", "default/release", "--in-place")
    with on_terminal(command, env=environment(home)) as terminal:
        terminal.expect("waiting for approval")
        terminal.press("c")
        terminal.expect("interrupted; request r-")
        terminal.expect("goes on")
        terminal.expect("signwright wait r-")
        code, stdout = terminal.end()
    assert (code, stdout) == (130, "")
    assert terminal.shown.rindex("\x1b[?25h") > terminal.shown.rindex("\x1b[?25l")
    request = terminal.text.split("interrupted; request ")[1].split()[0]
    home.approve(request)
    assert home.cli("wait", request).code == 0
    assert home.cli("fetch", request, file, "--in-place").code == 0
    assert home.cli("verify", file).code == 0


def test_approver_is_shown_first_and_asked_then(home: RunningHome, tmp_path: Path) -> None:
    request = home.cli("sign", program(tmp_path), "--policy", "default/release", "--no-wait").out.strip()
    wait_until(lambda: "awaiting-approval" in home.cli("status", request).out, what="scan")
    fresh = {"XDG_STATE_HOME": str(tmp_path / "state")}
    for answer, code, said in (("n", 130, "first time"), ("y", 0, "continues what you saw before")):
        command = home.command("approve", request, "--key", home.key("alice"))
        with on_terminal(command, env=environment(home, **fresh)) as terminal:
            terminal.expect(said)
            terminal.expect(f"approve {request} as alice?")
            terminal.type(answer)
            assert terminal.end()[0] == code, terminal.text
        approvals = home.cli("status", request, "--output", "json").json["approvals"]
        assert [row["person"] for row in approvals] == (["alice"] if code == 0 else [])


def test_missing_output_folder_is_noticed_before_anything_is_asked(home: RunningHome, tmp_path: Path) -> None:
    before = len(home.cli("requests", "--output", "json").json["requests"])
    for output in (tmp_path / "no" / "such" / "out.exe", tmp_path / "absent"):
        files = [program(tmp_path), program(tmp_path)] if output.name == "absent" else [program(tmp_path)]
        ran = home.cli("sign", *files, "-o", output)
        assert ran.code == 2, ran.err
    assert len(home.cli("requests", "--output", "json").json["requests"]) == before


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shell_completion_is_a_script_and_completes_verbs(shell: str) -> None:
    command = [str(Path(sys.executable).with_name("signwright"))]
    source = {**os.environ, "_SIGNWRIGHT_COMPLETE": f"{shell}_source"}
    script = subprocess.run(command, env=source, capture_output=True, text=True, check=False)
    assert script.returncode == 0, script.stderr
    assert "_SIGNWRIGHT_COMPLETE" in script.stdout
    words = {
        **os.environ,
        "_SIGNWRIGHT_COMPLETE": f"{shell}_complete",
        "COMP_WORDS": "signwright ver",
        "COMP_CWORD": "1",
    }
    if shell == "fish":
        words["COMP_CWORD"] = "ver"
    found = subprocess.run(command, env=words, capture_output=True, text=True, check=False)
    assert "verify" in found.stdout, found.stderr
