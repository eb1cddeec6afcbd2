# SPDX-License-Identifier: Apache-2.0
"""Package signatures that our template would never make: other commitments, texts, certificates, countersignatures."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from signwright.envelopes import cms, der, id_data
from signwright.envelopes.nuget import COMMITMENT_TYPE, signature_text
from signwright.model.digest import Digest
from tests.support.nuget_builder import rsa, with_member
from tests.support.pki import NOW, Identity

COMMITMENTS = {"author": "1.2.840.113549.1.9.16.6.1", "repository": "1.2.840.113549.1.9.16.6.2", "other": "1.2.3.4"}


def committed_to(kind: str) -> bytes:
    return cms.attribute(COMMITMENT_TYPE, der.sequence(der.oid(COMMITMENTS[kind])))


def named_certificate(certificate: bytes, *, issuer: bytes | None = None, serial: bytes | None = None) -> bytes:
    """signingCertificateV2 with issuerSerial, its parts replaced where given."""
    parts = der.split_certificate(certificate)
    names = der.sequence(der.explicit(4, issuer or parts.issuer))
    digest = der.octet_string(hashlib.sha256(certificate).digest())
    named = der.sequence(digest, der.sequence(names, serial or parts.serial))
    return cms.attribute(id_data.SIGNING_CERTIFICATE_V2, der.sequence(der.sequence(named)))


def envelope(
    package: bytes,
    *,
    commitment: str | None = "author",
    signer: Identity | None = None,
    signers: int = 1,
    text: bytes | None = None,
    attributes: Sequence[bytes] | None = None,
    content_type: str = cms.DATA,
) -> bytes:
    """A signature of ``package`` as an author makes it, but for what is given."""
    by = signer or rsa()
    content = signature_text(Digest.of(package)) if text is None else text
    if attributes is None:
        committed = () if commitment is None else (committed_to(commitment),)
        attributes = (id_data.signing_time(NOW), *committed, named_certificate(by.certificate))
    signed = cms.SignedContent(
        content_type=content_type,
        digest="sha256",
        content_digest=hashlib.sha256(content).digest(),
        attributes=tuple(attributes),
        encapsulated=der.octet_string(content),
    )
    made = cms.signed_data(signed, by.context(), by.sign(cms.to_be_signed(signed, by.context())))
    return _with_signers(made, signers) if signers != 1 else made


def _with_signers(made: bytes, count: int) -> bytes:
    head, fields = _body(made)
    signer = der.read_all(fields[-1].content)[0].encoded
    body = der.sequence(*(field.encoded for field in fields[:-1]), der.tlv(der.SET, signer * count))
    return der.sequence(head, der.explicit(0, body))


def countersigned(made: bytes) -> bytes:
    """With a countersignature among the unsigned attributes, as a repository adds it; its value is no real one."""
    head, fields = _body(made)
    parts = der.read_all(der.read_all(fields[-1].content)[0].content)
    counter = cms.attribute("1.2.840.113549.1.9.6", der.sequence(der.integer(1)))
    signer = der.sequence(*(part.encoded for part in parts if part.tag != 0xA1), der.set_of([counter], tag=0xA1))
    body = der.sequence(*(field.encoded for field in fields[:-1]), der.set_of([signer]))
    return der.sequence(head, der.explicit(0, body))


def _body(made: bytes) -> tuple[bytes, list[der.Element]]:
    head, wrapped = der.read_all(der.read_one(made, der.SEQUENCE).content)
    return head.encoded, der.read_all(der.read_one(wrapped.content, der.SEQUENCE).content)


def resigned(package: bytes, made: bytes, **fields: int) -> bytes:
    """``package``, which is not signed, with ``made`` as its signature; ``fields`` of its headers."""
    return with_member(package, b".signature.p7s", made, **fields)
