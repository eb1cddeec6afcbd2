# SPDX-License-Identifier: Apache-2.0
"""osslsigncode, which signs and judges files for Windows and shares no code with ours."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

from tests.support.pki import Identity, default_pki, to_pem
from tests.support.signed_files import identity
from tests.support.tools import require_tool, run


def says(content: bytes, folder: Path, root: bytes | None = None, *, ending: str) -> subprocess.CompletedProcess[bytes]:
    """Its judgement of a file, which stays in ``folder`` as ``a.ENDING``. ``root``: PEM of the one it trusts."""
    (folder / f"a.{ending}").write_bytes(content)
    (folder / "root.pem").write_bytes(root or default_pki().root_pem)
    tool = require_tool("osslsigncode")
    return run(tool, "verify", "-CAfile", "root.pem", "-in", f"a.{ending}", cwd=folder, timeout=120)


def signed_by_it(content: bytes, *options: str, signer: Identity | None = None, ending: str = "bin") -> bytes:
    """``content`` with its signature. ``options``: of its command ``sign``; ``ending``: it goes by that of scripts."""
    signer = signer or identity()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "key").write_bytes(signer.private_pem)
        (folder / "chain").write_bytes(b"".join(to_pem(certificate) for certificate in signer.chain))
        (folder / f"in.{ending}").write_bytes(content)
        command = [require_tool("osslsigncode"), "sign", *options, "-key", "key", "-certs", "chain"]
        done = run(*command, "-in", f"in.{ending}", "-out", f"out.{ending}", cwd=folder)
        assert done.returncode == 0, done.stdout + done.stderr
        return (folder / f"out.{ending}").read_bytes()


#: Options under which files among the test vectors were signed.
OF_VECTORS = ("-h", "sha256", "-n", "by another tool")
