# SPDX-License-Identifier: Apache-2.0
"""What signatures over Windows files have in common: SpcIndirectDataContent, nested signatures, description and URL.

SpcIndirectDataContent is SEQUENCE { SEQUENCE { kind, value }, DigestInfo } ("Windows Authenticode Portable Executable
Signature Format", section "SpcIndirectDataContent"). For files that Windows reads through a subject interface package
(SIP) the value begins with a version and the GUID under which Windows registers that package.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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


@dataclass(frozen=True, slots=True)
class Indirect:
    """What is signed: the kind of file (dotted OID) with its ``value``, and the digest of one (``algorithm``: a name of
    `cms.DIGESTS`, or the dotted OID of an unknown one).
    """

    kind: str
    value: asn1.Node | None
    algorithm: str
    digest: bytes


#: Whether what is signed is of the reader's kind of file; the second argument says what is looked at, for messages.
IsKind = Callable[[Indirect, str], bool]


@dataclass(frozen=True, slots=True)
class Claim:
    """One signature, where it was found (``1``, nested ``1.1``), and what it claims. Nothing is verified."""

    place: str
    signed: cms.SignedData
    indirect: Indirect

    @property
    def algorithm(self) -> str:
        return self.indirect.algorithm

    @property
    def digest(self) -> bytes:
        return self.indirect.digest

    @property
    def is_accepted(self) -> bool:
        return self.algorithm in ALGORITHMS


def of_package(package: bytes) -> IsKind:
    """For files of a SIP. ``package``: its GUID as it stands in SpcSipInfo, 16 bytes."""

    def is_kind(indirect: Indirect, what: str) -> bool:
        value = indirect.value
        fields = value.children(what) if indirect.kind == _SIP_INFO and value is not None else []
        return len(fields) >= 2 and fields[1].expect(asn1.OCTET_STRING, what).content == package

    return is_kind


def claims_in(encodings: Iterable[tuple[str, bytes]], is_kind: IsKind, *, padding: bool = False) -> Iterator[Claim]:
    """These signatures, each with its place, and those nested in them. ``padding``: zeros may stand behind each.

    Raises `FormatError` for what does not parse, also when there are too many or too deep ones, and `VerificationError`
    for signatures of another kind of file.
    """
    pending, seen = [(place, encoding, 1) for place, encoding in encodings], 0
    while pending:
        place, encoding, depth = pending.pop(0)
        seen += 1
        if seen > MAX_SIGNATURES or depth > MAX_DEPTH:
            raise FormatError("more signatures, or deeper ones, than are read", code=LimitError.default_code)
        signed = cms.parse(encoding, padding=padding and depth == 1)
        yield claim_of(place, signed, is_kind)
        pending += [(f"{place}.{n}", inner, depth + 1) for n, inner in enumerate(signed.only_signer.nested, start=1)]


def claim_of(place: str, signed: cms.SignedData, is_kind: IsKind) -> Claim:
    """What one structure claims; raises `FormatError` and `VerificationError`."""
    what = f"signature {place}"
    indirect = indirect_data(signed, what)
    if not is_kind(indirect, what):
        raise VerificationError(f"{what} was made for another kind of file", code="wrong-kind")
    if indirect.algorithm in ALGORITHMS and len(indirect.digest) != ALGORITHMS[indirect.algorithm]:
        raise FormatError(f"{what}: {indirect.algorithm} digest of {len(indirect.digest)} bytes")
    return Claim(place, signed, indirect)


def indirect_data(signed: cms.SignedData, what: str) -> Indirect:
    """The content that is signed; raises `FormatError`, and `VerificationError` for content of another type."""
    if signed.content_type != _INDIRECT_DATA or signed.encapsulated is None:
        raise VerificationError(f"{what} is over content of type {signed.content_type}, not over a file's digest")
    fields = asn1.single(signed.encapsulated, asn1.SEQUENCE, what).children(what)
    parts = [field.expect(asn1.SEQUENCE, what).children(what) for field in fields]
    if [len(part) for part in parts] not in ([1, 2], [2, 2]):
        raise FormatError(f"{what}: SpcIndirectDataContent does not parse")
    algorithm = asn1.algorithm(parts[1][0], what)
    digest = parts[1][1].expect(asn1.OCTET_STRING, what).content
    value = parts[0][1] if len(parts[0]) == 2 else None
    return Indirect(asn1.oid(parts[0][0], what), value, cms.DIGESTS.get(algorithm, algorithm), digest)


def accepted(claims: Sequence[Claim]) -> tuple[list[Claim], list[str]]:
    """Those that count, and a warning for each other; `VerificationError` when none of several counts."""
    counted = [claim for claim in claims if claim.is_accepted]
    if claims and not counted:
        raise VerificationError(f"digest {claims[0].algorithm} is not accepted", code="weak-digest")
    weak = [claim for claim in claims if not claim.is_accepted]
    return counted, [f"signature {claim.place} uses {claim.algorithm} and was not counted" for claim in weak]


def check_digest(claim: Claim, digests: Mapping[str, bytes], *, odd: str = "") -> None:
    """``digests``: algorithm to the digest of the file as it is; ``odd``: what may explain a difference. Raises
    `VerificationError`.
    """
    if not hmac.compare_digest(claim.digest, digests[claim.algorithm]):
        raise VerificationError(
            f"signature {claim.place}: the file is not what was signed, its digest differs{odd}", code="digest-mismatch"
        )


def found(
    claim: Claim, format_name: str, *, digest: Digest | None = None, notes: Mapping[str, str] | None = None
) -> FoundSignature:
    """The finding, when the signature holds; else `VerificationError`. ``digest``: of what is signed, where that is
    another one than the claimed.
    """
    signer = claim.signed.only_signer
    cms.check_embedded(claim.signed, signer)
    return cms.found_signature(
        claim.signed,
        signer,
        format_name=format_name,
        purpose="authenticode",
        content_digest=digest or Digest(claim.algorithm, claim.digest),
        notes={"place": claim.place, **(notes or {}), **opus_notes(signer)},
    )


def checked(claim: Claim, digests: Mapping[str, bytes], format_name: str) -> FoundSignature:
    """`check_digest`, then `found`."""
    check_digest(claim, digests)
    return found(claim, format_name)


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
        notes["description" if field.tag == 0xA0 else "url"] = shown(text)
    return notes


def shown(text: str) -> str:
    """Text as it may be printed: escaped when a character in it could move the cursor or reorder the line."""
    return text if first_bad_character(text) is None else ascii(text)
