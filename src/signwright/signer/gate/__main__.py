# SPDX-License-Identifier: Apache-2.0
"""The gate process, started by the signer's launcher with one end of the socket pair to the keyholder."""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

from signwright.errors import SignwrightError
from signwright.signer.gate.bootstrap import create, serve
from signwright.signer.gate.settings import load_settings
from signwright.signer.start import own_command

SWITCH_SECONDS = 0.0002


def main(arguments: list[str]) -> int:
    """Exit status 0 after a signal, 1 when it cannot run or can no longer run."""
    parser = argparse.ArgumentParser(prog="signwright.signer.gate")
    parser.add_argument("--settings", type=Path, required=True, metavar="FILE")
    parser.add_argument("--keyholder-fd", type=int, required=True, metavar="N")
    parser.add_argument("--ready-fd", type=int, metavar="N", help="gets one line when the gate serves")
    parser.add_argument("--genesis", metavar="ROOT-DIGEST", help="first start: pin this policy root and begin a log")
    options = parser.parse_args(arguments)

    def say_ready() -> None:
        if options.ready_fd is not None:
            with open(options.ready_fd, "w", encoding="ascii") as pipe:
                pipe.write("ready\n")

    # The log's thread gives the interpreter lock back around each fsync; by default it waits 5 ms to get it again.
    sys.setswitchinterval(SWITCH_SECONDS)
    try:
        settings = load_settings(options.settings)
        if options.genesis is not None:
            create(settings, root_sha256=options.genesis)
        command = own_command("signwright.signer.worker", [])
        asyncio.run(serve(settings, keyholder_fd=options.keyholder_fd, worker_command=command, on_ready=say_ready))
    except SignwrightError as problem:
        hint = f" ({problem.hint})" if problem.hint else ""
        print(f"gate: error: {problem.message}{hint} [{problem.code}]", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
