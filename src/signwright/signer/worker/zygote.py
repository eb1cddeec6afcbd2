# SPDX-License-Identifier: Apache-2.0
"""The zygote: a warm interpreter that forks one sandboxed child for each job.

Single-threaded, no secret, no network, no file of its own. It has everything imported that a job may need, because a
child can import nothing any more. It hands descriptors through and waits; what a job says and answers never passes
through it.

A child is killed when its time is up, when the asker closes its end of the status pipe, and when the zygote ends.
"""

from __future__ import annotations

import argparse
import codecs
import fcntl
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

from signwright.errors import MalformedError, SignwrightError, UnavailableError
from signwright.signer.worker import sandbox
from signwright.signer.worker.task import ANSWER, FIRST_VIEW, Job, perform
from signwright.signer.worker.wire import (
    EXIT_BROKEN,
    EXIT_NO_SANDBOX,
    EXIT_REFUSED,
    MAX_START,
    MAX_VIEWS,
    Ending,
    Start,
    write_all,
)

#: What Python loads late, by itself, and could not load any more inside the sandbox.
_LATE_MODULES = ("_strptime", "calendar", "locale", "stringprep", "traceback", "unicodedata")
_LATE_CODECS = (
    *("ascii", "latin-1", "utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"),
    *("cp437", "cp1252", "idna", "punycode", "raw_unicode_escape", "unicode_escape", "base64", "hex", "zlib", "bz2"),
)

_HIGH = 100  # where descriptors wait while the low numbers are laid out


@dataclass
class _Child:
    process: int
    status: int
    deadline: float
    overrun: bool = False


class Zygote:
    """``jobs``: what a child may be asked to do, by name; ``allow_none``: the local setting ``sandbox: none``."""

    def __init__(self, control: socket.socket, jobs: Mapping[str, Job], *, allow_none: bool) -> None:
        self._control = control
        self._jobs = jobs
        self._allow_none = allow_none
        self._children: dict[int, _Child] = {}  # by pidfd
        self._poll = select.poll()
        self._nothing = os.open(os.devnull, os.O_RDWR)

    def run(self) -> None:
        """Serve until the asker closes the control channel. Raises `UnavailableError` when there is no sandbox."""
        status = self._proved_sandbox()
        for module in _LATE_MODULES:
            importlib.import_module(module)
        for codec in _LATE_CODECS:
            codecs.lookup(codec)
        gc.collect()
        gc.freeze()
        self._poll.register(self._control, select.POLLIN)
        self._control.send(json.dumps({"ready": True, "sandbox": status, "process": os.getpid()}).encode())
        try:
            while self._turn():
                pass
        finally:
            for pidfd in list(self._children):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
                self._collect(pidfd)

    def _proved_sandbox(self) -> str:
        """The status text, after a child has really entered the sandbox and ended well."""
        status = sandbox.required(allow_none=self._allow_none)
        process = os.fork()
        if process == 0:
            code = EXIT_NO_SANDBOX
            try:
                sandbox.enter(sandbox.Limits(), allow_none=self._allow_none)
                code = 0
            finally:
                os._exit(code)
        if os.waitpid(process, 0)[1] != 0:
            raise UnavailableError(f"a child could not enter the sandbox ({status.text})", code="sandbox-unavailable")
        return status.text

    def _turn(self) -> bool:
        """Wait for one of: a job, the end of a child, a deadline, an asker who went away. False at the end."""
        now = time.monotonic()
        wait = min((c.deadline for c in self._children.values() if not c.overrun), default=None)
        events = self._poll.poll(None if wait is None else max(0.0, wait - now) * 1000 + 1)
        ready = {descriptor for descriptor, _ in events}
        asked = self._control.fileno() in ready
        # Children first: a new one may get the number of a descriptor that is closed here.
        for descriptor in ready - {self._control.fileno()}:
            if descriptor in self._children:
                self._collect(descriptor)
            else:
                self._abandon(descriptor)
        if asked and not self._accept():
            return False
        now = time.monotonic()
        for pidfd, child in self._children.items():
            if now >= child.deadline and not child.overrun:
                child.overrun = True
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        return True

    def _accept(self) -> bool:
        datagram, descriptors, _, _ = socket.recv_fds(self._control, MAX_START, MAX_VIEWS + 2)
        if not datagram:
            return False
        try:
            start = Start.decode(datagram)
            if len(descriptors) != start.views + 2:
                raise MalformedError("job start comes with the wrong number of descriptors")
            self._fork(start, descriptors)
        except (MalformedError, OSError):
            # The asker sees the status pipe close without an ending.
            for descriptor in descriptors:
                os.close(descriptor)
        return True

    def _fork(self, start: Start, descriptors: Sequence[int]) -> None:
        zygote = os.getpid()
        process = os.fork()
        if process == 0:
            self._be_child(start, descriptors, zygote)
        status, *others = descriptors
        for descriptor in others:
            os.close(descriptor)
        pidfd = os.pidfd_open(process)
        self._children[pidfd] = _Child(process, status, time.monotonic() + start.seconds)
        self._poll.register(pidfd, select.POLLIN)
        self._poll.register(status, 0)  # POLLERR when the reader has gone

    def _be_child(self, start: Start, descriptors: Sequence[int], zygote: int) -> NoReturn:
        code = EXIT_BROKEN
        try:
            sandbox.die_with_parent(zygote)
            _lay_out(self._nothing, descriptors[1:])
            views = range(FIRST_VIEW, FIRST_VIEW + start.views)
            job = self._jobs.get(start.job)
            if job is None or not all(_read_only(view) for view in views):
                os._exit(EXIT_REFUSED)
            limits = sandbox.Limits(start.memory, start.cpu_seconds)
            try:
                sandbox.enter(limits, reopen=views if start.reopen else (), allow_none=self._allow_none)
            except BaseException:  # noqa: BLE001 - whatever it was, there is no sandbox
                os._exit(EXIT_NO_SANDBOX)
            perform(job, start.views)
            code = 0
        finally:
            os._exit(code)

    def _collect(self, pidfd: int) -> None:
        """A child has ended: say how, and forget it."""
        child = self._children.pop(pidfd)
        code = os.waitstatus_to_exitcode(os.waitpid(child.process, 0)[1])
        self._poll.unregister(pidfd)
        self._poll.unregister(child.status)
        os.close(pidfd)
        try:
            write_all(child.status, Ending(max(code, 0), max(-code, 0), child.overrun).encode())
        except BrokenPipeError:
            pass  # nobody waits any more
        os.close(child.status)

    def _abandon(self, status: int) -> None:
        for pidfd, child in list(self._children.items()):
            if child.status == status:
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
                self._collect(pidfd)


def _lay_out(nothing: int, given: Sequence[int]) -> None:
    """Descriptors 0 to 2 become the null device, 3 the answer socket, 4 and up the views; every other one is closed."""
    wanted = [nothing, nothing, nothing, *given]
    waiting = [fcntl.fcntl(descriptor, fcntl.F_DUPFD, _HIGH) for descriptor in wanted]
    for number, descriptor in enumerate(waiting):
        os.dup2(descriptor, number)
    os.closerange(len(wanted), 2**31 - 1)


def _read_only(descriptor: int) -> bool:
    return fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY


def main(jobs: Mapping[str, Job], arguments: Sequence[str]) -> int:
    """Serve ``jobs`` on the inherited control channel. 0 at its end, 1 with a line on standard error without a
    sandbox.
    """
    parser = argparse.ArgumentParser(description="Worker zygote; started by the gate and the scanner.")
    parser.add_argument("--control", type=int, required=True, help="inherited descriptor of the control channel")
    parser.add_argument("--sandbox", choices=["required", "none"], default="required")
    settings = parser.parse_args(arguments)
    control = socket.socket(fileno=settings.control)
    control.set_inheritable(False)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the asker decides; its end closes the channel
    try:
        Zygote(control, jobs, allow_none=settings.sandbox == "none").run()
    except SignwrightError as problem:
        control.send(json.dumps({"ready": False, "code": problem.code, "problem": problem.message}).encode())
        print(f"worker zygote: {problem.message}", file=sys.stderr)
        return 1
    return 0


assert (ANSWER, FIRST_VIEW) == (3, 4)
