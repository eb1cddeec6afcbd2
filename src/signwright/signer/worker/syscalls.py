# SPDX-License-Identifier: Apache-2.0
"""System call numbers of the two processors the sandbox knows, and what a sandboxed child may call.

The filter is an allow-list: what is not named here kills the process. Three groups survive:

- `ALLOWED`: computing, memory, reading descriptors that were given, writing the answer, threads of the same process.
- `REFUSED`: answered with an error, because CPython and libc make these calls by themselves and handle a refusal (a
late
  import looks for files, ``abort`` raises a signal, a stream asks whether it is a terminal). Killing here would turn an
  ordinary exception into a crash without a message.
- `CONDITIONAL`: looked at more closely by `signwright.signer.worker.sandbox` (``clone``, ``mmap``, ``mprotect``).

Numbers: Linux ``arch/x86/entry/syscalls/syscall_64.tbl`` and ``include/uapi/asm-generic/unistd.h``.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass

_X86_64 = {
    "read": 0, "write": 1, "open": 2, "close": 3, "stat": 4, "fstat": 5, "lstat": 6, "poll": 7, "lseek": 8, "mmap": 9,
    "mprotect": 10, "munmap": 11, "brk": 12, "rt_sigaction": 13, "rt_sigprocmask": 14, "rt_sigreturn": 15, "ioctl": 16,
    "pread64": 17, "readv": 19, "writev": 20, "access": 21, "sched_yield": 24, "mremap": 25, "madvise": 28, "dup": 32,
    "nanosleep": 35, "getpid": 39, "clone": 56, "exit": 60, "uname": 63, "fcntl": 72, "getcwd": 79, "readlink": 89,
    "gettimeofday": 96, "getrlimit": 97, "getrusage": 98, "sysinfo": 99, "getuid": 102, "getgid": 104, "geteuid": 107,
    "getegid": 108, "getppid": 110, "sigaltstack": 131, "prctl": 157, "gettid": 186, "time": 201, "futex": 202,
    "sched_setaffinity": 203, "sched_getaffinity": 204, "getdents64": 217, "restart_syscall": 219, "fadvise64": 221,
    "clock_gettime": 228, "clock_getres": 229, "clock_nanosleep": 230, "exit_group": 231, "tgkill": 234, "openat": 257,
    "newfstatat": 262, "readlinkat": 267, "faccessat": 269, "ppoll": 271, "set_robust_list": 273, "prlimit64": 302,
    "getrandom": 318, "membarrier": 324, "statx": 332, "rseq": 334, "clone3": 435, "faccessat2": 439,
    "capset": 126, "seccomp": 317,
}  # fmt: skip

_ARM64 = {
    "getcwd": 17, "dup": 23, "fcntl": 25, "ioctl": 29, "faccessat": 48, "openat": 56, "close": 57, "getdents64": 61,
    "lseek": 62, "read": 63, "write": 64, "readv": 65, "writev": 66, "pread64": 67, "ppoll": 73, "readlinkat": 78,
    "newfstatat": 79, "fstat": 80, "exit": 93, "exit_group": 94, "futex": 98, "set_robust_list": 99, "nanosleep": 101,
    "clock_gettime": 113, "clock_getres": 114, "clock_nanosleep": 115, "sched_setaffinity": 122,
    "sched_getaffinity": 123, "sched_yield": 124, "restart_syscall": 128, "tgkill": 131, "sigaltstack": 132,
    "rt_sigaction": 134, "rt_sigprocmask": 135, "rt_sigreturn": 139, "uname": 160, "getrlimit": 163, "getrusage": 165,
    "prctl": 167, "gettimeofday": 169, "getpid": 172, "getppid": 173, "getuid": 174, "geteuid": 175, "getgid": 176,
    "getegid": 177, "gettid": 178, "sysinfo": 179, "brk": 214, "munmap": 215, "mremap": 216, "clone": 220, "mmap": 222,
    "fadvise64": 223, "mprotect": 226, "madvise": 233, "prlimit64": 261, "getrandom": 278, "membarrier": 283,
    "statx": 291, "rseq": 293, "clone3": 435, "faccessat2": 439,
    "capset": 91, "seccomp": 277,
}  # fmt: skip

ALLOWED = frozenset(
    [
        "read",
        "write",
        "close",
        "fstat",
        "poll",
        "lseek",
        "munmap",
        "brk",
        "rt_sigaction",
        "rt_sigprocmask",
        "rt_sigreturn",
        "pread64",
        "readv",
        "writev",
        "sched_yield",
        "mremap",
        "madvise",
        "nanosleep",
        "getpid",
        "exit",
        "gettimeofday",
        "getrusage",
        "getuid",
        "getgid",
        "geteuid",
        "getegid",
        "getppid",
        "sigaltstack",
        "gettid",
        "time",
        "futex",
        "sched_getaffinity",
        "restart_syscall",
        "fadvise64",
        "clock_gettime",
        "clock_getres",
        "clock_nanosleep",
        "exit_group",
        "ppoll",
        "set_robust_list",
        "getrandom",
        "membarrier",
        "rseq",
        "sysinfo",
        "uname",
    ]
)

#: Call → the error it gets. ``clone3`` must look unknown: its flags are behind a pointer that a filter cannot read, and
#: libc then falls back to ``clone``, whose flags it can.
REFUSED = {
    **dict.fromkeys(
        ["open", "openat", "stat", "lstat", "newfstatat", "statx", "access", "faccessat", "faccessat2"], errno.EACCES
    ),
    **dict.fromkeys(["readlink", "readlinkat", "getcwd", "getdents64"], errno.EACCES),
    **dict.fromkeys(["fcntl", "dup", "prctl", "prlimit64", "getrlimit", "sched_setaffinity", "tgkill"], errno.EPERM),
    "ioctl": errno.ENOTTY,
    "clone3": errno.ENOSYS,
}

#: Needed on top by a child that reopens the descriptors it was given (Landlock still refuses every other file).
REOPENING = frozenset({"openat", "newfstatat", "statx", "fcntl"})


@dataclass(frozen=True, slots=True)
class Machine:
    """``audit_arch``: AUDIT_ARCH value a filter compares with; ``numbers``: call → number; ``x32``: x86-64's second
    table.
    """

    audit_arch: int
    numbers: dict[str, int]
    x32: bool


MACHINES = {
    "x86_64": Machine(0xC000003E, _X86_64, x32=True),
    "aarch64": Machine(0xC00000B7, _ARM64, x32=False),
}
