# SPDX-License-Identifier: Apache-2.0
"""Writer of CMS SignedData with one signer and signed attributes (RFC 5652 section 5; PKCS #7 v1.5 for Authenticode).

Certificates are copied as opaque DER. Signed attributes are signed as SET OF (0x31) and stored as [0] (RFC 5652 5.4).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from signwright.envelopes import der
from signwright.envelopes.base import SignerContext, ToBeSigned
from signwright.envelopes.keys import KeyKind, check_signature_value, load_public_key
from signwright.errors import MalformedError

DATA = "1.2.840.113549.1.7.1"
SIGNED_DATA = "1.2.840.113549.1.7.2"
CONTENT_TYPE = "1.2.840.113549.1.9.3"
MESSAGE_DIGEST = "1.2.840.113549.1.9.4"

#: Dotted identifiers.
DIGESTS = {"sha256": "2.16.840.1.101.3.4.2.1", "sha384": "2.16.840.1.101.3.4.2.2", "sha512": "2.16.840.1.101.3.4.2.3"}
_ECDSA = {"sha256": "1.2.840.10045.4.3.2", "sha384": "1.2.840.10045.4.3.3", "sha512": "1.2.840.10045.4.3.4"}


def digest_algorithm(name: str, *, null: bool) -> bytes:
    """AlgorithmIdentifier of a digest. RFC 5754 2 wants the parameters absent; Authenticode has always written NULL."""
    return der.sequence(der.oid(DIGESTS[name]), der.NULL if null else b"")


def signature_algorithm(public_key: bytes, digest: str) -> bytes:
    """AlgorithmIdentifier of the SignerInfo (RFC 3370 3.2, RFC 5754 3, RFC 8419 2.3).

    Raises `MalformedError` for Ed25519 with another digest than SHA-512, which RFC 8419 3.1 demands.
    """
    kind, _ = load_public_key(public_key)
    if kind is KeyKind.RSA:
        return der.sequence(der.oid("1.2.840.113549.1.1.1"), der.NULL)
    if kind is KeyKind.EC:
        return der.sequence(der.oid(_ECDSA[digest]))
    if digest != "sha512":
        raise MalformedError(f"an Ed25519 key signs CMS over sha512, found {digest}", code="bad-digest")
    return der.sequence(der.oid("1.3.101.112"))


def attribute(oid: str, *values: bytes) -> bytes:
    """Attribute ::= SEQUENCE { type, SET OF value }; each value is a complete encoding."""
    return der.sequence(der.oid(oid), der.set_of(values))


@dataclass(frozen=True, slots=True)
class SignedContent:
    """What one signer says, in complete encodings.

    ``content_digest`` in algorithm ``digest``; ``attributes``: signed ones besides contentType and messageDigest;
    ``encapsulated``: the content within the structure, empty for a detached signature; ``digest_null``: see
    `digest_algorithm`.
    """

    content_type: str
    digest: str
    content_digest: bytes
    attributes: tuple[bytes, ...]
    encapsulated: bytes = b""
    digest_null: bool = False


@lru_cache(maxsize=64)
def check_context(context: SignerContext) -> None:
    """Raise `MalformedError` unless the leaf certificate carries the key that will sign, and the chain is DER."""
    if not context.chain:
        raise MalformedError("a CMS signature needs the key's certificate, the chain is empty", code="bad-certificate")
    parts = [der.split_certificate(certificate) for certificate in context.chain]
    if parts[0].public_key != context.public_key:
        raise MalformedError("the first certificate of the chain is of another key", code="bad-certificate")
    if len(set(context.chain)) != len(context.chain):
        raise MalformedError("a certificate stands twice in the chain", code="bad-certificate")


def _attributes(content: SignedContent) -> list[bytes]:
    return [
        attribute(CONTENT_TYPE, der.oid(content.content_type)),
        attribute(MESSAGE_DIGEST, der.octet_string(content.content_digest)),
        *content.attributes,
    ]


def to_be_signed(content: SignedContent, context: SignerContext) -> ToBeSigned:
    """The DER of the signed attributes as SET OF: the bytes under the key."""
    check_context(context)
    signature_algorithm(context.public_key, content.digest)
    return ToBeSigned(der.set_of(_attributes(content)), content.digest)


def signed_data(
    content: SignedContent, context: SignerContext, signature_value: bytes, unsigned_attributes: Sequence[bytes] = ()
) -> bytes:
    """The complete ContentInfo (RFC 5652 3), in DER.

    ``unsigned_attributes``: complete encodings. Raises `VerificationError` when ``signature_value`` does not verify.
    """
    check_signature_value(context.public_key, to_be_signed(content, context), signature_value)
    leaf = der.split_certificate(context.chain[0])
    algorithm = digest_algorithm(content.digest, null=content.digest_null)
    signer = der.sequence(
        der.integer(1),
        der.sequence(leaf.issuer, leaf.serial),
        algorithm,
        der.set_of(_attributes(content), tag=0xA0),
        signature_algorithm(context.public_key, content.digest),
        der.octet_string(signature_value),
        der.set_of(unsigned_attributes, tag=0xA1) if unsigned_attributes else b"",
    )
    encapsulated = der.explicit(0, content.encapsulated) if content.encapsulated else b""
    body = der.sequence(
        der.integer(1),
        der.set_of([algorithm]),
        der.sequence(der.oid(content.content_type), encapsulated),
        der.set_of(context.chain, tag=0xA0),
        der.set_of([signer]),
    )
    return der.sequence(der.oid(SIGNED_DATA), der.explicit(0, body))


def timestamp_attribute(oid: str, timestamp_token: bytes | None) -> tuple[bytes, ...]:
    """The unsigned attribute for an RFC 3161 token, copied as received; nothing without one."""
    if timestamp_token is None:
        return ()
    return (attribute(oid, der.read_one(timestamp_token, der.SEQUENCE).encoded),)
