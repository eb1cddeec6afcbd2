# SPDX-License-Identifier: Apache-2.0
"""Outside programs that tests compare with: found, or skipped with a reason, or a failure where they must be there."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import NoReturn

import pytest

_ADMIN_FOLDERS = ("/usr/sbin", "/sbin", "/usr/local/sbin")
"""Where Debian keeps servers such as clamd; not on the PATH of an ordinary user."""


def find_tool(name: str) -> str | None:
    """Return the absolute path of program ``name``, or None."""
    search_path = os.pathsep.join([os.environ.get("PATH", os.defpath), *_ADMIN_FOLDERS])
    return shutil.which(name, path=search_path)


def tools_are_demanded() -> bool:
    """True where an absent tool is a failure: in CI, or where ``make test`` was able to install it."""
    return os.environ.get("CI", "").lower() == "true" or os.environ.get("SIGNWRIGHT_TOOLS_INSTALLABLE") == "1"


def missing(reason: str) -> NoReturn:
    """Skip the running test, or fail it where tools are demanded."""
    if tools_are_demanded():
        pytest.fail(f"{reason}; here a missing tool is a failure", pytrace=False)
    pytest.skip(reason)


def require_tool(name: str, package: str | None = None) -> str:
    """Return the path of program ``name``; without it the running test is skipped, or fails where tools are demanded.

    ``package``: the Debian package that brings it, for the message.
    """
    found = find_tool(name)
    if found is None:
        missing(f"{name} is not installed" + (f" (Debian package {package})" if package else ""))
    return found


def require_tools(*names: str) -> tuple[str, ...]:
    """Return the paths of several programs, in order; see :func:`require_tool`."""
    return tuple(require_tool(name) for name in names)


def run(*command: str, cwd: Path, timeout: float = 60) -> subprocess.CompletedProcess[bytes]:
    """Run a program and return what it said, however it ended. ``timeout``: in seconds."""
    return subprocess.run(command, cwd=cwd, capture_output=True, check=False, timeout=timeout)


def require_file(*candidates: str, package: str) -> Path:
    """Return the first existing path (a PKCS#11 module, say); skip or fail like :func:`require_tool` without one."""
    for candidate in candidates:
        if Path(candidate).is_file():
            return Path(candidate)
    missing(f"none of {', '.join(candidates)} exists (Debian package {package})")


def require_softhsm_module() -> Path:
    """Return the path of SoftHSM's PKCS#11 module."""
    return require_file(
        "/usr/lib/softhsm/libsofthsm2.so",
        "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
        "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
        "/usr/lib64/pkcs11/libsofthsm2.so",
        "/usr/local/lib/softhsm/libsofthsm2.so",
        package="softhsm2",
    )
