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


#: Prints the public key (DER SubjectPublicKeyInfo) in hexadecimal digits.
_PUBLIC_KEY = """
import sys, pkcs11
from pkcs11.util.ec import encode_ec_public_key
from pkcs11.util.rsa import encode_rsa_public_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key
from cryptography.hazmat.primitives.asymmetric import rsa
module, token, pin, label = sys.argv[1:]
session = pkcs11.lib(module).get_token(token_label=token).open(user_pin=pin)
key = session.get_key(object_class=pkcs11.ObjectClass.PUBLIC_KEY, label=label)
if key.key_type is pkcs11.KeyType.RSA:
    numbers = [int.from_bytes(key[a], "big") for a in (pkcs11.Attribute.PUBLIC_EXPONENT, pkcs11.Attribute.MODULUS)]
    content = rsa.RSAPublicNumbers(*numbers).public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
else:
    content = encode_ec_public_key(key)
print(content.hex())
"""
_CERTIFICATE = """
import sys, pkcs11
from pkcs11 import Attribute
module, token, pin, label, content = sys.argv[1:]
session = pkcs11.lib(module).get_token(token_label=token).open(rw=True, user_pin=pin)
session.create_object({
    Attribute.CLASS: pkcs11.ObjectClass.CERTIFICATE, Attribute.CERTIFICATE_TYPE: pkcs11.CertificateType.X_509,
    Attribute.TOKEN: True, Attribute.ID: label.encode(), Attribute.LABEL: label,
    Attribute.VALUE: bytes.fromhex(content), Attribute.SUBJECT: b"",
})
"""
_LOGIN = """
import sys, pkcs11
module, token, pin = sys.argv[1:]
try:
    pkcs11.lib(module).get_token(token_label=token).open(user_pin=pin)
except pkcs11.exceptions.PKCS11Error as problem:
    print(type(problem).__name__, end="")
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

    def public_key(self, label: str) -> bytes:
        """DER SubjectPublicKeyInfo of a key that `generate` made."""
        arguments = [self.module, self.label, PIN, label]
        command = [sys.executable, "-c", _PUBLIC_KEY, *arguments]
        done = subprocess.run(command, env=self.environment, check=True, capture_output=True, text=True)
        return bytes.fromhex(done.stdout)

    def store_certificate(self, label: str, certificate: bytes) -> None:
        """Put DER ``certificate`` beside the key ``label``, under the same id."""
        arguments = [self.module, self.label, PIN, label, certificate.hex()]
        subprocess.run([sys.executable, "-c", _CERTIFICATE, *arguments], env=self.environment, check=True)

    def offer_pin(self, pin: str) -> str:
        """Log in in a process of its own; the name of the refusal, or nothing."""
        command = [sys.executable, "-c", _LOGIN, self.module, self.label, pin]
        return subprocess.run(command, env=self.environment, check=True, capture_output=True, text=True).stdout

    def pins_offered(self) -> int:
        """How often SoftHSM wrote this token's flags: once for each PIN that it refuses (CKF_USER_PIN_COUNT_LOW)."""
        (file,) = (self.folder / "tokens").glob("*/token.object")
        return int.from_bytes(file.read_bytes()[:8], "big")

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
