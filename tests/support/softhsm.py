# SPDX-License-Identifier: Apache-2.0
"""A software PKCS #11 token of one's own: real SoftHSM, in a temporary folder, never the machine's."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.support.tools import require_softhsm_module, require_tool

PIN, SO_PIN = "20261121", "87654321"

#: Runs in a process of its own, because a PKCS #11 library keeps its state for as long as its process lives.
_GENERATE = """
import sys, pkcs11
from pkcs11 import Attribute, KeyType, MechanismFlag
from pkcs11.util.ec import encode_named_curve_parameters
module, token, pin, label, kind, extractable = sys.argv[1:]
session = pkcs11.lib(module).get_token(token_label=token).open(rw=True, user_pin=pin)
loose = extractable == "yes"
private = {Attribute.SENSITIVE: not loose, Attribute.EXTRACTABLE: loose, Attribute.LABEL: label}
shared = dict(store=True, id=label.encode(), label=label, capabilities=MechanismFlag.SIGN | MechanismFlag.VERIFY)
if kind.startswith("rsa"):
    session.generate_keypair(KeyType.RSA, int(kind[3:]), private_template=private, **shared)
else:
    curve = {Attribute.EC_PARAMS: encode_named_curve_parameters({"p256": "secp256r1", "p384": "secp384r1"}[kind])}
    parameters = session.create_domain_parameters(KeyType.EC, curve, local=True)
    parameters.generate_keypair(private_template=private, **shared)
"""


@dataclass(frozen=True)
class SoftToken:
    """``environment`` must be set in every process that opens ``module``."""

    folder: Path
    module: str
    label: str = "signwright-test"

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "SOFTHSM2_CONF": str(self.folder / "softhsm2.conf")}

    def generate(self, label: str, kind: str, *, extractable: bool = False) -> str:
        """Make a key pair (``rsa2048``, ``rsa3072``, ``p256``, ``p384``); its key URI."""
        arguments = [self.module, self.label, PIN, label, kind, "yes" if extractable else "no"]
        subprocess.run([sys.executable, "-c", _GENERATE, *arguments], env=self.environment, check=True)
        return f"pkcs11:token={self.label};object={label}"

    def pin_file(self, pin: str = PIN) -> str:
        file = self.folder / f"pin-{pin}"
        file.write_text(pin)
        file.chmod(0o600)
        return str(file)


def make_token(folder: Path) -> SoftToken:
    """A fresh token; skips or fails when SoftHSM is not there (`tests.support.tools`)."""
    require_tool("softhsm2-util", "softhsm2")
    module = str(require_softhsm_module())
    tokens = folder / "tokens"
    tokens.mkdir(parents=True)
    (folder / "softhsm2.conf").write_text(
        f"directories.tokendir = {tokens}\nobjectstore.backend = file\nlog.level = ERROR\n"
    )
    token = SoftToken(folder, module)
    command = ["softhsm2-util", "--init-token", "--free", "--label", token.label, "--pin", PIN, "--so-pin", SO_PIN]
    subprocess.run(command, env=token.environment, check=True, capture_output=True)
    return token
