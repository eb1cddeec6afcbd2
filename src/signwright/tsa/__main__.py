# SPDX-License-Identifier: Apache-2.0
"""``python -m signwright.tsa --settings FILE [--ready-file FILE]``: the built-in timestamp authority.

With ``--create NAME``: make key and certificate where the settings say, print the root (base64 DER), end.
"""

from __future__ import annotations

import argparse
import base64
import sys
from datetime import UTC, datetime
from pathlib import Path

from signwright.errors import SignwrightError
from signwright.tsa.bootstrap import serve
from signwright.tsa.keys import create_authority
from signwright.tsa.settings import read_settings


def main() -> int:
    """Exit status 0 after a signal, 1 when it cannot run."""
    parser = argparse.ArgumentParser(prog="python -m signwright.tsa", description="RFC 3161 timestamp authority")
    parser.add_argument("--settings", type=Path, required=True, help="TOML file")
    parser.add_argument("--ready-file", type=Path, help="gets the address once connections are accepted")
    parser.add_argument("--create", metavar="NAME", help="make a key and a LOCAL certificate, print the root, end")
    arguments = parser.parse_args()
    try:
        if arguments.create is not None:
            root = create_authority(read_settings(arguments.settings), arguments.create, now=datetime.now(UTC))
            print(base64.b64encode(root).decode())
            return 0
        serve(read_settings(arguments.settings), arguments.ready_file)
    except SignwrightError as problem:
        print(f"signwright tsa: {problem.message} ({problem.code})", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
