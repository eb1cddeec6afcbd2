# SPDX-License-Identifier: Apache-2.0
"""A worker zygote whose jobs are what a taken-over parser would try. The sandbox and everything around it are the
product's.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import platform
import signal
import socket
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from signwright.errors import FormatError, VerificationError
from signwright.model.framing import Frame, encode_frame
from signwright.signer.worker.task import ANSWER, Task
from signwright.signer.worker.wire import write_all
from signwright.signer.worker.zygote import main

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.syscall.restype = ctypes.c_long
NUMBERS = {
    "x86_64": {"ptrace": 101, "kill": 62, "process_vm_readv": 310, "bpf": 321, "userfaultfd": 323, "mount": 165,
               "keyctl": 250, "memfd_create": 319, "unshare": 272, "vfork": 58, "io_uring_setup": 425, "setns": 308,
               "pidfd_getfd": 438, "perf_event_open": 298, "shmget": 29, "execveat": 322, "connect": 42},
    "aarch64": {"ptrace": 117, "kill": 129, "process_vm_readv": 270, "bpf": 280, "userfaultfd": 282, "mount": 40,
                "keyctl": 219, "memfd_create": 279, "unshare": 97, "io_uring_setup": 425, "setns": 268,
                "pidfd_getfd": 438, "perf_event_open": 241, "shmget": 194, "execveat": 281, "connect": 203},
}[platform.machine()]  # fmt: skip


def echo(task: Task) -> Frame:
    return Frame({"said": task.message.get("say")}, (*task.parts, *(view.read(0, view.size) for view in task.views)))


def segfault(_: Task) -> Frame:
    ctypes.string_at(1)
    return Frame({})


def hang(_: Task) -> Frame:
    threading.Event().wait()
    return Frame({})


def spin(_: Task) -> Frame:
    while True:
        pass


def memory_bomb(_: Task) -> Frame:
    hoard = []
    while True:
        hoard.append(bytes(b"x" * (16 << 20)))


def thread_bomb(_: Task) -> Frame:
    gate = threading.Event()
    started = 0
    try:
        for _unused in range(100_000):
            threading.Thread(target=gate.wait, daemon=True).start()
            started += 1
    except (RuntimeError, MemoryError):
        return Frame({"started": started})
    return Frame({"started": started})


def attempt(task: Task) -> Frame:
    """Try one forbidden thing in Python's own words. Answers ``refused`` with the error, or ``done`` when it worked."""
    what = str(task.message["what"])
    try:
        found = ATTEMPTS[what](task)
    except OSError as problem:
        return Frame({"refused": type(problem).__name__, "errno": problem.errno})
    return Frame({"done": repr(found)})


def system_call(task: Task) -> Frame:
    """Try a system call by name, or by number, with all arguments zero."""
    name = task.message["call"]
    number = NUMBERS[name] if isinstance(name, str) else int(str(name))
    result = LIBC.syscall(ctypes.c_long(number), 0, 0, 0, 0, 0, 0)
    return Frame({"result": result, "errno": ctypes.get_errno()})


def _late_codec(_: Task) -> str:
    return (
        b"\x81".decode("cp437")
        + "ü".encode("idna").decode()
        + str(datetime.strptime("2026", "%Y").replace(tzinfo=UTC).year)
    )


def _thread(_: Task) -> str:
    heard = []
    thread = threading.Thread(target=heard.append, args=["hello"])
    thread.start()
    thread.join()
    return heard[0]


ATTEMPTS: dict[str, Callable[[Task], object]] = {
    "read a file": lambda _: Path("/etc/passwd").read_text(),
    "write a file": lambda task: Path(str(task.message["path"])).write_bytes(b"x"),
    "list a folder": lambda _: os.listdir("/"),
    "list descriptors": lambda _: os.listdir("/proc/self/fd"),
    "fork": lambda _: os.fork(),
    "exec": lambda _: os.execv("/bin/true", ["true"]),
    "spawn": lambda _: os.posix_spawn("/bin/true", ["true"], {}),
    "tcp socket": lambda _: socket.socket(socket.AF_INET, socket.SOCK_STREAM),
    "udp socket": lambda _: socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
    "unix socket": lambda _: socket.socket(socket.AF_UNIX, socket.SOCK_STREAM),
    "socket pair": lambda _: socket.socketpair(),
    "kill the parent": lambda _: os.kill(os.getppid(), signal.SIGKILL),
    "signal everybody": lambda _: os.kill(-1, signal.SIGKILL),
    "executable memory": lambda _: mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_EXEC),
    "become root": lambda _: os.setuid(0),
    "write the artifact": lambda _: os.write(4, b"x"),
    "receive a descriptor": lambda _: socket.recv_fds(socket.socket(fileno=ANSWER), 10, 1),
    "thread": _thread,
    "late codec": _late_codec,
}


def held_open(task: Task) -> Frame:
    """Say hello and wait, so that the test can look at this process from outside."""
    task.send({"process": os.getpid()})
    task.receive()
    return Frame({})


def probe_descriptors(_: Task) -> Frame:
    """Which descriptor numbers answer at all."""

    def is_open(number: int) -> bool:
        try:
            os.lseek(number, 0, os.SEEK_CUR)
        except OSError as problem:
            return problem.errno != errno.EBADF  # a socket cannot seek, and is there
        return True

    return Frame({"open": [number for number in range(4096) if is_open(number)]})


def long_answer(task: Task) -> Frame:
    return Frame({"text": "x" * int(str(task.message["bytes"]))})


def long_attachment(task: Task) -> Frame:
    return Frame({}, (bytes(int(str(task.message["bytes"]))),))


def endless_answer(_: Task) -> Frame:
    """A header that announces 4 GiB, and then bytes for ever."""
    write_all(ANSWER, b"\xff\xff\xff\xff")
    while True:
        write_all(ANSWER, bytes(1 << 20))


def raw_answer(task: Task) -> Frame:
    """Write the part as it is instead of an answer, then end well."""
    write_all(ANSWER, task.parts[0])
    os._exit(0)


def answer_frame(task: Task) -> Frame:
    """Send the message under ``frame`` in place of the proper ``done`` frame."""
    frame = task.message["frame"]
    assert isinstance(frame, dict)
    write_all(ANSWER, encode_frame(frame))
    os._exit(0)


def drip(_: Task) -> Frame:
    """One byte now and then, so that no single read ever times out."""
    while True:
        write_all(ANSWER, b"\x00")
        threading.Event().wait(0.05)


def fail(task: Task) -> Frame:
    kind = task.message["kind"]
    if kind == "format":
        raise FormatError("the table ends early", offset=77, code="bad-table")
    if kind == "verification":
        raise VerificationError("the digest differs", code="digest-mismatch")
    raise ValueError("secret \x1b[2J detail")


def recursion(_: Task) -> Frame:
    return recursion(_)


JOBS = {
    job.__name__: job
    for job in (
        echo, segfault, hang, spin, memory_bomb, thread_bomb, attempt, system_call, held_open, probe_descriptors,
        long_answer, long_attachment, endless_answer, raw_answer, answer_frame, drip, fail, recursion,
    )
}  # fmt: skip

if __name__ == "__main__":
    sys.exit(main(JOBS, sys.argv[1:]))
