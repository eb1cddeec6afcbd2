# SPDX-License-Identifier: Apache-2.0
"""Software keys: encrypted PKCS #8. For test keys, and for release only under a trial root."""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from signwright.envelopes.base import ToBeSigned
from signwright.errors import KeystoreError
from signwright.signer.keyholder.keystores.base import WrongSecretError, read_secret
from signwright.signer.keyholder.settings import KeySettings

_HASHES = {"sha256": SHA256(), "sha384": SHA384(), "sha512": SHA512()}


class SoftwareKey:
    """Implements `KeyStore`."""

    protection = "software"

    def __init__(self, key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> None:
        self._key = key
        self.public_key = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    def sign(self, content: ToBeSigned) -> bytes:
        algorithm = _HASHES[content.hash_algorithm]
        hashed = Prehashed(algorithm) if content.prehashed else algorithm
        if isinstance(self._key, rsa.RSAPrivateKey):
            return self._key.sign(content.content, padding.PKCS1v15(), hashed)
        return self._key.sign(content.content, ec.ECDSA(hashed))


def open_software(settings: KeySettings) -> SoftwareKey:
    """Raises `WrongSecretError` or `KeystoreError`. A key that lies there in the clear is refused."""
    try:
        pem = Path(settings.file or "").read_bytes()
    except OSError as problem:
        raise KeystoreError(f"key file {settings.file}: {problem.strerror}", code="no-key-file") from problem
    if b"ENCRYPTED PRIVATE KEY" not in pem:
        raise KeystoreError(f"key file {settings.file} is not encrypted PKCS #8", code="key-in-the-clear")
    try:
        key = load_pem_private_key(pem, read_secret(settings.secret_file))
    except ValueError as problem:
        raise WrongSecretError(f"key file {settings.file}: wrong passphrase, or damaged") from problem
    if not isinstance(key, (rsa.RSAPrivateKey, ec.EllipticCurvePrivateKey)):
        raise KeystoreError(f"key file {settings.file}: neither RSA nor ECDSA", code="bad-key")
    return SoftwareKey(key)
