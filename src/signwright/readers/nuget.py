# SPDX-License-Identifier: Apache-2.0
"""Reader of signed NuGet packages, written from the specification and sharing nothing with the writer.

Source: "NuGet Package Signatures Technical Specification" and "Repository Signatures and Countersignatures" (NuGet).
The signed text has the digest of the package as it was without the member ``.signature.p7s``. *Not* covered: times and
versions in the headers of that member, unsigned attributes (timestamp tokens, which are checked on their own, and
countersignatures, which are not), and of the certificates in the structure all but the signer's.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import struct
from collections.abc import Iterator

from signwright.errors import FormatError, VerificationError
from signwright.model.digest import ALGORITHMS, Digest
from signwright.model.view import View, blocks
from signwright.readers import asn1, cms
from signwright.readers import zip as archives
from signwright.readers.base import FoundSignature, Reading
from signwright.readers.zip import Archive, Entry

SIGNATURE = b".signature.p7s"

_TEXT = re.compile(rb"Version:1\n\n([0-9.]{1,40})-Hash:([A-Za-z0-9+/]{1,88}={0,2})\n\n")
_DIGESTS = {
    b"2.16.840.1.101.3.4.2.1": "sha256",
    b"2.16.840.1.101.3.4.2.2": "sha384",
    b"2.16.840.1.101.3.4.2.3": "sha512",
}
_UTF8 = 1 << 11
_COMMITMENT_TYPE = "1.2.840.113549.1.9.16.2.16"
_TYPES = {"1.2.840.113549.1.9.16.6.1": "author", "1.2.840.113549.1.9.16.6.2": "repository"}
_SIGNING_CERTIFICATE_V1 = "1.2.840.113549.1.9.16.2.12"
_RSA = bytes.fromhex("06092a864886f70d010101")
_RSA_WITH_SHA2 = {f"1.2.840.113549.1.1.{n}" for n in (11, 12, 13)}
_OTHERS = {b"META-INF/MANIFEST.MF", b"AppxManifest.xml", b"AppxMetadata/AppxBundleManifest.xml"}


class NuGetReader:
    """Implements `signwright.readers.base.Reader`."""

    name = "nuget"

    def recognizes(self, view: View) -> bool:
        try:
            names = set(archives.entry_names(view)) if view.read(0, 4) == b"PK\x03\x04" else set()
        except FormatError:
            return False
        roots = [name for name in names if b"/" not in name and name.lower().endswith(b".nuspec")]
        return bool(roots) and names.isdisjoint(_OTHERS)

    def read(self, view: View, content: View | None = None) -> Reading:
        """The author's or the repository's signature; a package without gives a `Reading` without signatures.

        ``stripped_sha256`` is the digest of the package as it was before it was signed.
        """
        if content is not None:
            raise FormatError("a package carries its signature inside, there is no content beside it")
        archive = _read_package(view)
        entry = _signature_entry(view, archive)
        if entry is None:
            return Reading(self.name, (), _digests(view, archive, None, {"sha256"})["sha256"].hex)
        try:
            found, warnings = _found(view, entry)
        except FormatError as problem:
            raise VerificationError(
                f"the signature does not read: {problem.message}", code="bad-signature"
            ) from problem
        claimed = found.content_digest
        digests = _digests(view, archive, entry, {claimed.algorithm, "sha256"})
        if not hmac.compare_digest(claimed.value, digests[claimed.algorithm].value):
            raise VerificationError("the package is not what was signed, its digest differs", code="digest-mismatch")
        return Reading(self.name, (found,), digests["sha256"].hex, warnings)

    def stripped(self, view: View) -> str:
        """Implements `signwright.readers.base.Stripper`."""
        archive = _read_package(view)
        return _digests(view, archive, _signature_entry(view, archive), {"sha256"})["sha256"].hex


def _read_package(view: View) -> Archive:
    archive = archives.read_archive(view)
    raw = {entry.name for entry in archive.entries}
    shown = {entry.name.decode("utf-8" if entry.flags & _UTF8 else "cp437", "replace") for entry in archive.entries}
    if min(len(raw), len(shown)) < len(archive.entries):
        raise FormatError("two members of one name", code="ambiguous-member")
    return archive


def claimed_digest(signed: cms.SignedData) -> Digest:
    """The digest of the package that the signed text names; raises `FormatError` and `VerificationError`."""
    if signed.content_type != cms.DATA or signed.encapsulated is None:
        raise VerificationError(f"signature over content of type {signed.content_type}, not over a package's digest")
    text = asn1.single(signed.encapsulated, asn1.OCTET_STRING, "signed content").content
    match = _TEXT.fullmatch(text)
    if match is None:
        raise VerificationError("the signed content is no text of a package signature", code="wrong-kind")
    algorithm = _DIGESTS.get(match[1])
    if algorithm is None:
        raise VerificationError(f"digest {match[1].decode()} is not accepted", code="weak-digest")
    try:
        value = base64.b64decode(match[2], validate=True)
    except binascii.Error as problem:
        raise FormatError("digest in the signed content is no base64") from problem
    if len(value) != ALGORITHMS[algorithm] or base64.b64encode(value) != match[2]:
        raise FormatError(f"{algorithm} digest of {len(value)} bytes in the signed content")
    return Digest(algorithm, value)


def _signature_entry(view: View, archive: Archive) -> Entry | None:
    """The signature's member in the one place and form that leave nothing of the package out of the digest."""
    near = [entry for entry in archive.entries if _folded(entry.name) == SIGNATURE]
    if len(near) > 1 or any(entry.name != SIGNATURE for entry in near):
        raise FormatError("several members that may be the signature", offset=near[0].local, code="ambiguous-signature")
    if not near:
        return None
    entry = near[0]
    if entry.end != archive.directory or entry.record_end != archive.end:
        raise FormatError("the signature is not the last member", offset=entry.local, code="signature-not-last")
    if entry.flags or entry.method or entry.packed != entry.size or entry.external or not entry.plain:
        raise FormatError("the signature's headers are not those of one", offset=entry.local, code="signature-header")
    if b"PK\x05\x06" in view.read(archive.end + 4, view.size - archive.end - 4):
        raise FormatError("a comment that reads like an end record", offset=archive.end, code="zip-end")
    return entry


def _folded(name: bytes) -> bytes:
    try:
        return name.decode().casefold().encode()
    except UnicodeDecodeError:
        return name.lower()


def _without(view: View, archive: Archive, entry: Entry | None) -> Iterator[bytes]:
    """The package as it was before the signature came in."""
    if entry is None:
        yield from blocks(view, 0, view.size)
        return
    yield from blocks(view, 0, entry.local)
    yield from blocks(view, archive.directory, entry.record - archive.directory)
    count = len(archive.entries) - 1
    yield view.read(archive.end, 8)
    yield struct.pack("<2H2L", count, count, entry.record - archive.directory, entry.local)
    yield view.read(archive.end + 20, view.size - archive.end - 20)


def _digests(view: View, archive: Archive, entry: Entry | None, algorithms: set[str]) -> dict[str, Digest]:
    running = {name: hashlib.new(name) for name in sorted(algorithms)}
    for block in _without(view, archive, entry):
        for digest in running.values():
            digest.update(block)
    return {name: Digest(name, digest.digest()) for name, digest in running.items()}


def _found(view: View, entry: Entry) -> tuple[FoundSignature, tuple[str, ...]]:
    """The signature, sound in itself, and what is odd about it; the digest that it names is not compared yet."""
    if entry.size > cms.MAX_ENVELOPE:
        raise FormatError(f"signature of {entry.size} bytes", offset=entry.local, code="too-large")
    signed = cms.parse(b"".join(archives.read_entry(view, entry)))
    claimed, signer = claimed_digest(signed), signed.only_signer
    kind = _type(signer)
    _check_signing_certificate(signer)
    if signer.signing_time is None:
        raise VerificationError("a package signature says when it was made", code="wrong-kind")
    if _RSA not in signer.public_key[:32]:
        raise VerificationError("NuGet takes signatures of RSA keys alone", code="unknown-key")
    cms.check_embedded(signed, signer)
    warnings = []
    if cms.COUNTERSIGNATURE in signer.unsigned_attributes:
        warnings.append("a countersignature is there and was not checked")
    if (algorithm := _certified_by(signer.certificate)) not in _RSA_WITH_SHA2:
        warnings.append(f"the signer's certificate is signed with {algorithm}; NuGet takes RSA with SHA-2 alone")
    notes = {"type": kind}
    found = cms.found_signature(
        signed, signer, format_name=NuGetReader.name, purpose="nuget", content_digest=claimed, notes=notes
    )
    return found, tuple(warnings)


def _type(signer: cms.Signer) -> str:
    """What the signer commits to (RFC 5126 5.11.1); without that it is nobody's package signature."""
    encoded, what = signer.signed_attributes.get(_COMMITMENT_TYPE), "commitmentTypeIndication"
    if encoded is None:
        raise VerificationError("the signature commits to nothing: it was not made for a package", code="wrong-kind")
    fields = asn1.single(encoded, asn1.SEQUENCE, what).children(what)
    kind = _TYPES.get(asn1.oid(fields[0], what)) if len(fields) == 1 else None
    if kind is None:
        raise VerificationError("the signature commits to something unknown", code="wrong-kind")
    return kind


def _check_signing_certificate(signer: cms.Signer) -> None:
    """signingCertificateV2 with issuerSerial, which the CMS reader does not demand; its digest is checked there."""
    what = "signingCertificateV2"
    encoded = signer.signed_attributes.get(cms.SIGNING_CERTIFICATE_V2)
    if encoded is None or _SIGNING_CERTIFICATE_V1 in signer.signed_attributes:
        raise VerificationError(f"a package signature has {what}, and no older form of it", code="wrong-kind")
    listed = asn1.single(encoded, asn1.SEQUENCE, what).children(what)[:1]
    first = listed[0].expect(asn1.SEQUENCE, what).children(what)[:1] if listed else []
    fields = first[0].expect(asn1.SEQUENCE, what).children(what) if first else []
    serials = [field for field in fields[1:] if field.tag == asn1.SEQUENCE]
    parts = serials[0].children(what) if len(serials) == 1 else []
    if len(parts) != 2:
        raise VerificationError(f"{what} of a package signature has issuer and serial number", code="wrong-kind")
    issuer, serial = _issuer_and_serial(signer.certificate)
    names = [name.content for name in parts[0].expect(asn1.SEQUENCE, what).children(what) if name.tag == 0xA4]
    if names != [issuer] or parts[1].encoded != serial:
        raise VerificationError(f"{what} names another certificate", code="wrong-certificate")


def _issuer_and_serial(certificate: bytes) -> tuple[bytes, bytes]:
    """Complete encodings (RFC 5280 4.1); the certificate was parsed before."""
    what = "certificate"
    fields = asn1.single(certificate, asn1.SEQUENCE, what).children(what)[0].children(what)
    fields = fields[1:] if fields[0].tag == 0xA0 else fields
    return fields[2].encoded, fields[0].encoded


def _certified_by(certificate: bytes) -> str:
    what = "certificate"
    algorithm = asn1.single(certificate, asn1.SEQUENCE, what).children(what)[1]
    return asn1.oid(algorithm.children(what)[0], what)
