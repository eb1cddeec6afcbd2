# SPDX-License-Identifier: Apache-2.0
"""What a public key can sign with, and whether a signature value is one of its own."""

from __future__ import annotations

from enum import StrEnum
from functools import lru_cache

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.serialization import load_der_public_key

from signwright.envelopes import der
from signwright.envelopes.base import ToBeSigned
from signwright.errors import MalformedError, VerificationError

PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey

_HASHES = {"sha256": hashes.SHA256(), "sha384": hashes.SHA384(), "sha512": hashes.SHA512()}
_CURVES = ("secp256r1", "secp384r1", "secp521r1")
_MIN_RSA_BITS = 2048
#: AlgorithmIdentifier rsaEncryption with NULL: a key restricted to RSASSA-PSS has another one and is not ours to use.
_RSA_ENCRYPTION = bytes.fromhex("300d06092a864886f70d0101010500")


class KeyKind(StrEnum):
    RSA = "rsa"
    EC = "ec"
    ED25519 = "ed25519"


@lru_cache(maxsize=64)
def load_public_key(public_key: bytes) -> tuple[KeyKind, PublicKey]:
    """From DER SubjectPublicKeyInfo; raises `MalformedError` for a kind, size or curve that nothing here signs with."""
    try:
        key = load_der_public_key(public_key)
    except (ValueError, UnsupportedAlgorithm) as problem:
        raise MalformedError("public key does not parse", code="bad-key") from problem
    if isinstance(key, rsa.RSAPublicKey) and key.key_size >= _MIN_RSA_BITS:
        if _algorithm(public_key) == _RSA_ENCRYPTION:
            return KeyKind.RSA, key
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in _CURVES:
        return KeyKind.EC, key
    if isinstance(key, ed25519.Ed25519PublicKey):
        return KeyKind.ED25519, key
    raise MalformedError("public key is not RSA of 2048 bits or more, P-256, P-384, P-521 or Ed25519", code="bad-key")


def _algorithm(public_key: bytes) -> bytes:
    return der.read_all(der.read_one(public_key, der.SEQUENCE).content)[0].encoded


def check_signature_value(public_key: bytes, signed: ToBeSigned, signature_value: bytes) -> None:
    """Raise `VerificationError` unless ``signature_value`` is the key's signature of ``signed``.

    Nothing leaves with a value that does not verify: a faulty RSA-CRT signature would give the private key away.
    """
    _, key = load_public_key(public_key)
    algorithm = _HASHES[signed.hash_algorithm]
    hashed = Prehashed(algorithm) if signed.prehashed else algorithm
    try:
        if isinstance(key, rsa.RSAPublicKey):
            key.verify(signature_value, signed.content, padding.PKCS1v15(), hashed)
        elif isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature_value, signed.content, ec.ECDSA(hashed))
        else:
            key.verify(signature_value, signed.content)
    except InvalidSignature as problem:
        raise VerificationError("signature value does not belong to the key and the content to be signed") from problem
