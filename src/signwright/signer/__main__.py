# SPDX-License-Identifier: Apache-2.0
"""The signer's launcher, run in the signer's own environment by `signwright.signer.start`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from signwright.errors import ConfigurationError, SignwrightError
from signwright.signer.gate.settings import load_settings
from signwright.signer.launcher import Launcher, plain_words
from signwright.signer.users import check_profile, load_users


def main(arguments: list[str]) -> int:
    """Exit status 0 after SIGTERM, 1 when gate and keyholder cannot be kept running."""
    parser = argparse.ArgumentParser(prog="signwright.signer")
    parser.add_argument("--settings", type=Path, required=True, metavar="FILE", help="signer.toml")
    parser.add_argument("--ready-file", type=Path, metavar="FILE", help="gets the socket's path when both serve")
    parser.add_argument("--genesis", metavar="ROOT-DIGEST", help="first start: pin this policy root, make new state")
    options = parser.parse_args(arguments)
    try:
        settings = load_settings(options.settings)
        if load_users(options.settings) is not None:
            raise ConfigurationError(
                "the settings name one user for each process, and this launcher runs all as one",
                code="bad-settings",
                hint="systemctl start signwright.target",
            )
        check_profile(settings.profile, None)
        print(plain_words(), file=sys.stderr, flush=True)
        launcher = Launcher(options.settings.absolute(), genesis=options.genesis)
        return launcher.run(on_ready=f"ready {settings.socket}", ready_file=options.ready_file)
    except SignwrightError as problem:
        hint = f" ({problem.hint})" if problem.hint else ""
        print(f"signer: error: {problem.message}{hint} [{problem.code}]", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
