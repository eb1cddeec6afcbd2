# SPDX-License-Identifier: Apache-2.0
"""Outside verifiers that come from no distribution: ``make interop`` builds them, nothing else ever needs them."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.support.pki import default_pki
from tests.support.source_tree import ROOT


def require_peer(name: str) -> str:
    """Path of program ``name`` as `scripts/build-peers` made it. Skips without it, also where tools are demanded."""
    found = ROOT / ".peers" / name
    if not found.is_file():
        pytest.skip(f"{name} is not built (`make interop` builds it where Go is)")
    return str(found)


def relic_says(path: Path, *trust: bytes, content: Path | None = None) -> subprocess.CompletedProcess[str]:
    """``relic verify`` on a signed file, which it knows by its content or else by its name; 0: accepted.

    ``trust``: root certificates (DER or PEM) or OpenPGP keys, by default the root that tests of formats share; nothing
    of the system is trusted. ``content``: what a detached signature speaks about. stdout has the reason of a refusal.
    """
    tool = require_peer("relic")
    with tempfile.TemporaryDirectory() as folder:
        command = [tool, "verify"]
        for number, root in enumerate(trust or (default_pki().root,)):
            file = Path(folder, f"root-{number}")
            file.write_bytes(root)
            command += ["--cert", str(file)]
        if content is not None:
            command += ["--content", str(content)]
        return subprocess.run([*command, str(path)], capture_output=True, text=True, check=False, timeout=60)
