# SPDX-License-Identifier: Apache-2.0
"""Reader of Windows catalogs (``.cat``), sharing nothing with the writer.

No specification describes them. A catalog is PKCS #7 SignedData over a certificate trust list; messageDigest covers the
list without its tag and length. What is *not* covered by a signature that is found to hold: unsigned attributes
(timestamp tokens, which are checked on their own), and of the certificates in the structure all but the signer's.
Whether a file is the one that a catalog names is not asked here: the members are listed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from signwright.errors import FormatError, VerificationError
from signwright.model.digest import Digest
from signwright.model.view import View
from signwright.readers import asn1, authenticode, cms
from signwright.readers.asn1 import Node
from signwright.readers.base import Reading

MAX_MEMBERS = 100_000
#: Members that a finding lists; it tells how many more there are.
LISTED = 20

_TRUST_LIST = "1.3.6.1.4.1.311.10.1"
_CATALOG_LIST = "1.3.6.1.4.1.311.12.1.1"
_MEMBERS = {"1.3.6.1.4.1.311.12.1.2": "1", "1.3.6.1.4.1.311.12.1.3": "2"}
_NAME_VALUE = "1.3.6.1.4.1.311.12.2.1"
_INFOS = {"1.3.6.1.4.1.311.12.2.2", "1.3.6.1.4.1.311.12.2.3"}
_INDIRECT_DATA = "1.3.6.1.4.1.311.2.1.4"
_BMP_STRING = 0x1E
#: Flag of a value that was given in base64: bytes, not text in UTF-16.
_BASE64 = 0x00020000
_LENGTHS = {"sha1": 20, "sha256": 32, "sha384": 48, "sha512": 64}
_SIGNED_DATA = bytes.fromhex("06092a864886f70d010702a0")
_MARKS = (bytes.fromhex("06092b0601040182370a01a0"), bytes.fromhex("060a2b060104018237 0c0101"))


@dataclass(frozen=True, slots=True)
class _Member:
    algorithm: str
    digest: bytes
    file: str
    is_described: bool

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.digest.hex()}" + (f" {self.file}" if self.file else "")


class CatalogReader:
    """Implements `signwright.readers.base.Reader`."""

    name = "catalog"

    def recognizes(self, view: View) -> bool:
        head = view.read(0, min(view.size, 256))
        return head[:1] == b"\x30" and _SIGNED_DATA in head[:20] and all(mark in head for mark in _MARKS)

    def read(self, view: View, content: View | None = None) -> Reading:
        """The signature of the catalog, its members among the notes; none of an unsigned one.

        `VerificationError` for a signature that does not hold, or whose digest is SHA-1 or MD5.
        """
        if content is not None:
            raise FormatError("a catalog carries its list inside, there is no content beside it")
        encoding = _take(view)
        listed, is_signed = _outside(encoding)
        version, members = _read_list(listed)
        warnings = tuple(_warnings(members))
        stripped = hashlib.sha256(listed.encoded).hexdigest()
        if not is_signed:
            return Reading(self.name, (), stripped, warnings)
        signed = cms.parse(encoding)
        signer = signed.only_signer
        if signed.content_type != _TRUST_LIST or signed.encapsulated != listed.encoded:
            raise VerificationError("the signature is over something else than the list", code="wrong-kind")
        if signer.nested:
            raise FormatError("a signature nested in that of a catalog, which Windows does not read")
        _check_order(encoding)
        cms.check_embedded(signed, signer)
        found = cms.found_signature(
            signed,
            signer,
            format_name=self.name,
            purpose="authenticode",
            content_digest=Digest.of(listed.content, signer.digest_algorithm),
            notes={**_notes(version, members), **authenticode.opus_notes(signer)},
        )
        return Reading(self.name, (found,), stripped, warnings)

    def stripped(self, view: View) -> str:
        """See `signwright.readers.base.Stripper`: SHA-256 of the list's complete encoding."""
        listed, _ = _outside(_take(view))
        _read_list(listed)
        return hashlib.sha256(listed.encoded).hexdigest()


def _take(view: View) -> bytes:
    if view.size > cms.MAX_ENVELOPE:
        raise FormatError(f"catalog of {view.size} bytes, at most {cms.MAX_ENVELOPE} are read", code="too-large")
    return view.read(0, view.size)


def _fields(encoding: bytes) -> list[Node]:
    """Of SignedData: version, digestAlgorithms, content, perhaps certificates and revocation lists, signerInfos."""
    what = "catalog"
    info = asn1.single(encoding, asn1.SEQUENCE, what).children(what)
    if len(info) != 2 or asn1.oid(info[0], what) != cms.SIGNED_DATA:
        raise FormatError("not a catalog: no SignedData", code="not-a-catalog")
    body = info[1].expect(0xA0, what).children(what)
    fields = body[0].expect(asn1.SEQUENCE, what).children(what) if len(body) == 1 else []
    tags = [field.tag for field in fields]
    head = [asn1.INTEGER, asn1.SET, asn1.SEQUENCE]
    if tags not in ([*head, asn1.SET], [*head, 0xA0, asn1.SET], [*head, 0xA0, 0xA1, asn1.SET]):
        raise FormatError("not a catalog: SignedData of another shape", code="not-a-catalog")
    if asn1.integer(fields[0], what) != 1:
        raise FormatError("not a catalog: SignedData of another version than 1", code="not-a-catalog")
    return fields


def _outside(encoding: bytes) -> tuple[Node, bool]:
    """The list, and whether there are signers."""
    fields = _fields(encoding)
    content = fields[2].children("content")
    if len(content) != 2 or asn1.oid(content[0], "content") != _TRUST_LIST:
        raise FormatError("not a catalog: the content is no trust list", code="not-a-catalog")
    held = content[1].expect(0xA0, "content").children("content")
    if len(held) != 1:
        raise FormatError("content holds more than one value", offset=content[1].offset)
    return held[0].expect(asn1.SEQUENCE, "list"), bool(fields[-1].content)


def _check_order(encoding: bytes) -> None:
    """Windows refuses catalogs whose sets are not in the order of DER; other verifiers do not look."""
    fields = _fields(encoding)
    signers = fields[-1].children("signerInfos")
    attributes = [part for signer in signers for part in signer.children("SignerInfo") if part.tag == 0xA0]
    for held in (*fields[3:], *attributes):
        before = b""
        for element in held.children("set"):
            if element.encoded < before:
                raise FormatError("a set is not in the order of DER", offset=element.offset, code="not-der")
            before = element.encoded


def _each(node: Node, what: str) -> Iterator[Node]:
    """The elements inside, also of a list with more of them than `asn1.Node.children` takes."""
    base, at = node.offset + len(node.encoded) - len(node.content), 0
    while at < len(node.content):
        element = asn1.node_at(node.content, at, what, base=base)
        yield element
        at += len(element.encoded)


def _read_list(listed: Node) -> tuple[str, list[_Member]]:
    """Version and members of a certificate trust list that is a catalog."""
    what = "list"
    fields = listed.children(what)
    tags = [asn1.SEQUENCE, asn1.OCTET_STRING, asn1.UTC_TIME, asn1.SEQUENCE, asn1.SEQUENCE]
    if [field.tag for field in fields] not in (tags, [*tags, 0xA0]):
        raise FormatError("the list has fields that a catalog does not have", offset=listed.offset)
    if [asn1.oid(usage, "usage") for usage in fields[0].children("usage")] != [_CATALOG_LIST]:
        raise VerificationError("the list is no catalog but a list for another use", code="wrong-kind")
    asn1.time(fields[2], "time")
    version = _MEMBERS.get(asn1.algorithm(fields[3], "members' algorithm"))
    if version is None:
        raise FormatError("members are named in an unknown way", offset=fields[3].offset)
    members: list[_Member] = []
    for node in _each(fields[4], "members"):
        if len(members) == MAX_MEMBERS:
            raise FormatError(f"more than {MAX_MEMBERS} members", offset=node.offset, code="too-large")
        members.append(_member(node))
    if not members:
        raise FormatError("the catalog has no members", offset=fields[4].offset, code="no-members")
    return version, members


def _member(node: Node) -> _Member:
    what = "member"
    fields = node.expect(asn1.SEQUENCE, what).children(what)
    if len(fields) != 2:
        raise FormatError("member is not a name and attributes", offset=node.offset)
    claims = set(_claims_of_name(fields[0].expect(asn1.OCTET_STRING, what).content))
    file, kinds, before = "", set(), b""
    for attribute in fields[1].expect(asn1.SET, what).children(what):
        if attribute.encoded < before:
            raise FormatError("attributes are not in the order of DER", offset=attribute.offset, code="not-der")
        before = attribute.encoded
        parts = attribute.expect(asn1.SEQUENCE, what).children(what)
        if len(parts) != 2:
            raise FormatError("attribute is not type and values", offset=attribute.offset)
        kind = asn1.oid(parts[0], what)
        kinds.add(kind)
        for value in parts[1].expect(asn1.SET, what).children(what):
            if kind == _INDIRECT_DATA:
                claims.add(_claim_of_data(value))
            elif kind == _NAME_VALUE:
                file = _file_name(value) or file
    if len(claims) != 1:
        raise FormatError("member with no digest, or with several", offset=node.offset, code="member-digest")
    algorithm, digest = claims.pop()
    return _Member(algorithm, digest, file, is_described=not kinds.isdisjoint(_INFOS))


def _claims_of_name(name: bytes) -> Iterator[tuple[str, bytes]]:
    """A name is a digest, the same in hexadecimal as UTF-16 with a zero behind, or any other label in UTF-16."""
    is_text = name.endswith(b"\0\0") and not any(name[1::2]) and all(name[:-2:2])
    try:
        text = bytes.fromhex(name.decode("utf-16-le").rstrip("\0"))
    except ValueError:
        text = b""
    for algorithm, length in _LENGTHS.items():
        if length == len(name) and not is_text:
            yield algorithm, name
        elif length == len(text):
            yield algorithm, text


def _claim_of_data(value: Node) -> tuple[str, bytes]:
    what = "indirect data"
    fields = value.expect(asn1.SEQUENCE, what).children(what)
    info = fields[1].expect(asn1.SEQUENCE, what).children(what) if len(fields) == 2 else []
    if len(info) != 2:
        raise FormatError("indirect data of a member does not parse", offset=value.offset)
    algorithm = cms.DIGESTS.get(asn1.algorithm(info[0], what), "")
    digest = info[1].expect(asn1.OCTET_STRING, what).content
    if _LENGTHS.get(algorithm) != len(digest):
        raise FormatError("a member's digest is of an unknown kind or length", offset=value.offset)
    return algorithm, digest


def _file_name(value: Node) -> str:
    """What the attribute ``File`` says, as it may be printed; "" of another attribute."""
    what = "attribute"
    fields = value.expect(asn1.SEQUENCE, what).children(what)
    if [field.tag for field in fields] != [_BMP_STRING, asn1.INTEGER, asn1.OCTET_STRING]:
        raise FormatError("attribute is not name, flags and value", offset=value.offset)
    if fields[0].content != "File".encode("utf-16-be"):
        return ""
    codec = "ascii" if asn1.integer(fields[1], what) & _BASE64 else "utf-16-le"
    return authenticode.shown(fields[2].content.decode(codec, "replace").rstrip("\0")[:260])


def _warnings(members: list[_Member]) -> Iterator[str]:
    weak = sum(member.algorithm == "sha1" for member in members)
    if weak:
        yield f"{weak} of {len(members)} members are SHA-1 digests, which another file can be given"
    vague = sum(not member.is_described for member in members)
    if vague:
        yield f"{vague} of {len(members)} members do not say what kind of file they are"


def _notes(version: str, members: list[_Member]) -> dict[str, str]:
    notes = {"catalog_version": version, "members": str(len(members))}
    notes |= {f"member {number}": str(member) for number, member in enumerate(members[:LISTED], start=1)}
    if len(members) > LISTED:
        notes["more_members"] = str(len(members) - LISTED)
    return notes
