# SPDX-License-Identifier: Apache-2.0
"""Starts one of the signer's modules from a service manager: ``python -I -S boot.py MODULE ARGUMENTS``.

``install`` puts a copy of this file at the root of the signer's environment and the units name it there. Nothing is
imported but what lies in that environment: no ``.pth`` file, no folder of the caller's, no variable. It uses the
standard library only, because there is nothing else yet.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path


def packages_of(environment: Path) -> Path:
    """Where the environment at ``environment`` keeps its packages; `SystemExit` when ours is not among them."""
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    packages = environment / "lib" / version / "site-packages"
    if not (packages / "signwright" / "__init__.py").is_file():
        raise SystemExit(f"signer: error: {packages} has no signwright for this interpreter")
    return packages


def main(arguments: list[str], environment: Path) -> None:
    """Become the module ``arguments[0]`` with the rest as its arguments."""
    if not (sys.flags.isolated and sys.flags.no_site):
        raise SystemExit("signer: error: not started isolated (-I -S)")
    if not arguments or not arguments[0].startswith("signwright.signer."):
        raise SystemExit("signer: error: wanted the name of a module of the signer")
    sys.path[:] = [*(entry for entry in sys.path if entry), str(packages_of(environment))]
    sys.argv[:] = arguments
    runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1:], Path(__file__).absolute().parent)
