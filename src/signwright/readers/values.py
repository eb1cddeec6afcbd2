# SPDX-License-Identifier: Apache-2.0
"""Checks a bare signature value with a public key; which key may be trusted is somebody else's question."""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

from signwright.errors import FormatError, VerificationError

MIN_RSA_BITS = 2048

_HASHES = {"sha256": hashes.SHA256(), "sha384": hashes.SHA384(), "sha512": hashes.SHA512()}
_RSA = "1.2.840.113549.1.1.1"
_ED25519 = "1.3.101.112"
#: Signature algorithms that name their digest (RFC 5754 3): each must agree with digestAlgorithm.
_RSA_WITH = {"sha256": "1.2.840.113549.1.1.11", "sha384": "1.2.840.113549.1.1.12", "sha512": "1.2.840.113549.1.1.13"}
_ECDSA_WITH = {"sha256": "1.2.840.10045.4.3.2", "sha384": "1.2.840.10045.4.3.3", "sha512": "1.2.840.10045.4.3.4"}

Key = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey


def load_key(public_key: bytes) -> Key:
    """From DER SubjectPublicKeyInfo. `FormatError`: does not parse; `VerificationError`: weak, or of another kind."""
    try:
        key = serialization.load_der_public_key(public_key)
    except (ValueError, UnsupportedAlgorithm) as problem:
        raise FormatError("public key does not parse") from problem
    if isinstance(key, rsa.RSAPublicKey) and key.key_size < MIN_RSA_BITS:
        raise VerificationError(f"RSA key of {key.key_size} bits, at least {MIN_RSA_BITS} wanted", code="weak-key")
    if isinstance(key, (rsa.RSAPublicKey, ec.EllipticCurvePublicKey, ed25519.Ed25519PublicKey)):
        return key
    raise VerificationError(f"public key of kind {type(key).__name__} is not read", code="unknown-key")


def check_value(public_key: bytes, signature_value: bytes, content: bytes, *, digest: str, algorithm: str) -> None:
    """Raise `VerificationError` unless the value signs ``content``.

    ``digest``: name; ``algorithm``: dotted OID of the signature algorithm as the structure gives it.
    """
    key = load_key(public_key)
    allowed = _allowed(key, digest)
    if digest not in _HASHES or algorithm not in allowed:
        raise VerificationError(f"signature algorithm {algorithm} with {digest} does not go with the key")
    _verify(key, signature_value, content, _HASHES[digest])


def check_digest_value(public_key: bytes, signature_value: bytes, digest_value: bytes, *, digest: str) -> None:
    """As `check_value` for a signature without a structure, of a digest; Ed25519 has no such signature."""
    key = load_key(public_key)
    if isinstance(key, ed25519.Ed25519PublicKey):
        raise VerificationError("an Ed25519 key has no signatures of digests", code="unknown-key")
    _verify(key, signature_value, digest_value, Prehashed(_HASHES[digest]))


def _allowed(key: Key, digest: str) -> tuple[str | None, ...]:
    if isinstance(key, rsa.RSAPublicKey):
        return (_RSA, _RSA_WITH.get(digest))
    if isinstance(key, ec.EllipticCurvePublicKey):
        return (_ECDSA_WITH.get(digest),)
    # RFC 8419 3.1: with signed attributes the digest is SHA-512.
    return (_ED25519,) if digest == "sha512" else ()


def _verify(key: Key, value: bytes, content: bytes, hashed: hashes.HashAlgorithm | Prehashed) -> None:
    try:
        if isinstance(key, rsa.RSAPublicKey):
            key.verify(value, content, padding.PKCS1v15(), hashed)
        elif isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(value, content, ec.ECDSA(hashed))
        else:
            key.verify(value, content)
    except InvalidSignature as problem:
        raise VerificationError("signature value does not verify", code="bad-signature") from problem
