# SPDX-License-Identifier: Apache-2.0
"""``signwright down``: end a home by the process id of its supervisor, and wait until it is gone."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import click

from signwright.cli.console import result, say
from signwright.cli.home import Home, home_of
from signwright.errors import UnavailableError

WAIT_SECONDS = 45.0


@click.command("down")
@click.option("--home", "folder", type=click.Path(path_type=Path), help="the home (SIGNWRIGHT_HOME)")
def down_command(folder: Path | None) -> None:
    """End every process of a home. Open requests are kept and go on with the next `up`."""
    home = home_of(folder)
    described = home.read()
    pid = running_pid(home)
    if pid is None:
        home.close_sockets(described)  # of a supervisor that was killed
        say(f"{home.folder} is not up")
        return
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + WAIT_SECONDS
    while _is_ours(pid, home):
        _reap(pid)
        if time.monotonic() > deadline:
            raise UnavailableError(f"process {pid} does not end", code="not-down", hint=f"the logs are in {home.run}")
        time.sleep(0.05)
    result(f"down {home.folder}")


def running_pid(home: Home) -> int | None:
    """The supervisor's process id while it runs; a file left by a machine that lost power says nothing."""
    try:
        pid = int((home.run / "up.pid").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
    return pid if pid > 1 and _is_ours(pid, home) else None


def _is_ours(pid: int, home: Home) -> bool:
    """The process exists, and where the system tells command lines, it is a supervisor of this home."""
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except FileNotFoundError:
        return not Path("/proc/self").exists()
    except OSError:
        return True
    if not words or words == [b""]:  # a zombie: it has ended
        return False
    supervises = str(home.folder).encode() in words or b"up" in words
    return supervises and pid != os.getpid()


def _reap(pid: int) -> None:
    """When the supervisor happens to be our own child."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except (ChildProcessError, AttributeError):
        pass
