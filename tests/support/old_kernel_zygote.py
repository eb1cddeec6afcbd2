# SPDX-License-Identifier: Apache-2.0
"""The hostile zygote on a kernel that lets nobody install filters: a filter of our own answers ENOSYS to those
calls.
"""

from __future__ import annotations

import ctypes
import errno
import platform
import sys

from signwright.signer.worker import sandbox, syscalls
from signwright.signer.worker.zygote import main
from tests.support.hostile_zygote import JOBS


def forget_filters() -> None:
    """From here on ``seccomp``, ``prctl(PR_SET_SECCOMP)`` and the Landlock calls fail as on an old kernel."""
    machine = syscalls.MACHINES[platform.machine()]
    refuse, allow = (sandbox._RETURN, 0, 0, sandbox._ERRNO | errno.ENOSYS), (sandbox._RETURN, 0, 0, sandbox._ALLOW)
    rows = [(sandbox._LOAD, 0, 0, 0)]
    for number in (machine.numbers["seccomp"], 444, 445, 446):
        rows += [(sandbox._JUMP_EQUAL, 0, 1, number), refuse]
    rows += [(sandbox._JUMP_EQUAL, 0, 3, machine.numbers["prctl"]), (sandbox._LOAD, 0, 0, 16)]
    rows += [(sandbox._JUMP_EQUAL, 0, 1, 22), refuse, allow]
    filters = (sandbox._Filter * len(rows))(*(sandbox._Filter(*row) for row in rows))
    program = sandbox._Program(len(rows), filters)
    assert sandbox._libc.prctl(38, 1, 0, 0, 0) == 0
    assert sandbox._libc.prctl(22, 2, ctypes.byref(program), 0, 0) == 0


if __name__ == "__main__":
    forget_filters()
    sys.exit(main(JOBS, sys.argv[1:]))
