# SPDX-License-Identifier: Apache-2.0
"""Making SSHSIG signatures with a private key at hand; `signwright.statements.sshsig` verifies them."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from signwright.statements.sshsig import ECDSA, ED25519, MAGIC, string, to_be_signed


def sign_sshsig(
    private_key: ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey, *, namespace: str, message: bytes
) -> bytes:
    """A binary SSHSIG blob with SHA-512. sk- keys sign through ``ssh-keygen`` (`signwright.client.ssh_keys`)."""
    tbs = to_be_signed(namespace, message)
    if isinstance(private_key, ed25519.Ed25519PrivateKey):
        raw = private_key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        public = string(ED25519.encode()) + string(raw)
        value = string(ED25519.encode()) + string(private_key.sign(tbs))
    else:
        point = private_key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        public = string(ECDSA.encode()) + string(b"nistp256") + string(point)
        r, s = decode_dss_signature(private_key.sign(tbs, ec.ECDSA(SHA256())))
        value = string(ECDSA.encode()) + string(string(_mpint(r)) + string(_mpint(s)))
    version = (1).to_bytes(4, "big")
    return MAGIC + version + b"".join(map(string, (public, namespace.encode(), b"", b"sha512", value)))


def _mpint(value: int) -> bytes:
    return value.to_bytes(value.bit_length() // 8 + 1, "big")
