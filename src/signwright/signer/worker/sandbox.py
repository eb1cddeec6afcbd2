# SPDX-License-Identifier: Apache-2.0
"""The sandbox of a child that parses somebody else's file: nothing but the given descriptors, memory and the processor.

Two independent walls, both from the kernel's own documentation (``userspace-api/landlock``,
``userspace-api/seccomp_filter``): seccomp lets only the calls of `signwright.signer.worker.syscalls` through,
Landlock refuses files, TCP, abstract sockets and signals once more by object. Landlock alone is not enough: it knows
neither UDP nor the creation of Unix sockets. seccomp alone is: the filter has no call that opens, connects or starts
anything. So seccomp is required and Landlock is used in whatever version the kernel has; `SandboxStatus.text` says
which (``landlock7+seccomp``, ``seccomp``, ``none``).

Call `enter` in a freshly forked, single-threaded child, last, after everything it needs has been imported.
"""

from __future__ import annotations

import ctypes
import os
import platform
import resource
from collections.abc import Sequence
from dataclasses import dataclass

from signwright.errors import UnavailableError
from signwright.signer.worker.syscalls import ALLOWED, MACHINES, REFUSED, REOPENING, Machine

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_GET_SECCOMP, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 1, 4, 21, 22, 38
_SECCOMP_MODE_FILTER = 2
_KILL_PROCESS, _ERRNO, _ALLOW = 0x80000000, 0x00050000, 0x7FFF0000
_LOAD, _JUMP_EQUAL, _JUMP_GREATER_EQUAL, _JUMP_SET, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_CLONE_THREAD = 0x10000
_CLONE_NEW = 0x7E020080  # every CLONE_NEW* flag that fits the low 32 bits
_PROT_EXEC = 4

_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 444, 445, 446  # the same on both processors
_LANDLOCK_READ_FILE = 1 << 2


class _Filter(ctypes.Structure):
    """``struct sock_filter``."""

    _fields_ = (("code", ctypes.c_uint16), ("jt", ctypes.c_uint8), ("jf", ctypes.c_uint8), ("k", ctypes.c_uint32))


class _Program(ctypes.Structure):
    """``struct sock_fprog``."""

    _fields_ = (("length", ctypes.c_uint16), ("filters", ctypes.POINTER(_Filter)))


class _Ruleset(ctypes.Structure):
    """``struct landlock_ruleset_attr``; older kernels take a shorter one."""

    _fields_ = (("fs", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _PathBeneath(ctypes.Structure):
    """``struct landlock_path_beneath_attr`` (packed)."""

    _pack_ = 1
    _fields_ = (("access", ctypes.c_uint64), ("parent", ctypes.c_int32))


@dataclass(frozen=True, slots=True)
class SandboxStatus:
    """``landlock``: ABI version in force, 0 for none; ``seccomp``: whether the filter is in force."""

    landlock: int
    seccomp: bool

    @property
    def text(self) -> str:
        parts = [f"landlock{self.landlock}"] if self.landlock else []
        return "+".join([*parts, "seccomp"] if self.seccomp else parts) or "none"

    @property
    def sufficient(self) -> bool:
        return self.seccomp


NONE = SandboxStatus(0, seccomp=False)


@dataclass(frozen=True, slots=True)
class Limits:
    """Bytes of private writable memory, seconds of processor time."""

    memory: int = 512 << 20
    cpu_seconds: int = 120


def available() -> SandboxStatus:
    """What this kernel and processor can do, without doing it."""
    machine = MACHINES.get(platform.machine())
    abi = _libc.syscall(ctypes.c_long(_LANDLOCK_CREATE), None, ctypes.c_size_t(0), ctypes.c_uint32(1))
    if machine is None:
        return SandboxStatus(max(0, int(abi)), seccomp=False)
    action = ctypes.c_uint32(_KILL_PROCESS)
    get_action_available = 2
    number = ctypes.c_long(machine.numbers["seccomp"])
    kill = _libc.syscall(number, ctypes.c_uint(get_action_available), ctypes.c_uint(0), ctypes.byref(action)) == 0
    return SandboxStatus(max(0, int(abi)), seccomp=kill and _libc.prctl(_PR_GET_SECCOMP, 0, 0, 0, 0) >= 0)


def required(*, allow_none: bool) -> SandboxStatus:
    """What `enter` will put in force. Raises `UnavailableError` where the kernel cannot, unless ``allow_none`` is set.

    ``allow_none`` is the local setting ``sandbox: none``: it switches the walls off, on every kernel, and the status
    says so.
    """
    if allow_none:
        return NONE
    status = available()
    if not status.sufficient:
        raise UnavailableError(
            f"this kernel offers {status.text} on {platform.machine()}, wanted seccomp filters (x86_64 or aarch64)",
            code="sandbox-unavailable",
            hint="artifact mode needs a sandbox; the local setting 'sandbox: none' gives it up, and receipts say so",
        )
    return status


def enter(limits: Limits, *, reopen: Sequence[int] = (), allow_none: bool = False) -> SandboxStatus:
    """Lock this process up for good and say with what.

    ``reopen``: descriptors that may be opened again, for reading, through ``/proc/self/fd`` (for libraries that only
    take paths); needs Landlock. The limits hold even with ``allow_none``. Raises `UnavailableError` when a
    wall cannot be put up; the caller must then end the process.
    """
    status = required(allow_none=allow_none)
    _check(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
    # Without this flag other processes of the same user may not attach; /proc/self/fd is only readable with it.
    _check(_libc.prctl(_PR_SET_DUMPABLE, 1 if reopen else 0, 0, 0, 0), "dumpable")
    if status.landlock:
        _landlock(status.landlock, reopen)
    _set_limits(limits, descriptors=64 if reopen else 0, mapping=bool(reopen))
    if not status.sufficient:
        return status
    machine = MACHINES[platform.machine()]
    _drop_capabilities(machine)
    _seccomp(machine, reopening=bool(reopen) and status.landlock > 0)
    return status


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when ``parent`` (a process id) ends; ends at once if it already did."""
    _check(_libc.prctl(_PR_SET_PDEATHSIG, 9, 0, 0, 0), "parent death signal")
    if os.getppid() != parent:
        os._exit(0)


def _set_limits(limits: Limits, *, descriptors: int, mapping: bool) -> None:
    """No limit on processes: the kernel counts threads with them, per user, and the filter lets no process start
    anyway.
    """
    memory = limits.memory
    rows = [
        (resource.RLIMIT_DATA, memory),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, descriptors),
        (resource.RLIMIT_STACK, min(8 << 20, memory)),
        (resource.RLIMIT_MEMLOCK, 0),
    ]
    if not mapping:
        # Address space is reserved in large pieces that are never touched (one arena of 64 MiB for each thread), and
        # the # zygote's own libraries count: twice the memory leaves room for both.
        rows.append((resource.RLIMIT_AS, 2 * memory + (256 << 20)))
    for kind, value in rows:
        hard = resource.getrlimit(kind)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (value, value))
    resource.setrlimit(resource.RLIMIT_CPU, (limits.cpu_seconds, limits.cpu_seconds + 2))


def _drop_capabilities(machine: Machine) -> None:
    """Empty the effective, permitted and inheritable sets; with no_new_privs nothing brings them back."""
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3, this process
    nothing = (ctypes.c_uint32 * 6)()
    number = ctypes.c_long(machine.numbers["capset"])
    _check(_libc.syscall(number, ctypes.byref(header), ctypes.byref(nothing)), "capabilities")


def _landlock(abi: int, reopen: Sequence[int]) -> None:
    """Handle, and so refuse, every right this ABI knows; then allow reading the inodes behind ``reopen``."""
    last_fs_right = {1: 13, 2: 14, 3: 15, 4: 15}.get(abi, 16)
    rules = _Ruleset((1 << last_fs_right) - 1, 0b11, 0b11)
    size = 8 if abi < 4 else 16 if abi < 6 else 24
    number = ctypes.c_long(_LANDLOCK_CREATE)
    ruleset = _libc.syscall(number, ctypes.byref(rules), ctypes.c_size_t(size), ctypes.c_uint32(0))
    _check(ruleset, "Landlock rules")
    for descriptor in reopen:
        rule = _PathBeneath(_LANDLOCK_READ_FILE, descriptor)
        path_beneath = 1
        added = _libc.syscall(
            ctypes.c_long(_LANDLOCK_ADD),
            ctypes.c_int(ruleset),
            ctypes.c_int(path_beneath),
            ctypes.byref(rule),
            ctypes.c_uint32(0),
        )
        _check(added, "Landlock rule")
    _check(
        _libc.syscall(ctypes.c_long(_LANDLOCK_RESTRICT), ctypes.c_int(ruleset), ctypes.c_uint32(0)),
        "Landlock",
    )
    os.close(ruleset)


def _seccomp(machine: Machine, *, reopening: bool) -> None:
    filters = seccomp_program(machine, reopening=reopening)
    array = (_Filter * len(filters))(*(_Filter(*row) for row in filters))
    program = _Program(len(filters), array)
    _check(_libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0), "seccomp filter")


Instruction = tuple[int, int, int, int]


def seccomp_program(machine: Machine, *, reopening: bool = False) -> list[Instruction]:
    """The classic BPF program as (code, jump if true, jump if false, constant) rows, over ``struct seccomp_data``."""
    kill = (_RETURN, 0, 0, _KILL_PROCESS)
    rows: list[Instruction] = [
        (_LOAD, 0, 0, 4),  # arch
        (_JUMP_EQUAL, 1, 0, machine.audit_arch),
        kill,
        (_LOAD, 0, 0, 0),  # system call number
    ]
    if machine.x32:
        rows += [(_JUMP_GREATER_EQUAL, 0, 1, 0x40000000), kill]
    allowed = ALLOWED | REOPENING if reopening else ALLOWED
    for name, number in machine.numbers.items():
        if name in allowed:
            rows += [(_JUMP_EQUAL, 0, 1, number), (_RETURN, 0, 0, _ALLOW)]
        elif name in REFUSED:
            rows += [(_JUMP_EQUAL, 0, 1, number), (_RETURN, 0, 0, _ERRNO | REFUSED[name])]
    rows += _only_threads(machine.numbers["clone"])
    # Libraries were loaded before the fork; nothing in here has a reason to make memory executable.
    rows += _without_exec(machine.numbers["mmap"]) + _without_exec(machine.numbers["mprotect"])
    return [*rows, kill]


def _only_threads(clone: int) -> list[Instruction]:
    """Allow ``clone`` with CLONE_THREAD and no new name space (flags: low half of the first argument), else kill."""
    return [
        (_JUMP_EQUAL, 0, 5, clone),
        (_LOAD, 0, 0, 16),
        (_JUMP_SET, 2, 0, _CLONE_NEW),
        (_JUMP_SET, 0, 1, _CLONE_THREAD),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _KILL_PROCESS),
    ]


def _without_exec(number: int) -> list[Instruction]:
    """Allow the call unless PROT_EXEC is in its third argument, then EPERM."""
    return [
        (_JUMP_EQUAL, 0, 4, number),
        (_LOAD, 0, 0, 32),
        (_JUMP_SET, 0, 1, _PROT_EXEC),
        (_RETURN, 0, 0, _ERRNO | 1),
        (_RETURN, 0, 0, _ALLOW),
    ]


def _check(result: int, what: str) -> None:
    if result < 0:
        reason = os.strerror(ctypes.get_errno())
        raise UnavailableError(f"the sandbox could not be entered: {what}: {reason}", code="sandbox-unavailable")
