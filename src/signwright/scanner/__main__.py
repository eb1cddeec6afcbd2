# SPDX-License-Identifier: Apache-2.0
"""``python -m signwright.scanner --settings FILE``: serve; with ``--create``: make the key, print its public half."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from signwright.errors import SignwrightError
from signwright.scanner.bootstrap import create_key, serve
from signwright.scanner.settings import load_settings


def main() -> int:
    parser = argparse.ArgumentParser(prog="signwright.scanner", description="Scan artifacts and sign the verdict.")
    parser.add_argument("--settings", type=Path, required=True, metavar="FILE", help="TOML, or JSON if named *.json")
    parser.add_argument("--create", action="store_true", help="make the key file, print the public key, end")
    arguments = parser.parse_args()
    try:
        settings = load_settings(arguments.settings)
        if arguments.create:
            print(create_key(settings))
        else:
            serve(settings)
    except SignwrightError as problem:
        hint = f" ({problem.hint})" if problem.hint else ""
        print(f"scanner: {problem.message}{hint}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
