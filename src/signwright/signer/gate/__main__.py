# SPDX-License-Identifier: Apache-2.0
"""The gate process: started by the signer's launcher with one end of the socket pair to the keyholder, or by a service
manager as a user of its own; then it connects to the keyholder's socket.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

from signwright.errors import ConfigurationError, SignwrightError
from signwright.signer.gate.bootstrap import create, serve
from signwright.signer.gate.reach import reach_keyholder
from signwright.signer.gate.settings import load_settings
from signwright.signer.start import own_command
from signwright.signer.users import Users, check_profile, demand_own_user, load_users

SWITCH_SECONDS = 0.0002


def main(arguments: list[str]) -> int:
    """Exit status 0 after a signal, 1 when it cannot run or can no longer run."""
    parser = argparse.ArgumentParser(prog="signwright.signer.gate")
    parser.add_argument("--settings", type=Path, required=True, metavar="FILE")
    parser.add_argument("--keyholder-fd", type=int, metavar="N", help="where one user runs both: the socket pair")
    parser.add_argument("--ready-fd", type=int, metavar="N", help="gets one line when the gate serves")
    parser.add_argument("--genesis", metavar="ROOT-DIGEST", help="first start: pin this policy root and begin a log")
    parser.add_argument("--create-only", action="store_true", help="with --genesis: make the state, then end")
    options = parser.parse_args(arguments)

    def say_ready() -> None:
        if options.ready_fd is not None:
            with open(options.ready_fd, "w", encoding="ascii") as pipe:
                pipe.write("ready\n")

    # The log's thread gives the interpreter lock back around each fsync; by default it waits 5 ms to get it again.
    sys.setswitchinterval(SWITCH_SECONDS)
    try:
        settings, users = load_settings(options.settings), load_users(options.settings)
        check_profile(settings.profile, users)
        if users is not None:
            demand_own_user(users.gate, "gate")
        if options.genesis is not None:
            create(settings, root_sha256=options.genesis)
        if options.create_only:
            return 0
        descriptor = _keyholder(users, options.keyholder_fd)
        command = own_command("signwright.signer.worker", [])
        work = serve(settings, keyholder_fd=descriptor, worker_command=command, on_ready=say_ready, users=users)
        asyncio.run(work)
    except SignwrightError as problem:
        hint = f" ({problem.hint})" if problem.hint else ""
        print(f"gate: error: {problem.message}{hint} [{problem.code}]", file=sys.stderr)
        return 1
    return 0


def _keyholder(users: Users | None, inherited: int | None) -> int:
    """The connection to the keyholder; `ConfigurationError` when the settings and the way we were started disagree."""
    if users is not None and inherited is None:
        return reach_keyholder(users)
    if users is None and inherited is not None:
        return inherited
    raise ConfigurationError(
        "a socket pair is for one user, the settings' table [users] for one user for each process; wanted one of them",
        code="bad-settings",
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
