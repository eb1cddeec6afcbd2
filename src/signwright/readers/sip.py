# SPDX-License-Identifier: Apache-2.0
"""Signatures over files that Windows reads through a subject interface package (SIP), such as scripts.

SpcIndirectDataContent is SEQUENCE { SEQUENCE { SPC_SIPINFO, SpcSipInfo }, DigestInfo } ("Windows Authenticode Portable
Executable Signature Format", section "SpcIndirectDataContent"); SpcSipInfo begins with a version and the GUID under
which Windows registers the package, which tells one kind of file from another.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from signwright.errors import FormatError, LimitError, VerificationError
from signwright.model.digest import ALGORITHMS, Digest
from signwright.model.text import first_bad_character
from signwright.readers import asn1, cms
from signwright.readers.base import FoundSignature

MAX_SIGNATURES = 64
MAX_DEPTH = 4

_INDIRECT_DATA = "1.3.6.1.4.1.311.2.1.4"
_SIP_INFO = "1.3.6.1.4.1.311.2.1.30"
_OPUS_INFO = "1.3.6.1.4.1.311.2.1.12"
_DIGESTS = {
    "2.16.840.1.101.3.4.2.1": "sha256",
    "2.16.840.1.101.3.4.2.2": "sha384",
    "2.16.840.1.101.3.4.2.3": "sha512",
    "1.3.14.3.2.26": "sha1",
    "1.2.840.113549.2.5": "md5",
}


@dataclass(frozen=True, slots=True)
class Claim:
    """One signature, where it was found (``1``, nested ``1.1``), and the digest that it claims. Nothing is verified."""

    place: str
    signed: cms.SignedData
    algorithm: str
    digest: bytes

    @property
    def is_accepted(self) -> bool:
        return self.algorithm in ALGORITHMS


def claims_in(encoding: bytes, package: bytes) -> Iterator[Claim]:
    """The signature and those nested in it. ``package``: GUID as it stands in SpcSipInfo, 16 bytes.

    Raises `FormatError` for what does not parse and `VerificationError` for signatures of another kind of file.
    """
    pending, seen = [("1", encoding, 1)], 0
    while pending:
        place, structure, depth = pending.pop(0)
        seen += 1
        if seen > MAX_SIGNATURES or depth > MAX_DEPTH:
            raise LimitError("more signatures, or deeper ones, than are read")
        signed = cms.parse(structure)
        yield _claim(place, signed, package)
        pending += [(f"{place}.{n}", inner, depth + 1) for n, inner in enumerate(signed.only_signer.nested, start=1)]


def _claim(place: str, signed: cms.SignedData, package: bytes) -> Claim:
    what = f"signature {place}"
    if signed.content_type != _INDIRECT_DATA or signed.encapsulated is None:
        raise VerificationError(f"{what} is over content of type {signed.content_type}, not over a file's digest")
    fields = asn1.single(signed.encapsulated, asn1.SEQUENCE, what).children(what)
    if len(fields) != 2:
        raise FormatError(f"{what}: SpcIndirectDataContent does not parse")
    kind = fields[0].expect(asn1.SEQUENCE, what).children(what)
    info = fields[1].expect(asn1.SEQUENCE, what).children(what)
    if len(kind) != 2 or len(info) != 2:
        raise FormatError(f"{what}: SpcIndirectDataContent does not parse")
    sip = kind[1].children(what) if asn1.oid(kind[0], what) == _SIP_INFO else []
    if len(sip) < 2 or sip[1].expect(asn1.OCTET_STRING, what).content != package:
        raise VerificationError(f"{what} was made for another kind of file", code="wrong-kind")
    algorithm = asn1.algorithm(info[0], what)
    name = _DIGESTS.get(algorithm, algorithm)
    digest = info[1].expect(asn1.OCTET_STRING, what).content
    if name in ALGORITHMS and len(digest) != ALGORITHMS[name]:
        raise FormatError(f"{what}: {name} digest of {len(digest)} bytes")
    return Claim(place, signed, name, digest)


def checked(claim: Claim, digests: Mapping[str, bytes], format_name: str) -> FoundSignature:
    """The finding, or `VerificationError`. ``digests``: algorithm to the digest of the file as it is."""
    if not hmac.compare_digest(claim.digest, digests[claim.algorithm]):
        raise VerificationError(
            f"signature {claim.place}: the file is not what was signed, its digest differs", code="digest-mismatch"
        )
    signer = claim.signed.only_signer
    cms.check_embedded(claim.signed, signer)
    return cms.found_signature(
        claim.signed,
        signer,
        format_name=format_name,
        purpose="authenticode",
        content_digest=Digest(claim.algorithm, claim.digest),
        notes={"place": claim.place, **opus_notes(signer)},
    )


def opus_notes(signer: cms.Signer) -> dict[str, str]:
    """``description`` and ``url`` from SpcSpOpusInfo: programName [0] SpcString, moreInfo [1] SpcLink."""
    encoded, what = signer.signed_attributes.get(_OPUS_INFO), "SpcSpOpusInfo"
    notes: dict[str, str] = {}
    for field in asn1.single(encoded, asn1.SEQUENCE, what).children(what) if encoded else []:
        values = field.children(what)
        if len(values) != 1 or field.tag not in (0xA0, 0xA1):
            raise FormatError(f"{what} does not parse")
        codecs = {(0xA0, 0x80): "utf-16-be", (0xA0, 0x81): "ascii", (0xA1, 0x80): "ascii"}
        codec = codecs.get((field.tag, values[0].tag))
        if codec is None:
            continue
        try:
            text = values[0].content.decode(codec)
        except UnicodeDecodeError as problem:
            raise FormatError(f"{what} holds text that cannot be read") from problem
        # What could move the cursor or reorder a line is shown escaped.
        shown = text if first_bad_character(text) is None else ascii(text)
        notes["description" if field.tag == 0xA0 else "url"] = shown
    return notes
