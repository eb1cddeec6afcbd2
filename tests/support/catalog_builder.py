# SPDX-License-Identifier: Apache-2.0
"""Catalogs as MakeCat leaves them, and odd ones."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from signwright.envelopes import der
from signwright.formats.catalog import CatalogFormat
from tests.support.pki import Identity
from tests.support.signed_files import sign as sign_file

TRUST_LIST, SIGNED_DATA = "1.3.6.1.4.1.311.10.1", "1.2.840.113549.1.7.2"
CATALOG_LIST = "1.3.6.1.4.1.311.12.1.1"
NAME_VALUE, MEMBER_INFO, MEMBER_INFO_2 = (f"1.3.6.1.4.1.311.12.2.{n}" for n in (1, 2, 3))
INDIRECT_DATA, CAB_DATA = "1.3.6.1.4.1.311.2.1.4", "1.3.6.1.4.1.311.2.1.25"
DIGESTS = {"sha1": "1.3.14.3.2.26", "sha256": "2.16.840.1.101.3.4.2.1", "md5": "1.2.840.113549.2.5"}
TEXT = 0x10010001
FLAT = "{DE351A42-8E59-11D0-8C47-00C04FC295EE}"
WHEN = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


def name_value(name: str, value: str, flags: int = TEXT) -> bytes:
    text = (value + "\0").encode("utf-16-le") if not flags & 0x20000 else value.encode()
    return der.sequence(der.tlv(0x1E, name.encode("utf-16-be")), der.integer(flags), der.octet_string(text))


def attribute(kind: str, *values: bytes) -> bytes:
    return der.sequence(der.oid(kind), der.set_of(values))


def indirect(algorithm: str, digest: bytes) -> bytes:
    """SpcIndirectDataContent of a file that Windows digests as it is."""
    kind = der.sequence(der.oid(CAB_DATA), der.explicit(2, der.implicit(0, b"")))
    info = der.sequence(der.sequence(der.oid(DIGESTS[algorithm]), der.NULL), der.octet_string(digest))
    return der.sequence(kind, info)


@dataclass(frozen=True)
class Member:
    """One file; ``tag`` and ``attributes`` replace what is usual."""

    content: bytes = b"content"
    algorithm: str = "sha256"
    values: Sequence[tuple[str, str]] = (("File", "a.inf"), ("OSAttr", "2:10.0"))
    tag: bytes | None = None
    attributes: Sequence[bytes] | None = None

    @property
    def digest(self) -> bytes:
        return hashlib.new(self.algorithm, self.content).digest()

    def build(self, version: int) -> bytes:
        text = (self.digest.hex().upper() + "\0").encode("utf-16-le")
        tag = self.tag if self.tag is not None else self.digest if version == 2 else text
        info = (
            attribute(MEMBER_INFO_2, der.implicit(2, b""))
            if version == 2
            else attribute(MEMBER_INFO, der.sequence(der.tlv(0x1E, FLAT.encode("utf-16-be")), der.integer(0x200)))
        )
        usual = [
            info,
            attribute(INDIRECT_DATA, indirect(self.algorithm, self.digest)),
            *(attribute(NAME_VALUE, name_value(*row)) for row in self.values),
        ]
        return der.sequence(der.octet_string(tag), der.set_of(usual if self.attributes is None else self.attributes))


SHA1_NAME = Member(algorithm="sha1", attributes=[attribute(MEMBER_INFO_2, der.implicit(2, b""))])


@dataclass(frozen=True)
class Cat:
    """A catalog; each field replaces what MakeCat writes."""

    members: Sequence[Member] = (Member(), Member(b"another", values=(("File", "b.dll"),)), SHA1_NAME)
    version: int = 2
    values: Sequence[tuple[str, str]] = (("OS", "_v100_X64"), ("HWID1", r"root\example"))
    usage: str = CATALOG_LIST
    behind_signers: bytes = b""
    outer_version: int = 1
    content_type: str = TRUST_LIST
    extra_fields: bytes = b""
    algorithm: bytes | None = None
    member_bytes: bytes | None = None
    certificates: Sequence[bytes] = field(default_factory=tuple)

    def list(self) -> bytes:
        """The certificate trust list, complete."""
        algorithm = der.oid(f"1.3.6.1.4.1.311.12.1.{self.version + 1}") + der.NULL
        rows = [der.sequence(der.oid(NAME_VALUE), der.octet_string(name_value(*row))) for row in self.values]
        members = b"".join(sorted(member.build(self.version) for member in self.members))
        return der.sequence(
            der.sequence(der.oid(self.usage)),
            der.octet_string(hashlib.sha256(members).digest()[:16]),
            der.time(WHEN),
            der.sequence(self.algorithm if self.algorithm is not None else algorithm),
            der.sequence(members if self.member_bytes is None else self.member_bytes),
            der.explicit(0, der.sequence(*rows)) if rows else b"",
            self.extra_fields,
        )

    def build(self) -> bytes:
        content = der.sequence(der.oid(self.content_type), der.explicit(0, self.list()))
        certificates = der.set_of(self.certificates, tag=0xA0) if self.certificates else b""
        fields = der.integer(self.outer_version), der.set_of([]), content, certificates, der.set_of([])
        return der.sequence(der.oid(SIGNED_DATA), der.explicit(0, der.sequence(*fields))) + self.behind_signers


SHAPES = {
    "version-2": Cat(),
    "version-2-without-sha1": Cat(members=(Member(), Member(b"b"))),
    "one-member": Cat(members=(Member(),)),
    "no-extensions": Cat(values=()),
    "no-attributes": Cat(members=(Member(values=()),), values=()),
    "name-is-a-label": Cat(members=(Member(tag="label\0".encode("utf-16-le")),)),
    "name-as-long-as-a-digest": Cat(members=(Member(tag="driver.sys file\0".encode("utf-16-le")),)),
    "base64-value": Cat(
        members=(Member(values=(("File", "a.msi", TEXT | 0x20000),)),),  # type: ignore[arg-type]
    ),
}
#: Signed with the option ``sha1`` alone.
SHA1_SHAPES = {
    "version-1": Cat(version=1, members=(Member(algorithm="sha1"),)),
    "version-2-of-sha1": Cat(members=(SHA1_NAME,)),
}


def many_members(count: int = 1500) -> Cat:
    """More than a list of certificates would have."""
    return Cat(members=[Member(number.to_bytes(4, "big")) for number in range(count)])


def small_catalog() -> bytes:
    return Cat().build()


def sign(source: bytes, signer: Identity | None = None, **options: object) -> bytes:
    return sign_file(CatalogFormat(), source, signer, **options)
