# SPDX-License-Identifier: Apache-2.0
"""OpenSSL as a timestamp authority and as a verifier of timestamps."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.support.pki import Identity, to_pem
from tests.support.tools import require_tool

_CONFIG = """
[tsa]
default_tsa = authority
[authority]
serial = {folder}/serial
crypto_device = builtin
signer_digest = {signer_digest}
default_policy = 1.2.3.4.1
digests = {digests}
accuracy = secs:1
ordering = no
tsa_name = yes
ess_cert_id_chain = no
ess_cert_id_alg = {ess}
"""


@dataclass(frozen=True)
class OpensslTsa:
    """``with_chain`` adds the intermediate certificate, which OpenSSL does not sort into its place."""

    folder: Path
    identity: Identity
    with_chain: bool = False
    signer_digest: str = "sha256"
    digests: str = "sha256, sha384, sha512"
    ess: str = "sha256"

    def reply(self, query: bytes) -> bytes:
        """The DER of the ``TimeStampResp`` for the DER of a query, at the real time."""
        self.folder.mkdir(exist_ok=True)
        config = _CONFIG.format(
            folder=self.folder, signer_digest=self.signer_digest, digests=self.digests, ess=self.ess
        )
        written = {
            "tsa.cnf": config.encode(),
            "query.tsq": query,
            "key.pem": self.identity.private_pem,
            "signer.pem": to_pem(self.identity.certificate),
            "chain.pem": b"".join(to_pem(c) for c in self.identity.chain[1:]),
        }
        for name, content in written.items():
            (self.folder / name).write_bytes(content)
        command = ["ts", "-reply", "-config", "tsa.cnf", "-queryfile", "query.tsq", "-out", "reply.tsr"]
        command += ["-signer", "signer.pem", "-inkey", "key.pem"]
        run_openssl([*command, *(["-chain", "chain.pem"] if self.with_chain else [])], self.folder)
        return (self.folder / "reply.tsr").read_bytes()


def openssl_verifies(
    folder: Path, *, timestamp_token: bytes, digest_hex: str, root: bytes, intermediates: tuple[bytes, ...] = ()
) -> str:
    """Output of ``openssl ts -verify`` over a token; `AssertionError` with it when it refuses."""
    (folder / "token.der").write_bytes(timestamp_token)
    (folder / "root.pem").write_bytes(to_pem(root))
    (folder / "untrusted.pem").write_bytes(b"".join(to_pem(c) for c in intermediates))
    command = ["ts", "-verify", "-token_in", "-in", "token.der", "-digest", digest_hex, "-CAfile", "root.pem"]
    return run_openssl([*command, *(["-untrusted", "untrusted.pem"] if intermediates else [])], folder)


def run_openssl(arguments: list[str], folder: Path) -> str:
    """Both outputs of ``openssl ARGUMENTS`` run in ``folder``; `AssertionError` with them when it fails."""
    openssl = require_tool("openssl", "openssl")
    done = subprocess.run([openssl, *arguments], cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    return output
