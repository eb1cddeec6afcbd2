# SPDX-License-Identifier: Apache-2.0
"""The asker's side of a zygote: start it, give it jobs, read what comes back as the word of somebody who may lie.

`WorkerPool` may be used from several threads; every job has its own socket and its own child. A zygote that has died is
started again by the next job.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self

from signwright.errors import FormatError, LimitError, MalformedError, SignwrightError, UnavailableError
from signwright.model.framing import Frame, encode_frame
from signwright.signer.worker.wire import (
    EXIT_NO_SANDBOX,
    EXIT_REFUSED,
    MAX_ATTACHMENTS,
    MAX_START,
    Ending,
    Start,
    printable,
    read_answer,
    rebuild_error,
)

_SIGXCPU, _SIGSYS = 24, 31
#: After the wall time of a job, how long the zygote may take to say that it killed the child.
_GRACE = 5.0
_START_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class JobLimits:
    """``seconds``: wall time; ``cpu_seconds``: processor time; ``memory`` and ``attachments``: bytes.

    ``reopen``: the job may open its own views again by path (see `signwright.signer.worker.sandbox.enter`).
    """

    seconds: float = 120.0
    cpu_seconds: int = 120
    memory: int = 512 << 20
    attachments: int = MAX_ATTACHMENTS
    reopen: bool = False


class _Zygote:
    """One zygote process and the control channel to it."""

    def __init__(self, command: Sequence[str], *, allow_none: bool) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        arguments = ["--control", str(theirs.fileno()), "--sandbox", "none" if allow_none else "required"]
        with theirs:
            self.process = subprocess.Popen(
                [*command, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env={"LC_ALL": "C.UTF-8"},
                start_new_session=True,
            )
        self.control = ours
        try:
            self.sandbox = self._greeting()
        except BaseException:
            self.stop()
            raise

    def _greeting(self) -> str:
        self.control.settimeout(_START_SECONDS)
        try:
            hello = json.loads(self.control.recv(MAX_START) or b"{}")
        except (OSError, ValueError) as problem:
            raise UnavailableError("the worker zygote did not start", code="worker-unavailable") from problem
        if hello.get("ready") is not True:
            problem_text = printable(str(hello.get("problem", "it ended without a word")))
            code = "sandbox-unavailable" if hello.get("code") == "sandbox-unavailable" else "worker-unavailable"
            raise UnavailableError(f"the worker zygote did not start: {problem_text}", code=code)
        self.control.settimeout(None)
        return printable(str(hello.get("sandbox")))

    def stop(self) -> None:
        """Close the channel, which ends the zygote and its children, and wait; after two seconds kill it."""
        self.control.close()
        try:
            self.process.wait(2)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class WorkerPool:
    """``command``: starts the zygote (see `signwright.signer.start.signer_command`); ``parallel``: children at once.

    ``sandbox_none`` is the local setting ``sandbox: none``.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        sandbox_none: bool = False,
        parallel: int | None = None,
        limits: JobLimits | None = None,
    ) -> None:
        self._command = list(command)
        self._sandbox_none = sandbox_none
        self._slots = threading.BoundedSemaphore(parallel or max(2, os.cpu_count() or 2))
        self._lock = threading.Lock()
        self._zygote: _Zygote | None = None
        self._closed = False
        self.limits = limits or JobLimits()

    def start(self) -> str:
        """Start the zygote now. Returns the sandbox in force; raises `UnavailableError` (``sandbox-unavailable``,
        ``worker-unavailable``).
        """
        with self._lock:
            return self._alive().sandbox

    @property
    def sandbox(self) -> str:
        """What every child is locked in: ``landlock7+seccomp``, ``seccomp`` or ``none``."""
        return self.start()

    @property
    def process(self) -> int:
        """Process id of the zygote that is, or was last, in use; 0 before the first start."""
        return self._zygote.process.pid if self._zygote else 0

    def close(self) -> None:
        with self._lock:
            self._closed = True
            if self._zygote is not None:
                self._zygote.stop()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _alive(self) -> _Zygote:
        if self._closed:
            raise UnavailableError("the worker pool is closed", code="worker-unavailable")
        if self._zygote is None or self._zygote.process.poll() is not None:
            if self._zygote is not None:
                self._zygote.stop()
            self._zygote = _Zygote(self._command, allow_none=self._sandbox_none)
        return self._zygote

    def _hand_over(self, start: Start, descriptors: Sequence[int]) -> None:
        """Send a job start; once more when the zygote turns out to be dead. Nothing has run before this succeeds."""
        with self._lock:
            for last in (False, True):
                zygote = self._alive()
                try:
                    socket.send_fds(zygote.control, [start.encode()], list(descriptors))
                except OSError as problem:
                    zygote.process.kill()
                    zygote.process.wait()
                    if last:
                        raise UnavailableError("no worker zygote takes the job", code="worker-unavailable") from problem
                else:
                    return

    @contextlib.contextmanager
    def job(
        self,
        name: str,
        message: dict[str, object],
        *,
        parts: Sequence[bytes] = (),
        views: Sequence[int] = (),
        limits: JobLimits | None = None,
    ) -> Iterator[RunningJob]:
        """Start a child for ``name`` with the read-only descriptors ``views``; it is killed at the end of the block."""
        limits = limits or self.limits
        start = Start(name, len(views), limits.seconds, limits.cpu_seconds, limits.memory, limits.reopen)
        with self._slots, contextlib.ExitStack() as stack:
            ours, theirs = socket.socketpair()
            stack.enter_context(ours)
            with theirs:
                status_read, status_write = os.pipe()
                stack.callback(os.close, status_read)
                try:
                    self._hand_over(start, [status_write, theirs.fileno(), *views])
                finally:
                    os.close(status_write)
            running = RunningJob(ours, status_read, limits)
            running.send(message, parts)
            yield running

    def run(
        self,
        name: str,
        message: dict[str, object],
        *,
        parts: Sequence[bytes] = (),
        views: Sequence[int] = (),
        limits: JobLimits | None = None,
    ) -> Frame:
        """One job with one answer. Errors: see `RunningJob.answer`."""
        with self.job(name, message, parts=parts, views=views, limits=limits) as running:
            kind, frame = running.answer()
        if kind != "done":
            raise FormatError("the worker answered with a part where the whole was due", code="worker-answer")
        return frame


class RunningJob:
    """A child at work, seen from outside. The deadline holds for everything together."""

    def __init__(self, channel: socket.socket, status: int, limits: JobLimits) -> None:
        self._channel = channel
        self._status = status
        self._limits = limits
        self._deadline = time.monotonic() + limits.seconds + _GRACE

    def send(self, message: dict[str, object], parts: Sequence[bytes] = ()) -> None:
        """A frame to the child. Raises the error its ending stands for when it no longer reads."""
        wire = encode_frame(message, parts)
        try:
            self._channel.settimeout(self._left())
            self._channel.sendall(wire)
        except TimeoutError as problem:
            raise _overrun() from problem
        except OSError as problem:
            raise self._ending() from problem

    def answer(self) -> tuple[str, Frame]:
        """The next frame: ``("part", ...)`` or ``("done", ...)``.

        Raises the error that the job reported about its input (`FormatError` and its relatives with their own
        codes), or `FormatError` with ``worker-crashed``, ``worker-timeout``, ``worker-memory``, ``worker-violation``
        (it tried something the sandbox forbids) or ``worker-answer`` (what it sent is not an answer), or
        `UnavailableError` with
        ``worker-unavailable`` or ``sandbox-unavailable`` when the fault is not the artifact's.
        """
        try:
            frame = read_answer(self._read_exactly, self._limits.attachments)
        except (EOFError, ConnectionError) as problem:
            raise self._ending() from problem
        except TimeoutError as problem:
            raise _overrun() from problem
        except (LimitError, MalformedError) as problem:
            raise FormatError(f"the worker's answer is refused: {problem.message}", code="worker-answer") from problem
        match list(frame.message.items()):
            case [("failed", failed)]:
                raise rebuild_error(failed)
            case [(("part" | "done") as kind, dict(body))]:
                return kind, Frame(body, frame.parts)
        raise FormatError("the worker's answer is neither a part nor an end", code="worker-answer")

    def _left(self) -> float:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left

    def _read_exactly(self, wanted: int) -> bytes:
        content = bytearray()
        while len(content) < wanted:
            self._channel.settimeout(self._left())
            piece = self._channel.recv(min(wanted - len(content), 1 << 20))
            if not piece:
                raise EOFError
            content += piece
        return bytes(content)

    def _ending(self) -> SignwrightError:
        """The error that the child's end stands for, as the zygote tells it."""
        ready = select.select([self._status], [], [], max(0.0, self._deadline - time.monotonic()))[0]
        line = os.read(self._status, 256) if ready else b""
        if not line:
            return UnavailableError("the worker zygote ended while it had a job", code="worker-unavailable")
        ending = Ending.decode(line)
        if ending.overrun or ending.signal == _SIGXCPU:
            return _overrun()
        if ending.exit_code == EXIT_NO_SANDBOX:
            return UnavailableError("a worker could not enter its sandbox", code="sandbox-unavailable")
        if ending.exit_code == EXIT_REFUSED:
            return UnavailableError(
                "the zygote does not know the job, or a descriptor is writable", code="worker-refused"
            )
        if ending.signal == _SIGSYS:
            return FormatError("the worker tried what its sandbox forbids and was killed", code="worker-violation")
        how = f"signal {ending.signal}" if ending.signal else f"exit code {ending.exit_code}"
        return FormatError(f"the worker crashed on the artifact ({how})", code="worker-crashed")


def _overrun() -> FormatError:
    return FormatError("the worker did not finish in time and was killed", code="worker-timeout")


def with_seconds(limits: JobLimits, seconds: float) -> JobLimits:
    """The same limits with another wall and processor time."""
    return replace(limits, seconds=seconds, cpu_seconds=max(1, int(seconds)))
