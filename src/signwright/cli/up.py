# SPDX-License-Identifier: Apache-2.0
"""``signwright up``: start a home, in this terminal or in the background."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import click

from signwright.cli.console import result, say
from signwright.cli.down import running_pid
from signwright.cli.home import Home, HomeFile, home_of
from signwright.cli.installed import carries_media, is_installed
from signwright.cli.processes import PYTHON
from signwright.cli.supervisor import READY_SECONDS, Supervisor, can_serve
from signwright.client.files import replace_file
from signwright.errors import ConflictError, UnavailableError


@click.command("up")
@click.option("--home", "folder", type=click.Path(path_type=Path), help="the home (SIGNWRIGHT_HOME)")
@click.option("--detach", is_flag=True, help="leave it running in the background; logs are in HOME/run")
def up_command(folder: Path | None, detach: bool) -> None:
    """Start every process of a home; prints `ready` and the address when the first request can be served."""
    home = home_of(folder)
    described = home.read()
    home.check_place(described)
    if is_installed(home):
        raise ConflictError(
            f"{home.folder} is installed with one user for each process",
            code="installed",
            hint="systemctl start signwright.target",
        )
    if carries_media(home):
        raise ConflictError(
            f"{home.folder} is one side of an air gap, and `up` runs everything on one machine",
            code="air-gap",
            hint="sudo signwright install --profile 3 in the vault, 3-hub outside",
        )
    home.run.mkdir(mode=0o700, exist_ok=True)
    pid = running_pid(home)
    if pid is not None:
        raise ConflictError(f"{home.folder} is up already (process {pid})", code="already-up", hint="signwright down")
    if detach:
        _detach(home, described)
    else:
        _foreground(home, described)


def _foreground(home: Home, described: HomeFile) -> None:
    supervisor = Supervisor(home, described)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, supervisor.stop)
    pid_file = home.run / "up.pid"
    replace_file(pid_file, f"{os.getpid()}\n".encode())
    say(f"starting {home.folder}; Ctrl-C stops it")
    try:
        supervisor.run(on_ready=lambda: result(f"ready {described.url}"), can_serve=can_serve(home, described))
    finally:
        pid_file.unlink(missing_ok=True)
    say("stopped")


def _detach(home: Home, described: HomeFile) -> None:
    """A supervisor in a session of its own; we wait for its word."""
    log, ready = home.run / "up.log", home.run / "up.ready"
    ready.unlink(missing_ok=True)
    with log.open("ab") as output:
        os.chmod(log, 0o600)
        start = output.tell()
        child = subprocess.Popen(
            [*PYTHON, "signwright.cli.supervisor", "--home", str(home.folder)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    replace_file(home.run / "up.pid", f"{child.pid}\n".encode())
    deadline = time.monotonic() + READY_SECONDS + 30
    while not ready.exists():
        if child.poll() is not None:
            raise _failed(log, start)
        if time.monotonic() > deadline:
            child.terminate()
            child.wait()
            raise UnavailableError(
                "the home does not become ready", code="not-ready", hint=f"the logs are in {home.run}"
            )
        time.sleep(0.05)
    result(f"ready {described.url}")


def _failed(log: Path, start: int) -> UnavailableError:
    with log.open("rb") as opened:
        opened.seek(start)
        lines = opened.read(1 << 16).decode("utf-8", "replace").strip().splitlines()
    errors = [line.split("error: ", 1)[1] for line in lines if "error: " in line]
    return UnavailableError(errors[-1] if errors else "it did not start", code="start-failed", hint=f"see {log.parent}")
