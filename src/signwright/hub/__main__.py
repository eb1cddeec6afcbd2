# SPDX-License-Identifier: Apache-2.0
"""``python -m signwright.hub --settings FILE [--ready-file F]``: serve until SIGTERM."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from pathlib import Path

import uvloop

from signwright.errors import SignwrightError
from signwright.hub.bootstrap import serve
from signwright.hub.settings import load_settings


def main() -> int:
    os.umask(0o077)  # artifacts, requests and the database are nobody else's, wherever they lie
    sys.setswitchinterval(0.0005)
    parser = argparse.ArgumentParser(prog="signwright.hub", description="Take requests in and carry them on.")
    parser.add_argument("--settings", type=Path, required=True, metavar="FILE", help="TOML, or JSON if named *.json")
    parser.add_argument("--ready-file", type=Path, metavar="F", help='written once ready: {"url": "http://…"}')
    arguments = parser.parse_args()
    try:
        settings = load_settings(arguments.settings)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve(settings, ready_file=arguments.ready_file))
    except SignwrightError as problem:
        hint = f" ({problem.hint})" if problem.hint else ""
        print(f"hub: {problem.message}{hint}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
