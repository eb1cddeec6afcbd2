# SPDX-License-Identifier: Apache-2.0
"""Keeps the processes of a home running: starts them in order, says when the first request can be served, starts a
crashed one again after a growing pause, ends all of them together.

``python -m signwright.cli.supervisor --home DIR`` is what ``up --detach`` leaves behind.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from signwright.cli.console import say
from signwright.cli.home import Home, HomeFile
from signwright.cli.processes import PROCESSES, Process, command_of, environment_of
from signwright.client.files import replace_file
from signwright.errors import SignwrightError, UnavailableError

READY_SECONDS = 120.0
STOP_SECONDS = 15.0
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
#: A process that ran this long before it ended starts with a short pause again.
STABLE_SECONDS = 60.0
MAX_LOG = 32 << 20


@dataclass
class Child:
    """One process and its history. ``ready`` is set by the line ``ready …`` on its stdout."""

    process: Process
    running: subprocess.Popen[bytes] | None = None
    ready: threading.Event = field(default_factory=threading.Event)
    started: float = 0.0
    pause: float = FIRST_PAUSE
    not_before: float = 0.0
    log_start: int = 0

    @property
    def name(self) -> str:
        return self.process.name


class Supervisor:
    """``stop`` may be called from a signal handler or another thread."""

    def __init__(self, home: Home, described: HomeFile) -> None:
        self._home = home
        self._described = described
        self._children = [Child(process) for process in PROCESSES]
        self._stopping = threading.Event()

    def stop(self, _number: int = 0, _frame: FrameType | None = None) -> None:
        self._stopping.set()

    def run(self, *, on_ready: Callable[[], None], can_serve: Callable[[], bool]) -> None:
        """Until `stop`. ``can_serve``: the last test before ``on_ready``. Raises `UnavailableError` at a bad start."""
        self._home.open_sockets(self._described)
        try:
            self._start_all(can_serve)
            if not self._stopping.is_set():
                self._home.genesis.unlink(missing_ok=True)
                on_ready()
            while not self._stopping.wait(0.2):
                self._restart_ended()
        finally:
            self._end_all()
            self._home.close_sockets(self._described)

    def _start_all(self, can_serve: Callable[[], bool]) -> None:
        deadline = time.monotonic() + READY_SECONDS
        waiting = list(self._children)
        while not self._stopping.is_set():
            ready = {child.name for child in self._children if child.ready.is_set()}
            for child in [c for c in waiting if set(c.process.after) <= ready]:
                self._start(child)
                waiting.remove(child)
            for child in self._children:
                if child.running is not None and child.running.poll() is not None:
                    raise self._ended_early(child)
            if len(ready) == len(self._children) and can_serve():
                return
            if time.monotonic() > deadline:
                late = [child.name for child in self._children if child.name not in ready]
                raise UnavailableError(
                    f"not ready within {int(READY_SECONDS)} s: {', '.join(late) or 'the signer has no policy yet'}",
                    code="not-ready",
                    hint=f"the logs are in {self._home.run}",
                )
            self._stopping.wait(0.05)

    def _ended_early(self, child: Child) -> UnavailableError:
        assert child.running is not None
        log = self._home.run / f"{child.name}.log"
        with log.open("rb") as opened:
            opened.seek(child.log_start)
            lines = opened.read(1 << 20).decode("utf-8", "replace").strip().splitlines()
        # The first error is the cause; what is said after it is about its consequences.
        errors = [line for line in lines if "error: " in line]
        said = (errors[0] if errors else lines[-1])[:500] if lines else "nothing"
        return UnavailableError(
            f"{child.name} ended with status {child.running.returncode}; it said: {said}",
            code="start-failed",
            hint=str(log),
        )

    def _start(self, child: Child) -> None:
        log = self._home.run / f"{child.name}.log"
        if log.exists() and log.stat().st_size > MAX_LOG:
            log.replace(log.with_suffix(".log.1"))
        with log.open("ab") as stderr:
            os.chmod(log, 0o600)
            child.log_start = stderr.tell()
            child.running = subprocess.Popen(
                command_of(child.process, self._home, self._described),
                env=environment_of(self._described),
                cwd=self._home.folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
                # Ctrl-C in the terminal is for us; we end the others in order.
                start_new_session=True,
            )
        child.started = time.monotonic()
        replace_file(self._home.run / f"{child.name}.pid", f"{child.running.pid}\n".encode())
        threading.Thread(target=_listen, args=(child, child.running, log), daemon=True).start()

    def _restart_ended(self) -> None:
        now = time.monotonic()
        for child in self._children:
            if child.running is not None and child.running.poll() is not None:
                ran = now - child.started
                child.pause = FIRST_PAUSE if ran > STABLE_SECONDS else min(2 * child.pause, LONGEST_PAUSE)
                say(
                    f"{child.name} ended with status {child.running.returncode}; starting it again in {child.pause:g} s"
                )
                child.ready.clear()
                child.running, child.not_before = None, now + child.pause
            if child.running is None and now >= child.not_before:
                self._start(child)

    def _end_all(self) -> None:
        """In the opposite order: what carries work first, what signs last; each by its process id."""
        for child in reversed(self._children):
            if child.running is not None and child.running.poll() is None:
                child.running.terminate()
        deadline = time.monotonic() + STOP_SECONDS
        for child in reversed(self._children):
            if child.running is not None:
                try:
                    child.running.wait(max(0.1, deadline - time.monotonic()))
                except subprocess.TimeoutExpired:
                    say(f"{child.name} does not end; killing it")
                    child.running.kill()
                    child.running.wait()
            (self._home.run / f"{child.name}.pid").unlink(missing_ok=True)


def _listen(child: Child, running: subprocess.Popen[bytes], log: Path) -> None:
    """Copy stdout to the log until it ends; the line ``ready …`` is the sign that the process serves."""
    assert running.stdout is not None
    with running.stdout, log.open("ab") as copy:
        for line in running.stdout:
            copy.write(line)
            copy.flush()
            if line.split(b" ", 1)[0].strip() == b"ready" and child.running is running:
                child.ready.set()


def can_serve(home: Home, described: HomeFile) -> Callable[[], bool]:
    """A test through the hub: it answers, and it has a checkpoint that the signer published under this policy."""
    from signwright.client.credentials import load_credentials
    from signwright.client.http import CallKey, HubConnection
    from signwright.client.hub import Hub
    from signwright.client.trust import load_trust

    credential = load_credentials(home / "credentials" / "ci.json")[0]
    trust = load_trust(home / "trust.json").log_trust

    def test() -> bool:
        key = CallKey(credential.key_id, credential.key.sign)
        with HubConnection(described.url, key, own_machine=True) as connection:
            try:
                hub = Hub(connection)
                hub.health()
                return trust.verify(hub.checkpoint()).checkpoint.size > 0
            except SignwrightError:
                return False

    return test


def main(arguments: Sequence[str]) -> int:
    """The background half of ``up --detach``; writes ``run/up.ready`` once, ends on SIGTERM."""
    parser = argparse.ArgumentParser(prog="signwright.cli.supervisor")
    parser.add_argument("--home", type=Path, required=True)
    home = Home(parser.parse_args(arguments).home.absolute())
    try:
        described = home.read()
        supervisor = Supervisor(home, described)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, supervisor.stop)
        ready_file = home.run / "up.ready"
        supervisor.run(
            on_ready=lambda: replace_file(ready_file, f"{described.url}\n".encode()),
            can_serve=can_serve(home, described),
        )
    except SignwrightError as problem:
        say(f"error: {problem.message}")
        if problem.hint:
            say(f"hint: {problem.hint}")
        return 1
    finally:
        (home.run / "up.pid").unlink(missing_ok=True)
        (home.run / "up.ready").unlink(missing_ok=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
