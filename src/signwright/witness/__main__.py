# SPDX-License-Identifier: Apache-2.0
"""``python -m signwright.witness --settings FILE``: serve; with ``--create``: make key and state, print the key."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from signwright.errors import SignwrightError
from signwright.witness.bootstrap import create_state, serve
from signwright.witness.settings import load_settings


def main() -> int:
    parser = argparse.ArgumentParser(prog="signwright.witness", description="Cosign the checkpoints of logs.")
    parser.add_argument("--settings", type=Path, required=True, metavar="FILE", help="TOML, or JSON if named *.json")
    parser.add_argument("--create", action="store_true", help="make key file and state, print the verifier key, end")
    parser.add_argument("--ready-file", type=Path, metavar="FILE", help="gets the URL once the witness listens")
    arguments = parser.parse_args()
    try:
        settings = load_settings(arguments.settings)
        if arguments.create:
            print(create_state(settings).verifier)
        else:
            serve(settings, ready_file=arguments.ready_file)
    except SignwrightError as problem:
        hint = f" ({problem.hint})" if problem.hint else ""
        print(f"witness: {problem.message}{hint}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
