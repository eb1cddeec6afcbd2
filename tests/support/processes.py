# SPDX-License-Identifier: Apache-2.0
"""Real child processes and loopback ports for tests; each child is ended by its pid, whatever the test did."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

POLL_SECONDS = 0.02
STOP_SECONDS = 10.0


def free_port() -> int:
    """Return a TCP port on 127.0.0.1 that was free a moment ago, of those that no outgoing connection is lent. Prefer
    letting the server bind port 0 where it can.
    """
    while True:
        port = random.SystemRandom().randrange(20000, 32768)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def wait_until(condition: Callable[[], bool], *, what: str, seconds: float = 20.0) -> None:
    """Poll ``condition`` until it holds; AssertionError naming ``what`` when it does not within ``seconds``."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            message = f"{what}: not within {seconds} s"
            raise AssertionError(message)
        time.sleep(POLL_SECONDS)


def port_answers(port: int) -> bool:
    """True when something accepts connections on 127.0.0.1:``port``."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1.0):
            return True
    except OSError:
        return False


def pid_is_alive(pid: int) -> bool:
    """True while process ``pid`` exists (a zombie still does)."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def stop(process: subprocess.Popen[bytes], *, seconds: float = STOP_SECONDS) -> int:
    """End ``process`` by pid: SIGTERM, then SIGKILL after ``seconds``; return its exit status."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()
    return process.returncode


@contextmanager
def child_process(
    command: Sequence[str | Path],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    log: Path | None = None,
    stop_seconds: float = STOP_SECONDS,
) -> Iterator[subprocess.Popen[bytes]]:
    """Start ``command`` without stdin and end it by pid on exit, by force after ``stop_seconds``.

    Its output goes to ``log``, or nowhere.
    """
    with open(log or os.devnull, "ab") as output:
        process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=None if env is None else dict(env),
            cwd=cwd,
        )
    try:
        yield process
    finally:
        stop(process, seconds=stop_seconds)
