# SPDX-License-Identifier: Apache-2.0
"""Reader of CMS SignedData (RFC 5652), shared by every reader of a format that carries it.

Only DER is read and nothing is re-encoded: a signature is checked over the bytes that stand in the file. A SignerInfo
without signed attributes is refused: its signature would hold for other content types as well. Trust in certificates is
the matter of `signwright.readers.chain`, timestamp tokens that of `signwright.timestamps`.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from asn1crypto import x509 as asn1_x509

from signwright.errors import FormatError, VerificationError
from signwright.model.digest import ALGORITHMS, Digest
from signwright.readers import asn1
from signwright.readers.asn1 import Node
from signwright.readers.base import FoundSignature
from signwright.readers.values import check_value

MAX_ENVELOPE = 16 << 20
MAX_SIGNERS = 16
MAX_CERTIFICATES = 64

DATA = "1.2.840.113549.1.7.1"
SIGNED_DATA = "1.2.840.113549.1.7.2"
CONTENT_TYPE = "1.2.840.113549.1.9.3"
MESSAGE_DIGEST = "1.2.840.113549.1.9.4"
SIGNING_TIME = "1.2.840.113549.1.9.5"
COUNTERSIGNATURE = "1.2.840.113549.1.9.6"
SIGNING_CERTIFICATE_V2 = "1.2.840.113549.1.9.16.2.47"
CMS_TIMESTAMP = "1.2.840.113549.1.9.16.2.14"
AUTHENTICODE_TIMESTAMP = "1.3.6.1.4.1.311.3.3.1"
NESTED_SIGNATURE = "1.3.6.1.4.1.311.2.4.1"

#: Also those that are read and never accepted.
DIGESTS: Mapping[str, str] = {
    "1.3.14.3.2.26": "sha1",
    "1.2.840.113549.2.5": "md5",
    "2.16.840.1.101.3.4.2.1": "sha256",
    "2.16.840.1.101.3.4.2.2": "sha384",
    "2.16.840.1.101.3.4.2.3": "sha512",
}


@dataclass(frozen=True, slots=True)
class Signer:
    """One SignerInfo with its certificate. Nothing is verified yet (see `check_signer`).

    ``digest_algorithm``: a name such as ``sha256``, or the dotted OID of one not known; ``signed_attributes``: OID to
    the complete DER of its single value; ``signed_bytes``: the attributes as SET OF, the bytes under the key;
    ``unsigned_attributes``: OID to the complete DER of its values.
    """

    digest_algorithm: str
    signature_algorithm: str
    signature_value: bytes
    signed_attributes: Mapping[str, bytes]
    signed_bytes: bytes
    unsigned_attributes: Mapping[str, tuple[bytes, ...]]
    certificate: bytes
    public_key: bytes

    @property
    def message_digest(self) -> bytes:
        return asn1.single(self._attribute(MESSAGE_DIGEST), asn1.OCTET_STRING, "messageDigest").content

    @property
    def content_type(self) -> str:
        return asn1.oid(asn1.node_at(self._attribute(CONTENT_TYPE), 0, "contentType"), "contentType")

    @property
    def signing_time(self) -> datetime | None:
        """The signer's own claim; None when absent."""
        value = self.signed_attributes.get(SIGNING_TIME)
        return None if value is None else asn1.time(asn1.node_at(value, 0, "signingTime"), "signingTime")

    @property
    def timestamp_token(self) -> bytes | None:
        """The RFC 3161 token from either attribute; raises `FormatError` when there are two."""
        tokens = [t for name in (AUTHENTICODE_TIMESTAMP, CMS_TIMESTAMP) for t in self.unsigned_attributes.get(name, ())]
        if len(tokens) > 1:
            raise FormatError(f"signer has {len(tokens)} timestamp tokens, one wanted")
        return tokens[0] if tokens else None

    @property
    def nested(self) -> tuple[bytes, ...]:
        """Complete SignedData structures in the Authenticode nested signature attribute, to be parsed in turn."""
        return self.unsigned_attributes.get(NESTED_SIGNATURE, ())

    def _attribute(self, name: str) -> bytes:
        if name not in self.signed_attributes:
            raise FormatError(f"signer has no signed attribute {name}")
        return self.signed_attributes[name]


@dataclass(frozen=True, slots=True)
class SignedData:
    """A parsed ContentInfo. ``encapsulated``: complete encoding of the content inside, None when detached."""

    envelope: bytes
    content_type: str
    encapsulated: bytes | None
    certificates: tuple[bytes, ...]
    signers: tuple[Signer, ...]

    @property
    def content_octets(self) -> bytes | None:
        """What messageDigest covers: the content without its tag and length (RFC 5652 5.4, RFC 2315 9.3)."""
        if self.encapsulated is None:
            return None
        return asn1.node_at(self.encapsulated, 0, "encapsulated content").content

    @property
    def only_signer(self) -> Signer:
        if len(self.signers) != 1:
            raise FormatError(f"signature has {len(self.signers)} signers, one wanted")
        return self.signers[0]


def parse(encoding: bytes, *, padding: bool = False) -> SignedData:
    """Parse a DER ContentInfo with SignedData. Nothing is verified.

    ``padding``: up to 7 zero bytes may follow, as in a PE certificate table. Raises `FormatError` for anything that
    does not parse or is beyond `MAX_ENVELOPE`, `MAX_SIGNERS` or `MAX_CERTIFICATES` (code ``too-large``).
    """
    if len(encoding) > MAX_ENVELOPE:
        raise FormatError(f"signature of {len(encoding)} bytes, at most {MAX_ENVELOPE} are read", code="too-large")
    info = asn1.node_at(encoding, 0, "signature").expect(asn1.SEQUENCE, "signature")
    behind = encoding[len(info.encoded) :]
    if behind and not (padding and len(behind) < 8 and not any(behind)):
        raise FormatError(f"signature: {len(behind)} bytes behind it", offset=len(info.encoded))
    fields = info.children("ContentInfo")
    if len(fields) != 2 or asn1.oid(fields[0], "ContentInfo") != SIGNED_DATA:
        raise FormatError("signature is not CMS SignedData")
    wrapped = fields[1].expect(0xA0, "ContentInfo").children("ContentInfo")
    if len(wrapped) != 1:
        raise FormatError("ContentInfo holds more than one value", offset=fields[1].offset)
    return _signed_data(info.encoded, wrapped[0])


def _signed_data(envelope: bytes, body: Node) -> SignedData:
    fields = body.expect(asn1.SEQUENCE, "SignedData").children("SignedData")
    if len(fields) < 4:
        raise FormatError("SignedData is incomplete", offset=body.offset)
    version = asn1.integer(fields[0], "SignedData version")
    listed = [asn1.algorithm(n, "digestAlgorithms") for n in fields[1].expect(asn1.SET, "digests").children("digests")]
    content_type, encapsulated = _content(fields[2])
    optional, signer_set = fields[3:-1], fields[-1].expect(asn1.SET, "signerInfos")
    if [n.tag for n in optional] not in ([0xA0], [0xA0, 0xA1]) or version not in (1, 3, 4, 5):
        raise FormatError("SignedData has no certificates, or an unknown version or field", offset=body.offset)
    certificates = tuple(n.encoded for n in optional[0].children("certificates") if n.tag == asn1.SEQUENCE)
    signers = signer_set.children("signerInfos")
    if not signers or len(certificates) > MAX_CERTIFICATES or len(signers) > MAX_SIGNERS:
        found = f"{len(signers)} signers and {len(certificates)} certificates"
        raise FormatError(f"SignedData has {found}", offset=signer_set.offset, code="too-large")
    known = [_certificate(c) for c in certificates]
    parsed = tuple(_signer(node, known) for node in signers)
    for signer in parsed:
        if signer.digest_algorithm not in [DIGESTS.get(name, name) for name in listed]:
            raise FormatError("digest of a signer is not among digestAlgorithms", offset=fields[1].offset)
    return SignedData(envelope, content_type, encapsulated, certificates, parsed)


def _content(node: Node) -> tuple[str, bytes | None]:
    fields = node.expect(asn1.SEQUENCE, "encapContentInfo").children("encapContentInfo")
    if len(fields) not in (1, 2):
        raise FormatError("encapContentInfo has the wrong number of fields", offset=node.offset)
    content_type = asn1.oid(fields[0], "content type")
    if len(fields) == 1:
        return content_type, None
    inner = fields[1].expect(0xA0, "content").children("content")
    if len(inner) != 1:
        raise FormatError("content holds more than one value", offset=fields[1].offset)
    return content_type, inner[0].encoded


@dataclass(frozen=True, slots=True)
class _Certificate:
    encoded: bytes
    issuer: bytes
    serial: int
    key_identifier: bytes | None
    public_key: bytes


def _certificate(encoded: bytes) -> _Certificate:
    """Parsed by asn1crypto, which reads old certificates that stricter parsers refuse."""
    try:
        certificate = asn1_x509.Certificate.load(encoded, strict=True)
        fields = certificate["tbs_certificate"]
        return _Certificate(
            encoded,
            issuer=fields["issuer"].dump(),
            serial=fields["serial_number"].native,
            key_identifier=certificate.key_identifier,
            public_key=fields["subject_public_key_info"].dump(),
        )
    except (ValueError, TypeError, KeyError, IndexError, OverflowError) as problem:
        raise FormatError("certificate in the signature does not parse") from problem


def _signer(node: Node, certificates: list[_Certificate]) -> Signer:
    fields = node.expect(asn1.SEQUENCE, "SignerInfo").children("SignerInfo")
    tags = [n.tag for n in fields]
    if tags[3:6] != [0xA0, asn1.SEQUENCE, asn1.OCTET_STRING] or tags[6:] not in ([], [0xA1]):
        raise FormatError("SignerInfo without signed attributes, or with unknown fields", offset=node.offset)
    if asn1.integer(fields[0], "SignerInfo version") not in (1, 3):
        raise FormatError("SignerInfo has an unknown version", offset=fields[0].offset)
    certificate = _signer_certificate(fields[1], certificates)
    attributes = _attributes(fields[3])
    if any(len(values) != 1 for values in attributes.values()):
        raise FormatError("signed attribute without a single value", offset=fields[3].offset)
    digest = asn1.algorithm(fields[2], "digestAlgorithm")
    return Signer(
        digest_algorithm=DIGESTS.get(digest, digest),
        signature_algorithm=asn1.algorithm(fields[4], "signatureAlgorithm"),
        signature_value=fields[5].content,
        signed_attributes={name: values[0] for name, values in attributes.items()},
        signed_bytes=bytes((asn1.SET,)) + fields[3].encoded[1:],
        unsigned_attributes=_attributes(fields[6], repeated=True) if len(fields) > 6 else {},
        certificate=certificate.encoded,
        public_key=certificate.public_key,
    )


def _signer_certificate(node: Node, certificates: list[_Certificate]) -> _Certificate:
    """The certificate that issuerAndSerialNumber or subjectKeyIdentifier [0] points at (RFC 5652 5.3)."""
    if node.tag == 0x80:
        matches = [c for c in certificates if c.key_identifier == node.content]
    else:
        fields = node.expect(asn1.SEQUENCE, "signer identifier").children("signer identifier")
        if len(fields) != 2:
            raise FormatError("signer identifier is not issuer and serial number", offset=node.offset)
        serial = asn1.integer(fields[1], "serial number")
        matches = [c for c in certificates if c.issuer == fields[0].encoded and c.serial == serial]
    if len(matches) != 1:
        raise FormatError(f"{len(matches)} certificates match the signer, one wanted", offset=node.offset)
    return matches[0]


def _attributes(node: Node, *, repeated: bool = False) -> dict[str, tuple[bytes, ...]]:
    """OID to the values; a type that stands twice is refused unless ``repeated`` (RFC 5652 11)."""
    found: dict[str, tuple[bytes, ...]] = {}
    for attribute in node.children("attributes"):
        fields = attribute.expect(asn1.SEQUENCE, "attribute").children("attribute")
        if len(fields) != 2:
            raise FormatError("attribute is not type and values", offset=attribute.offset)
        name = asn1.oid(fields[0], "attribute")
        values = tuple(n.encoded for n in fields[1].expect(asn1.SET, "attribute values").children("attribute values"))
        if name in found and not repeated:
            raise FormatError(f"attribute {name} stands twice", offset=attribute.offset)
        found[name] = found.get(name, ()) + values
    return found


def check_signer(signed: SignedData, signer: Signer, message_digest: bytes) -> None:
    """Raise `VerificationError` unless the signer speaks about content with this digest and the value verifies.

    ``message_digest``: recomputed by the caller with ``signer.digest_algorithm`` over the content octets. Also checks
    contentType, and signingCertificateV2 when present. `FormatError` for attributes that do not parse.
    """
    if signer.digest_algorithm not in ALGORITHMS:
        raise VerificationError(f"digest {signer.digest_algorithm} is not accepted", code="weak-digest")
    if signer.content_type != signed.content_type:
        raise VerificationError(f"contentType is {signer.content_type}, the content is {signed.content_type}")
    if not hmac.compare_digest(signer.message_digest, message_digest):
        raise VerificationError("content is not what was signed: messageDigest differs", code="digest-mismatch")
    if SIGNING_CERTIFICATE_V2 in signer.signed_attributes:
        _check_signing_certificate(signer)
    check_value(
        signer.public_key,
        signer.signature_value,
        signer.signed_bytes,
        digest=signer.digest_algorithm,
        algorithm=signer.signature_algorithm,
    )


def check_embedded(signed: SignedData, signer: Signer) -> None:
    """`check_signer` against the content that stands inside the structure."""
    octets = signed.content_octets
    if octets is None:
        raise FormatError("signature has no content inside")
    if signer.digest_algorithm not in ALGORITHMS:
        raise VerificationError(f"digest {signer.digest_algorithm} is not accepted", code="weak-digest")
    check_signer(signed, signer, hashlib.new(signer.digest_algorithm, octets).digest())


def _check_signing_certificate(signer: Signer) -> None:
    """The first ESSCertIDv2 must be the signer's certificate (RFC 5035 5.4.1.1, step 1)."""
    what = "signingCertificateV2"
    value = asn1.single(signer.signed_attributes[SIGNING_CERTIFICATE_V2], asn1.SEQUENCE, what)
    certificate_ids = value.children(what)[:1]
    entries = certificate_ids[0].expect(asn1.SEQUENCE, what).children(what)[:1] if certificate_ids else []
    fields = entries[0].expect(asn1.SEQUENCE, what).children(what) if entries else []
    algorithm = "sha256"
    if fields and fields[0].tag == asn1.SEQUENCE:
        name = asn1.algorithm(fields.pop(0), what)
        algorithm = DIGESTS.get(name, name)
    if not fields or algorithm not in ALGORITHMS:
        raise FormatError(f"{what} names no certificate with a digest that is accepted")
    expected = hashlib.new(algorithm, signer.certificate).digest()
    if not hmac.compare_digest(fields[0].expect(asn1.OCTET_STRING, what).content, expected):
        raise VerificationError(f"{what} names another certificate", code="wrong-certificate")


def found_signature(
    signed: SignedData,
    signer: Signer,
    *,
    format_name: str,
    purpose: str,
    content_digest: Digest,
    notes: Mapping[str, str] | None = None,
) -> FoundSignature:
    """The finding about a signer that `check_signer` accepted."""
    odd = {"countersignature": "legacy, not checked"} if COUNTERSIGNATURE in signer.unsigned_attributes else {}
    return FoundSignature(
        format=format_name,
        family="cms",
        purpose=purpose,
        content_digest=content_digest,
        signature_value=signer.signature_value,
        envelope=signed.envelope,
        public_key=signer.public_key,
        signer_certificate=signer.certificate,
        certificates=signed.certificates,
        timestamp_token=signer.timestamp_token,
        signing_time=signer.signing_time,
        notes={**odd, **(notes or {})},
    )
