# SPDX-License-Identifier: Apache-2.0
"""The broken and the good catalogs in ``testvectors/catalog``; ``python -m tests.support.catalog_vectors`` writes them.

A signed file cannot be made twice (keys are thrown away): it is written only when it is not there.
"""

from __future__ import annotations

from pathlib import Path

from signwright.envelopes import der
from tests.support.catalog_builder import (
    CATALOG_LIST,
    INDIRECT_DATA,
    MEMBER_INFO_2,
    NAME_VALUE,
    SHA1_SHAPES,
    SHAPES,
    SIGNED_DATA,
    Cat,
    Member,
    attribute,
    indirect,
    name_value,
    sign,
)
from tests.support.signed_files import identity

FOLDER = Path(__file__).parents[2] / "testvectors" / "catalog"

_PLAIN = Cat().build()
_INFO = attribute(MEMBER_INFO_2, der.implicit(2, b""))
_DATA = attribute(INDIRECT_DATA, indirect("sha256", Member().digest))
_FILE = attribute(NAME_VALUE, name_value("File", "a.inf"))


def _member(*attributes: bytes, tag: bytes | None = None) -> bytes:
    return Cat(members=(Member(attributes=attributes, tag=tag),)).build()


def _unsorted() -> bytes:
    held = b"".join(sorted((_INFO, _DATA, _FILE), reverse=True))
    return Cat(member_bytes=der.sequence(der.octet_string(Member().digest), der.tlv(der.SET, held))).build()


def _long_length(content: bytes) -> bytes:
    """The same with a length in five octets outside."""
    element = der.read_one(content, der.SEQUENCE)
    return b"\x30\x84" + len(element.content).to_bytes(4, "big") + element.content


def _indefinite(content: bytes) -> bytes:
    return b"\x30\x80" + der.read_one(content, der.SEQUENCE).content + b"\0\0"


#: Defect → (content, code of the error with which signing refuses it).
BROKEN: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "not-a-catalog"),
    "no-der": (b"MZ" + _PLAIN, "not-a-catalog"),
    "truncated": (_PLAIN[:-1], "not-a-catalog"),
    "data-behind": (_PLAIN + b"\0", "not-a-catalog"),
    "long-length": (_long_length(_PLAIN), "not-a-catalog"),
    "indefinite-length": (_indefinite(_PLAIN), "not-a-catalog"),
    "content-alone": (Cat().list(), "not-a-catalog"),
    "data-content": (Cat(content_type="1.2.840.113549.1.7.1").build(), "not-a-catalog"),
    "no-content": (
        der.sequence(
            der.oid(SIGNED_DATA),
            der.explicit(
                0,
                der.sequence(
                    der.integer(1),
                    der.set_of([]),
                    der.sequence(der.oid("1.3.6.1.4.1.311.10.1")),
                    der.set_of([]),
                ),
            ),
        ),
        "not-a-catalog",
    ),
    "signed-data-version-3": (Cat(outer_version=3).build(), "not-a-catalog"),
    "list-for-root-certificates": (Cat(usage="1.3.6.1.4.1.311.10.3.9").build(), "bad-catalog"),
    "members-named-by-sha256-oid": (
        Cat(algorithm=der.oid("2.16.840.1.101.3.4.2.1") + der.NULL).build(),
        "bad-catalog",
    ),
    "fields-behind-extensions": (Cat(extra_fields=der.NULL).build(), "bad-catalog"),
    "zero-members": (Cat(members=()).build(), "no-members"),
    "member-is-a-digest": (Cat(member_bytes=der.octet_string(bytes(32))).build(), "bad-catalog"),
    "member-without-attributes": (Cat(member_bytes=der.sequence(der.octet_string(bytes(32)))).build(), "bad-catalog"),
    "member-info-missing": (_member(_DATA, _FILE), "no-member-info"),
    "member-without-digest": (_member(_INFO, tag="label\0".encode("utf-16-le")), "member-digest"),
    "member-with-empty-name": (_member(_INFO, tag=b""), "member-digest"),
    "name-and-data-differ": (_member(_INFO, _DATA, tag=bytes(32)), "member-digest"),
    "name-as-text-and-data-differ": (
        _member(_INFO, _DATA, tag=("00" * 32 + "\0").encode("utf-16-le")),
        "member-digest",
    ),
    "two-indirect-data": (
        _member(_INFO, attribute(INDIRECT_DATA, indirect("sha256", Member().digest), indirect("sha256", bytes(32)))),
        "member-digest",
    ),
    "digest-md5": (_member(_INFO, attribute(INDIRECT_DATA, indirect("md5", bytes(16)))), "member-digest"),
    "digest-too-short": (_member(_INFO, attribute(INDIRECT_DATA, indirect("sha256", bytes(31)))), "member-digest"),
    "attributes-out-of-order": (_unsorted(), "not-der"),
    "name-value-without-flags": (
        _member(_INFO, _DATA, attribute(NAME_VALUE, der.sequence(der.octet_string(b"x")))),
        "bad-catalog",
    ),
    "sha1-alone": (SHA1_SHAPES["version-1"].build(), "weak-digest"),
    "list-for-another-use": (_PLAIN.replace(der.oid(CATALOG_LIST), der.oid(CATALOG_LIST)[:-1] + b"\2"), "bad-catalog"),
}


def main() -> None:
    for folder in ("good", "broken"):
        (FOLDER / folder).mkdir(parents=True, exist_ok=True)
    for name, shape in {**SHAPES, **SHA1_SHAPES}.items():
        (FOLDER / "good" / f"{name}.cat").write_bytes(shape.build())
    for name, (content, _) in BROKEN.items():
        (FOLDER / "broken" / f"{name}.cat").write_bytes(content)
    signed = FOLDER / "good" / "signed.cat"
    if not signed.exists():
        signed.write_bytes(sign(_PLAIN, identity("p256"), description="Example"))


if __name__ == "__main__":
    main()
