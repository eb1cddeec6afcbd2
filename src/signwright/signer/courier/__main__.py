# SPDX-License-Identifier: Apache-2.0
"""``python -m signwright.signer.courier --settings FILE [--ready-file FILE]``."""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

import uvloop

from signwright.errors import SignwrightError
from signwright.signer.courier.bootstrap import serve
from signwright.signer.courier.settings import load_settings


def main() -> int:
    """Exit status 0 after a signal, 1 when it cannot run."""
    parser = argparse.ArgumentParser(prog="signwright.signer.courier", description="Carry between hub and gate.")
    parser.add_argument("--settings", type=Path, required=True, metavar="FILE")
    parser.add_argument("--ready-file", type=Path, metavar="FILE", help="gets a line once the gate is connected")
    arguments = parser.parse_args()
    try:
        settings = load_settings(arguments.settings)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve(settings, ready_file=arguments.ready_file))
    except SignwrightError as problem:
        print(f"courier: error: {problem.message}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
