# SPDX-License-Identifier: Apache-2.0
"""Starts keyholder and gate, each with one end of a socket pair; starts both again when either dies. Holds no
secret.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from signwright.errors import UnavailableError
from signwright.signer.start import own_command

GATE = "signwright.signer.gate"
KEYHOLDER = "signwright.signer.keyholder"
#: A token may need its time; the gate is ready only when the keyholder has answered.
READY_SECONDS = 180.0
STOP_SECONDS = 10.0
#: From closing the pipe on which it would have said ``ready`` to its end.
DEATH_SECONDS = 2.0
#: More restarts than this in a minute are no accident.
MAX_RESTARTS = 5
_MINUTE = 60.0


@dataclass(frozen=True, slots=True)
class Pair:
    """Gate and keyholder at work. ``ready``: read end of a pipe on which the gate says so; ``life``: closes with us."""

    keyholder: subprocess.Popen[bytes]
    gate: subprocess.Popen[bytes]
    ready: int
    life: int

    def dead(self, *, patience: float = 0.0) -> str:
        """Which of the two has ended, or nothing. ``patience``: seconds for one that has hung up and is about to."""
        deadline = time.monotonic() + patience
        while True:
            for name, process in (("gate", self.gate), ("keyholder", self.keyholder)):
                if process.poll() is not None:
                    return f"{name} (exit status {process.returncode})"
            if time.monotonic() >= deadline:
                return ""
            time.sleep(0.01)


class Launcher:
    """``settings``: the file that both read; ``genesis``: for the first start only."""

    def __init__(self, settings: Path, *, genesis: str | None) -> None:
        self._settings = settings
        self._genesis = genesis
        self._starts: deque[float] = deque()
        self._stopping = False

    def stop(self, *_: object) -> None:
        self._stopping = True

    def run(self, *, on_ready: str, ready_file: Path | None) -> int:
        """Until SIGTERM (0) or until the two cannot be kept alive (raises `UnavailableError`).

        ``on_ready``: the line to print, and to write to ``ready_file``, when both serve.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self.stop)
        announced = False
        while not self._stopping:
            self._limit_rate()
            pair = self._start()
            try:
                if self._wait_ready(pair):
                    if not announced:
                        _announce(on_ready, ready_file)
                        announced = True
                    self._genesis = None
                    self._watch(pair)
            finally:
                why = pair.dead(patience=0.0 if self._stopping else DEATH_SECONDS)
                _end(pair)
            if self._stopping:
                break
            if not announced:
                raise UnavailableError(f"the {why or 'gate'} ended before it was ready", code="signer-start")
            print(f"signer: {why} ended; starting both again", file=sys.stderr, flush=True)
        return 0

    def _limit_rate(self) -> None:
        now = time.monotonic()
        while self._starts and self._starts[0] < now - _MINUTE:
            self._starts.popleft()
        if len(self._starts) > MAX_RESTARTS:
            raise UnavailableError(f"{MAX_RESTARTS} restarts within a minute: giving up", code="signer-restarts")
        self._starts.append(now)

    def _start(self) -> Pair:
        with ExitStack() as stack:
            ours, theirs = (stack.enter_context(one) for one in socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM))
            ready, said = os.pipe()
            stack.callback(os.close, said)
            alive, life = os.pipe()
            stack.callback(os.close, alive)
            common = ["--settings", str(self._settings)]
            genesis = ["--genesis", self._genesis] if self._genesis else []
            keyholder = subprocess.Popen(
                own_command(KEYHOLDER, [*common, "--gate-fd", str(theirs.fileno()), *genesis]),
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )
            fds = ["--keyholder-fd", str(ours.fileno()), "--ready-fd", str(said)]
            gate = subprocess.Popen(
                own_command(GATE, [*common, *fds, *genesis]), stdin=alive, pass_fds=[ours.fileno(), said]
            )
            return Pair(keyholder, gate, ready, life)

    def _wait_ready(self, pair: Pair) -> bool:
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline and not self._stopping and not pair.dead():
            if select.select([pair.ready], [], [], 0.1)[0]:
                return os.read(pair.ready, 16) == b"ready\n"
        return False

    def _watch(self, pair: Pair) -> None:
        """Until one of the two ends or we are told to."""
        with ExitStack() as stack:
            ends = []
            for process in (pair.gate, pair.keyholder):
                if process.poll() is not None:
                    return
                ends.append(os.pidfd_open(process.pid))  # a child that ends now stays a zombie until it is waited for
                stack.callback(os.close, ends[-1])
            while not self._stopping:
                try:
                    if select.select(ends, [], [], 1.0)[0]:
                        return
                except InterruptedError:
                    continue


def _announce(line: str, ready_file: Path | None) -> None:
    if ready_file is not None:
        draft = ready_file.with_name(f"{ready_file.name}.new")
        draft.write_text(line.removeprefix("ready ") + "\n", encoding="utf-8")
        draft.replace(ready_file)
    print(line, flush=True)


def _end(pair: Pair) -> None:
    """The gate first, so that nothing new reaches the keyholder; each by SIGTERM, then by SIGKILL."""
    for process in (pair.gate, pair.keyholder):
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
    os.close(pair.ready)
    os.close(pair.life)


def plain_words() -> str:
    """What the set-up does not give, for whoever reads the log."""
    return (
        "signer: profile 0: gate and keyholder run as one user on this machine; the boundary between them is a "
        "process, not a user: whoever becomes this user has the keys"
    )
