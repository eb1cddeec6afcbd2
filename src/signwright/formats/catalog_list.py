# SPDX-License-Identifier: Apache-2.0
"""What a Windows catalog says: a certificate trust list whose subjects are files, known by their digests.

No specification describes it; what is read here is what catalogs that MakeCat wrote and those that Windows ships have
in common (``docs/formats/catalog.md``). Windows wants catalogs in DER to the order of their sets (X.690 11.6).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from signwright.envelopes import der
from signwright.errors import FormatError, MalformedError

MAX_MEMBERS = 50_000
CATALOG_LIST = "1.3.6.1.4.1.311.12.1.1"
#: Algorithm of the members' names → version of the catalog.
VERSIONS = {"1.3.6.1.4.1.311.12.1.2": 1, "1.3.6.1.4.1.311.12.1.3": 2}
NAME_VALUE, MEMBER_INFO, MEMBER_INFO_2 = (f"1.3.6.1.4.1.311.12.2.{number}" for number in (1, 2, 3))
INDIRECT_DATA = "1.3.6.1.4.1.311.2.1.4"
BMP_STRING = 0x1E
_BASE64 = 0x00020000

_SIZES = {20: "sha1", 32: "sha256", 48: "sha384", 64: "sha512"}
_DIGESTS = {
    der.oid("1.3.14.3.2.26"): "sha1",
    der.oid("2.16.840.1.101.3.4.2.1"): "sha256",
    der.oid("2.16.840.1.101.3.4.2.2"): "sha384",
    der.oid("2.16.840.1.101.3.4.2.3"): "sha512",
}
_VERSIONS = {der.oid(name) + der.NULL: version for name, version in VERSIONS.items()}
_KNOWN = {der.oid(name): name for name in (NAME_VALUE, MEMBER_INFO, MEMBER_INFO_2, INDIRECT_DATA)}


@dataclass(frozen=True, slots=True)
class Member:
    """One file. ``values``: name → text of its attributes, among them ``File`` and ``OSAttr``."""

    algorithm: str
    digest: bytes
    values: dict[str, str]


@dataclass(frozen=True, slots=True)
class CatalogList:
    """``values``: name → text of the attributes of the catalog as a whole (``OS``, ``HWID1`` …)."""

    version: int
    members: tuple[Member, ...]
    values: dict[str, str]


def read_list(encoding: bytes, offset: int) -> CatalogList:
    """``encoding``: complete, as it stands in the file at ``offset``. Raises `FormatError` for what is no catalog, has
    no members, or says two things of a member.
    """
    try:
        fields = list(islice(der.each(der.read_one(encoding, der.SEQUENCE).content), 7))
        tags = [der.SEQUENCE, der.OCTET_STRING, der.UTC_TIME, der.SEQUENCE, der.SEQUENCE]
        if [field.tag for field in fields] not in (tags, [*tags, 0xA0]):
            raise MalformedError("fields that a catalog does not have")
        if fields[0].content != der.oid(CATALOG_LIST):
            raise MalformedError("a trust list for another use")
        version = _VERSIONS.get(fields[3].content)
        if version is None:
            raise MalformedError("members named in an unknown way")
        members = tuple(_member(element) for element in islice(der.each(fields[4].content), MAX_MEMBERS + 1))
        if not members:
            raise FormatError("the catalog has no members: it would vouch for nothing", code="no-members")
        if len(members) > MAX_MEMBERS:
            raise FormatError(f"more than {MAX_MEMBERS} members", code="too-large")
        return CatalogList(version, members, _extensions(fields[5:]))
    except FormatError:
        raise
    except MalformedError as problem:
        raise FormatError(f"not a catalog: {problem.message}", offset=offset, code="bad-catalog") from problem


def _member(element: der.Element) -> Member:
    name, attributes = _parts(element, der.OCTET_STRING, der.SET)
    values: dict[str, str] = {}
    claimed: list[tuple[str, bytes]] = []
    has_info = False
    for attribute in _in_order(attributes):
        kind, held = _parts(attribute, der.OID, der.SET)
        known = _KNOWN.get(kind.encoded)
        for value in _in_order(held):
            if known == NAME_VALUE:
                label, text = _name_value(value)
                values.setdefault(label, text)
            elif known == INDIRECT_DATA:
                claimed.append(_indirect_digest(value))
        has_info = has_info or known in (MEMBER_INFO, MEMBER_INFO_2)
    if not has_info:
        raise FormatError(f"member {_shown(name)} does not say what kind of file it is", code="no-member-info")
    algorithm, digest = _digest(name, claimed)
    return Member(algorithm, digest, values)


def _digest(name: der.Element, claimed: Sequence[tuple[str, bytes]]) -> tuple[str, bytes]:
    """The one digest of a member: of its indirect data, of its name, or of both when they say the same."""
    named = digest_in_name(name.content)
    said = {*claimed, *([named] if named else [])}
    if len(said) != 1:
        found = "no digest" if not said else "several digests"
        raise FormatError(f"member {_shown(name)} has {found}", code="member-digest")
    return said.pop()


def digest_in_name(name: bytes) -> tuple[str, bytes] | None:
    """Algorithm and digest when the name is one: as it is, or as text in UTF-16 with its zero. Else None: a label.

    A label of as many bytes as a digest has is told by its zeros, which no digest has that anybody could find.
    """
    is_text = name[-2:] == b"\0\0" and not any(name[1::2]) and all(name[:-2:2])
    if len(name) in _SIZES and not is_text:
        return _SIZES[len(name)], name
    try:
        value = bytes.fromhex(name.decode("utf-16-le").removesuffix("\0"))
    except ValueError:
        return None
    return (_SIZES[len(value)], value) if len(value) in _SIZES else None


def _indirect_digest(value: der.Element) -> tuple[str, bytes]:
    """SpcIndirectDataContent ::= SEQUENCE { kind, DigestInfo }."""
    _, info = _parts(value, der.SEQUENCE, der.SEQUENCE)
    algorithm, digest = _parts(info, der.SEQUENCE, der.OCTET_STRING)
    fields = list(islice(der.each(algorithm.content), 3))
    name = _DIGESTS.get(fields[0].encoded) if fields else None
    if name is None or [field.encoded for field in fields[1:]] not in ([], [der.NULL]):
        raise FormatError("a member's digest is of an unknown kind", code="member-digest")
    if _SIZES.get(len(digest.content)) != name:
        raise FormatError(f"a member's {name} digest has {len(digest.content)} bytes", code="member-digest")
    return name, digest.content


def _extensions(fields: Sequence[der.Element]) -> dict[str, str]:
    values: dict[str, str] = {}
    for field in fields:
        for extension in der.each(der.read_one(field.content, der.SEQUENCE).content):
            kind, held = _parts(extension, der.OID, der.OCTET_STRING)
            if _KNOWN.get(kind.encoded) == NAME_VALUE:
                label, text = _name_value(der.read_one(held.content, der.SEQUENCE))
                values.setdefault(label, text)
    return values


def _name_value(value: der.Element) -> tuple[str, str]:
    """CatNameValue ::= SEQUENCE { name BMPString, flags INTEGER, value OCTET STRING }; the value is text in UTF-16-LE
    or, with the flag of base64, bytes of any kind.
    """
    name, flags, text = _parts(value, BMP_STRING, der.INTEGER, der.OCTET_STRING)
    codec = "ascii" if int.from_bytes(flags.content, "big") & _BASE64 else "utf-16-le"
    return name.content.decode("utf-16-be", "replace"), text.content.decode(codec, "replace").removesuffix("\0")


def _parts(element: der.Element, *tags: int) -> list[der.Element]:
    parts = list(islice(der.each(element.content), len(tags) + 1)) if element.tag == der.SEQUENCE else []
    if tuple(part.tag for part in parts) != tags:
        raise MalformedError("a member, an attribute or a value of another shape")
    return parts


def _in_order(held: der.Element) -> Iterator[der.Element]:
    """The elements of a SET OF, which stand in the order of DER."""
    before = b""
    for element in der.each(held.content):
        if element.encoded < before:
            raise FormatError("a set is not in the order that Windows wants of catalogs (DER)", code="not-der")
        before = element.encoded
        yield element


def _shown(name: der.Element) -> str:
    return name.content[:40].hex()
