# SPDX-License-Identifier: Apache-2.0
"""The algorithms that may stand in a timestamp, by object identifier. What is not in these tables is refused."""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

from signwright.errors import VerificationError
from signwright.timestamps.codes import Check

#: RFC 5754 section 2
DIGESTS = {"2.16.840.1.101.3.4.2.1": "sha256", "2.16.840.1.101.3.4.2.2": "sha384", "2.16.840.1.101.3.4.2.3": "sha512"}
DIGEST_OIDS = {name: oid for oid, name in DIGESTS.items()}
#: Named in refusals only.
WEAK = {"1.3.14.3.2.26": "SHA-1", "1.2.840.113549.2.5": "MD5", "2.16.840.1.101.3.4.2.4": "SHA-224"}

RSA_ENCRYPTION = "1.2.840.113549.1.1.1"
RSA_PSS = "1.2.840.113549.1.1.10"
#: Signature algorithms that name their digest: RFC 5754 section 3. rsaEncryption takes the signer's digest algorithm.
RSA_WITH = {"1.2.840.113549.1.1.11": "sha256", "1.2.840.113549.1.1.12": "sha384", "1.2.840.113549.1.1.13": "sha512"}
ECDSA_WITH = {"1.2.840.10045.4.3.2": "sha256", "1.2.840.10045.4.3.3": "sha384", "1.2.840.10045.4.3.4": "sha512"}
ECDSA_OIDS = {name: oid for oid, name in ECDSA_WITH.items()}

MIN_RSA_BITS = 2048
MAX_RSA_BITS = 8192
CURVES = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)
_HASHES: dict[str, hashes.HashAlgorithm] = {
    "sha256": hashes.SHA256(),
    "sha384": hashes.SHA384(),
    "sha512": hashes.SHA512(),
}


def hash_of(name: str) -> hashes.HashAlgorithm:
    """The `cryptography` object for ``sha256``, ``sha384`` or ``sha512``."""
    return _HASHES[name]


def digest_name(oid: str, what: str) -> str:
    """The name of a digest algorithm; `VerificationError` (`Check.ALGORITHM`) for SHA-1 and everything not listed."""
    if oid not in DIGESTS:
        found = WEAK.get(oid, oid)
        raise VerificationError(f"{what} uses {found}; wanted SHA-256, SHA-384 or SHA-512", code=Check.ALGORITHM)
    return DIGESTS[oid]


def require_strong_key(key: PublicKeyTypes, what: str) -> None:
    """RSA of 2048 to 8192 bits or a NIST curve; else `VerificationError` (`Check.ALGORITHM`)."""
    if isinstance(key, rsa.RSAPublicKey) and MIN_RSA_BITS <= key.key_size <= MAX_RSA_BITS:
        return
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, CURVES):
        return
    size = getattr(key, "key_size", "")
    raise VerificationError(f"{what}: key {type(key).__name__} {size} is not accepted", code=Check.ALGORITHM)


def verify_signature(
    key: PublicKeyTypes,
    signature: bytes,
    *,
    signed: bytes,
    algorithm_oid: str,
    digest: str,
    pss_salt_length: int | None = None,
) -> None:
    """Check ``signature`` over ``signed``; ``digest`` is the signer's digest algorithm, and has to agree.

    ``pss_salt_length`` in bytes for RSASSA-PSS. Raises `VerificationError` with `Check.ALGORITHM` or `Check.SIGNATURE`.
    """
    named = RSA_WITH.get(algorithm_oid) or ECDSA_WITH.get(algorithm_oid)
    if named is not None and named != digest:
        raise VerificationError(f"signature algorithm says {named}, digest algorithm {digest}", code=Check.ALGORITHM)
    try:
        if isinstance(key, rsa.RSAPublicKey) and (algorithm_oid == RSA_ENCRYPTION or algorithm_oid in RSA_WITH):
            key.verify(signature, signed, padding.PKCS1v15(), hash_of(digest))
        elif isinstance(key, rsa.RSAPublicKey) and algorithm_oid == RSA_PSS and pss_salt_length is not None:
            pss = padding.PSS(mgf=padding.MGF1(hash_of(digest)), salt_length=pss_salt_length)
            key.verify(signature, signed, pss, hash_of(digest))
        elif isinstance(key, ec.EllipticCurvePublicKey) and algorithm_oid in ECDSA_WITH:
            key.verify(signature, signed, ec.ECDSA(hash_of(digest)))
        else:
            raise VerificationError(
                f"signature algorithm {algorithm_oid} with a {type(key).__name__} is not accepted", code=Check.ALGORITHM
            )
    except InvalidSignature as problem:
        raise VerificationError(
            "the signature value does not match the signed attributes", code=Check.SIGNATURE
        ) from problem
