# SPDX-License-Identifier: Apache-2.0
"""Start of the keyholder process, run by the signer's launcher with one end of a socket pair."""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sys
from pathlib import Path

from signwright.errors import SignwrightError
from signwright.signer.keyholder.front import Front
from signwright.signer.keyholder.keystores import KEYSTORES
from signwright.signer.keyholder.pool import Pool
from signwright.signer.keyholder.settings import load_settings
from signwright.signer.keyholder.state import State


def main(arguments: list[str]) -> int:
    """Serve the gate on an inherited socket until it hangs up; 0 then, 1 with the reason on stderr otherwise."""
    parser = argparse.ArgumentParser(prog="signwright.signer.keyholder")
    parser.add_argument("--settings", type=Path, required=True)
    parser.add_argument("--gate-fd", type=int, required=True)
    parser.add_argument("--genesis", metavar="ROOT-DIGEST", help="first start: pin this policy root and make new state")
    options = parser.parse_args(arguments)
    os.umask(0o077)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        settings = load_settings(options.settings)
        state = State(Path(settings.state), genesis=options.genesis)
        pool = Pool(settings.keys, state, KEYSTORES)
        try:
            Front(state, pool, profile=settings.profile).serve(socket.socket(fileno=options.gate_fd))
        finally:
            pool.close()
    except SignwrightError as problem:
        hint = f"\nkeyholder: hint: {problem.hint}" if problem.hint else ""
        print(f"keyholder: error: {problem.message}{hint}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
