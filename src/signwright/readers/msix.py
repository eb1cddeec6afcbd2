# SPDX-License-Identifier: Apache-2.0
"""Reader of signed MSIX and AppX packages, written from what Windows' tools write and sharing nothing with the writer.

Covered is every byte but the signature's own member and record and, in the end records, its share of the numbers;
the signed digests of content types, block map and catalog cover these once more. *Not* checked: whether the files are
what the block map says (Windows does that when it installs; the digest of all members covers both), the catalog's own
signature, and of the certificates in the structure all but the signer's.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from signwright.errors import FormatError, VerificationError
from signwright.model.digest import ALGORITHMS, Digest
from signwright.model.strict_xml import read_xml
from signwright.model.view import View, Window, blocks
from signwright.readers import authenticode, cms
from signwright.readers.authenticode import shown
from signwright.readers.base import FoundSignature, Reading
from signwright.readers.msix_zip import Archive, read_archive
from signwright.readers.subjects import subject_text
from signwright.readers.zip import Entry, entry_names, read_entry

SIGNATURE, TYPES, BLOCK_MAP = b"AppxSignature.p7x", b"[Content_Types].xml", b"AppxBlockMap.xml"
MANIFEST, BUNDLE = b"AppxManifest.xml", b"AppxMetadata/AppxBundleManifest.xml"
CATALOG = b"AppxMetadata/CodeIntegrity.cat"
MAX_PART = 16 << 20

#: GUIDs of the packages that Windows reads them with, first three numbers little-endian: of a bundle or not.
_PACKAGES = {
    False: bytes.fromhex("4bdfc50a07cee24db76e23c839a09fd1"),
    True: bytes.fromhex("b3585f0fdeaa9a4ba43495742d92eceb"),
}
_TYPE = b'<Override PartName="/AppxSignature.p7x" ContentType="application/vnd.ms-appx.signature"/>'
_METHODS = {
    "http://www.w3.org/2001/04/xmlenc#sha256": "sha256",
    "http://www.w3.org/2001/04/xmldsig-more#sha384": "sha384",
    "http://www.w3.org/2001/04/xmlenc#sha512": "sha512",
}


@dataclass(frozen=True, slots=True)
class _Claim:
    """What the signature says: digests by their mark."""

    signed: cms.SignedData
    algorithm: str
    digests: dict[bytes, bytes]


class MsixReader:
    """Implements `signwright.readers.base.Reader`."""

    name = "msix"

    def recognizes(self, view: View) -> bool:
        try:
            start = view.read(0, 4) == b"PK\3\4"
            names = set(_names(view)) if start else set()
        except FormatError:
            return False
        return TYPES in names and bool({MANIFEST, BUNDLE} & names)

    def read(self, view: View, content: View | None = None) -> Reading:
        """The signature; none in an unsigned package. One that does not hold is `VerificationError`."""
        if content is not None:
            raise FormatError("a package carries its signature inside, there is no content beside it")
        archive, parts = _open(view)
        entry = _signature_entry(archive)
        if entry is None:
            return Reading(self.name, (), self.stripped(view))
        encoded = _content(view, entry)
        if not encoded.startswith(b"PKCX"):
            raise FormatError("the signature does not begin with PKCX", offset=entry.local, code="bad-envelope")
        claim = claimed(cms.parse(encoded[4:]), bundle=BUNDLE in parts)
        members, stripped = _digests(view, archive, entry, claim.algorithm)
        found = {b"AXPC": members, b"AXCD": hashlib.new(claim.algorithm, archive.directory_without(entry)).digest()}
        for mark, name in ((b"AXCT", TYPES), (b"AXBM", BLOCK_MAP), (b"AXCI", CATALOG)):
            if name in parts:
                found[mark] = hashlib.new(claim.algorithm, _content(view, parts[name])).digest()
        _compare(claim.digests, found)
        found_signature = _found(view, parts, claim)
        if BUNDLE in parts:
            self._check_bundled(view, parts, found_signature)
        return Reading(self.name, (found_signature,), stripped)

    def _check_bundled(self, view: View, parts: dict[bytes, Entry], signature: FoundSignature) -> None:
        """Every package in the bundle has a signature that holds, and its publisher is the bundle's."""
        for entry in bundled(view, parts):
            inner = Window(view, entry.data, entry.size)
            signatures = () if BUNDLE in _open(inner)[1] else self.read(inner).signatures
            if {one.notes["publisher"] for one in signatures} != {signature.notes["publisher"]}:
                name = shown(entry.name.decode("ascii", "replace"))
                raise VerificationError(
                    f"{name} in the bundle is not a package signed by the bundle's publisher", code="inner-signature"
                )

    def stripped(self, view: View) -> str:
        """Implements `signwright.readers.base.Stripper`."""
        archive, _ = _open(view)
        return _digests(view, archive, _signature_entry(archive), "sha256")[1]


def _names(view: View) -> Iterable[bytes]:
    try:
        return [entry.name for entry in read_archive(view).entries]
    except FormatError:
        # Somebody else's zip, or a broken package: `read` says what is wrong with it.
        return entry_names(view)


def _open(view: View) -> tuple[Archive, dict[bytes, Entry]]:
    """The archive, and its members by name; all that must be there is."""
    archive = read_archive(view)
    parts = {entry.name: entry for entry in archive.entries}
    missing = {TYPES, BLOCK_MAP, BUNDLE if BUNDLE in parts else MANIFEST} - set(parts)
    if missing or {BUNDLE, MANIFEST} <= set(parts):
        raise FormatError(
            f"the package has no {min(missing, default=b'single manifest').decode()}", code="not-a-package"
        )
    folded = {unquote_to_bytes(name).lower() for name in parts}
    if len(folded) != len(parts):
        raise FormatError("two members of one name for Windows", code="ambiguous-member")
    return archive, parts


def _signature_entry(archive: Archive) -> Entry | None:
    near = [e for e in archive.entries if unquote_to_bytes(e.name).lower() == SIGNATURE.lower()]
    if not near:
        return None
    if near[0] is not archive.entries[-1] or near[0].name != SIGNATURE:
        raise FormatError("the signature is not the last member", offset=near[0].local, code="signature-not-last")
    if near[0].size > cms.MAX_ENVELOPE + 4:
        raise FormatError(f"signature of {near[0].size} bytes", offset=near[0].local, code="too-large")
    return near[0]


def _content(view: View, entry: Entry) -> bytes:
    if entry.size > MAX_PART:
        raise FormatError(f"a part of {entry.size} bytes", offset=entry.local, code="too-large")
    return b"".join(read_entry(view, entry))


def bundled(view: View, parts: dict[bytes, Entry]) -> list[Entry]:
    """The packages that the bundle's manifest lists, each stored where it says. Raises `FormatError`."""
    rows: list[dict[str, str]] = []

    def start(path: tuple[str, ...], attributes: dict[str, str], offset: int) -> None:
        del offset
        namespace = path[0].rpartition(" ")[0]
        if path[1:] == (f"{namespace} Packages", f"{namespace} Package"):
            rows.append(attributes)

    read_xml(_content(view, parts[BUNDLE]), what="AppxBundleManifest.xml", code="bad-manifest", start=start)
    by_name = {unquote_to_bytes(name).replace(b"/", b"\\"): entry for name, entry in parts.items()}
    found = [by_name.get(row.get("FileName", "").encode()) for row in rows]
    listed = [entry for entry in found if entry is not None]
    says = [(row.get("Offset"), row.get("Size")) for row in rows]
    if not listed or len(listed) != len(rows) or says != [(str(e.data), str(e.size)) for e in listed]:
        raise FormatError("the bundle's packages are not where its manifest says", code="bad-bundle")
    names = {entry.name for entry in listed}
    others = [name for name in parts if name.lower().endswith((b".appx", b".msix")) and name not in names]
    if others or any(entry.method for entry in listed) or len(names) != len(listed):
        raise FormatError("a package in the bundle is packed, listed twice or not at all", code="bad-bundle")
    return listed


def claimed(signed: cms.SignedData, *, bundle: bool) -> _Claim:
    """SpcIndirectDataContent of a package; raises `FormatError` and `VerificationError`."""
    what = "signature"
    indirect = authenticode.indirect_data(signed, what)
    if not authenticode.of_package(_PACKAGES[bundle])(indirect, what):
        raise VerificationError("the signature was made for another kind of file", code="wrong-kind")
    if indirect.algorithm not in ALGORITHMS:
        raise VerificationError("the signature's digest is not accepted", code="weak-digest")
    text, width = indirect.digest, 4 + ALGORITHMS[indirect.algorithm]
    rows = [text[at : at + width] for at in range(4, len(text), width)]
    digests = {row[:4]: row[4:] for row in rows}
    if text[:4] != b"APPX" or len(digests) != len(rows) or any(len(row) != width for row in rows):
        raise FormatError("signature: the digests of a package do not parse")
    return _Claim(signed, indirect.algorithm, digests)


def _compare(said: dict[bytes, bytes], found: dict[bytes, bytes]) -> None:
    if set(said) != set(found):
        raise VerificationError("the signature covers other parts than the package has", code="digest-mismatch")
    names = {b"AXPC": "members", b"AXCD": "directory", b"AXCT": "content types", b"AXBM": "block map"}
    for mark, value in found.items():
        if not hmac.compare_digest(said[mark], value):
            what = names.get(mark, "catalog")
            raise VerificationError(f"the package is not what was signed: its {what} differ", code="digest-mismatch")


def _digests(view: View, archive: Archive, signature: Entry | None, algorithm: str) -> tuple[bytes, str]:
    """Of all members but the signature, and the digest of the strip test.

    The latter is of names, attributes, headers and packed bytes of every member; of [Content_Types].xml, which signing
    writes anew, only of the content without the signature's type.
    """
    members, stripped = hashlib.new(algorithm), hashlib.sha256(b"wide" if archive.wide else b"narrow")
    for entry in archive.entries:
        if entry is signature:
            continue
        stripped.update(struct.pack("<Q", len(entry.name)) + entry.name)
        if entry.name == TYPES:
            content = _content(view, entry).replace(_TYPE, b"", 1)
            stripped.update(struct.pack("<Q", len(content)) + content)
        else:
            numbers = (entry.external, entry.crc, entry.packed, entry.size, entry.end - entry.local)
            stripped.update(struct.pack("<2H5Q", entry.flags, entry.method, *numbers))
        for block in blocks(view, entry.local, entry.end - entry.local):
            members.update(block)
            if entry.name != TYPES:
                stripped.update(block)
    return members.digest(), stripped.hexdigest()


def _found(view: View, parts: dict[bytes, Entry], claim: _Claim) -> FoundSignature:
    """The rest that makes it one for Windows: publisher, algorithm of the block map, type of the signature."""
    signer = claim.signed.only_signer
    if signer.nested:
        raise VerificationError("a package has one signature, this one has others nested in it", code="nested")
    manifest, kind = (BUNDLE, "Bundle") if BUNDLE in parts else (MANIFEST, "Package")
    root, identities = _elements(_content(view, parts[manifest]), "manifest", "Identity")
    if root.rpartition(" ")[2] != kind or len(identities) != 1:
        raise FormatError("manifest: of another kind, or not one identity", code="bad-manifest")
    publisher, subject = identities[0].get("Publisher"), subject_text(signer.certificate)
    if publisher != subject:
        raise VerificationError(
            f"the manifest names publisher {shown(str(publisher))}, the certificate is of {shown(subject)}",
            code="wrong-publisher",
        )
    _check_parts(view, parts, claim.algorithm)
    cms.check_embedded(claim.signed, signer)
    notes = {name: identities[0].get(name.title(), "") for name in ("name", "publisher", "version")}
    return cms.found_signature(
        claim.signed,
        signer,
        format_name=MsixReader.name,
        purpose="authenticode",
        content_digest=content_digest(claim.signed),
        notes={**{name: shown(text) for name, text in notes.items()}, **authenticode.opus_notes(signer)},
    )


def content_digest(signed: cms.SignedData) -> Digest:
    """Of everything that is signed, as the signer digested it; some signers do not take the block map's algorithm."""
    algorithm = signed.only_signer.digest_algorithm
    if algorithm not in ALGORITHMS:
        raise VerificationError(f"digest {algorithm} is not accepted", code="weak-digest")
    return Digest.of(signed.content_octets or b"", algorithm)


def _check_parts(view: View, parts: dict[bytes, Entry], algorithm: str) -> None:
    methods: list[str] = []

    def start(path: tuple[str, ...], attributes: dict[str, str], offset: int) -> None:
        del offset
        if len(path) == 1:
            methods.append(attributes.get("HashMethod", ""))

    read_xml(_content(view, parts[BLOCK_MAP]), what="AppxBlockMap.xml", code="bad-block-map", start=start)
    if _METHODS.get(methods[0]) != algorithm:
        raise VerificationError("the signature's digest is not that of the block map", code="wrong-digest")
    _, overrides = _elements(_content(view, parts[TYPES]), "[Content_Types].xml", "Override")
    kinds = [row.get("ContentType") for row in overrides if row.get("PartName", "").lower() == "/appxsignature.p7x"]
    if kinds != ["application/vnd.ms-appx.signature"]:
        raise VerificationError("[Content_Types].xml does not name the signature, so Windows does not look at it")


def _elements(content: bytes, what: str, wanted: str) -> tuple[str, list[dict[str, str]]]:
    """Name of the root, and attributes of those of its children that are named so in its namespace."""
    roots: list[str] = []
    rows: list[dict[str, str]] = []

    def start(path: tuple[str, ...], attributes: dict[str, str], offset: int) -> None:
        del offset
        if len(path) == 1:
            roots.append(path[0])
        elif len(path) == 2 and path[1] == f"{roots[0].rpartition(' ')[0]} {wanted}".strip():
            rows.append(attributes)

    read_xml(content, what=what, code="bad-part", start=start)
    return roots[0], rows
