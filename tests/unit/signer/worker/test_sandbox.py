# SPDX-License-Identifier: Apache-2.0
"""The seccomp program of both processors, run by a small interpreter of classic BPF: what passes and what does not."""

from __future__ import annotations

import errno

import pytest

from signwright.signer.worker.sandbox import NONE, SandboxStatus, seccomp_program
from signwright.signer.worker.syscalls import ALLOWED, MACHINES, REFUSED, REOPENING

KILL, ALLOW = "kill", "allow"
THREAD = 0x003D0F00  # the flags that glibc passes for a thread
#: Numbers of calls that must never work, written down here on their own (x86-64, arm64).
FORBIDDEN = {
    "socket": (41, 198), "connect": (42, 203), "bind": (49, 200), "sendmsg": (46, 211), "recvmsg": (47, 212),
    "socketpair": (53, 199), "execve": (59, 221), "execveat": (322, 281), "kill": (62, 129), "ptrace": (101, 117),
    "mount": (165, 40), "bpf": (321, 280), "io_uring_setup": (425, 425), "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271), "keyctl": (250, 219), "setns": (308, 268), "unshare": (272, 97),
    "memfd_create": (319, 279), "pidfd_open": (434, 434), "pidfd_getfd": (438, 438), "pwrite64": (18, 68),
    "openat2": (437, 437), "unlinkat": (263, 35), "init_module": (175, 105), "userfaultfd": (323, 282),
    "perf_event_open": (298, 241), "setuid": (105, 146), "chroot": (161, 51), "pkey_mprotect": (329, 288),
    "personality": (135, 92), "name_to_handle_at": (303, 264), "open_by_handle_at": (304, 265), "dup3": (292, 24),
    "sendto": (44, 206), "splice": (275, 76), "tkill": (200, 130), "rt_sigqueueinfo": (129, 138),
}  # fmt: skip


def decide(machine: str, number: int, *arguments: int, arch: int | None = None, reopening: bool = False) -> str | int:
    """`KILL`, `ALLOW` or an errno."""
    known = MACHINES[machine]
    words = {0: number & 0xFFFFFFFF, 4: known.audit_arch if arch is None else arch}
    for index, value in enumerate((*arguments, 0, 0, 0)[:3]):
        words[16 + 8 * index] = value & 0xFFFFFFFF
    program, at, accumulator = seccomp_program(known, reopening=reopening), 0, 0
    while True:
        code, true, false, constant = program[at]
        at += 1
        match code:
            case 0x20:
                accumulator = words[constant]
            case 0x15:
                at += true if accumulator == constant else false
            case 0x35:
                at += true if accumulator >= constant else false
            case 0x45:
                at += true if accumulator & constant else false
            case 0x06:
                if constant == 0x80000000:
                    return KILL
                return ALLOW if constant == 0x7FFF0000 else constant & 0xFFFF
            case _:
                pytest.fail(f"unknown instruction {code:#x}")


@pytest.mark.parametrize("machine", MACHINES)
def test_allowed_calls_pass_and_refused_ones_get_their_error(machine: str) -> None:
    for name, number in MACHINES[machine].numbers.items():
        if name in ALLOWED:
            assert decide(machine, number) == ALLOW, name
        elif name in REFUSED:
            assert decide(machine, number) == REFUSED[name], name
            assert decide(machine, number, reopening=True) == (ALLOW if name in REOPENING else REFUSED[name]), name


@pytest.mark.parametrize("call", FORBIDDEN)
def test_what_reaches_outside_kills(call: str) -> None:
    for machine, number in zip(("x86_64", "aarch64"), FORBIDDEN[call], strict=True):
        assert decide(machine, number) == KILL
        assert decide(machine, number, reopening=True) == KILL


@pytest.mark.parametrize("machine", MACHINES)
def test_every_unknown_number_kills(machine: str) -> None:
    known = set(MACHINES[machine].numbers.values())
    assert all(decide(machine, number) == KILL for number in range(600) if number not in known)
    assert decide(machine, 0xFFFFFFFF) == KILL


@pytest.mark.parametrize("machine", MACHINES)
def test_another_processors_table_kills(machine: str) -> None:
    read = MACHINES[machine].numbers["read"]
    for arch in (0x40000003, 0x40000028, *(m.audit_arch for m in MACHINES.values() if m is not MACHINES[machine])):
        assert decide(machine, read, arch=arch) == KILL


def test_the_x32_table_kills() -> None:
    assert decide("x86_64", 0x40000000) == KILL
    assert decide("x86_64", 0x40000000 | MACHINES["x86_64"].numbers["read"]) == KILL


@pytest.mark.parametrize("machine", MACHINES)
def test_clone_makes_threads_and_nothing_else(machine: str) -> None:
    clone = MACHINES[machine].numbers["clone"]
    assert decide(machine, clone, THREAD) == ALLOW
    for flags in (0, 17, 0x01200011, 0x00004111):  # fork, vfork and posix_spawn as libc makes them
        assert decide(machine, clone, flags) == KILL
    for namespace in (0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000):
        assert decide(machine, clone, THREAD | namespace) == KILL
    assert decide(machine, MACHINES[machine].numbers["clone3"]) == errno.ENOSYS


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("call", ["mmap", "mprotect"])
def test_no_memory_becomes_executable(machine: str, call: str) -> None:
    number = MACHINES[machine].numbers[call]
    for protection in range(16):
        assert decide(machine, number, 0, 4096, protection) == (errno.EPERM if protection & 4 else ALLOW)


def test_the_two_tables_name_the_same_calls_where_both_have_them() -> None:
    old = {"open", "stat", "lstat", "access", "readlink", "poll", "time"}  # arm64 never had these
    assert set(MACHINES["x86_64"].numbers) - set(MACHINES["aarch64"].numbers) == old
    assert set(MACHINES["aarch64"].numbers) <= set(MACHINES["x86_64"].numbers)


def test_the_status_is_said_in_one_word() -> None:
    assert SandboxStatus(7, seccomp=True).text == "landlock7+seccomp"
    assert SandboxStatus(0, seccomp=True).text == "seccomp"
    assert NONE.text == "none"
    assert not SandboxStatus(7, seccomp=False).sufficient
