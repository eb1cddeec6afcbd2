# SPDX-License-Identifier: Apache-2.0
"""Make an unsigned catalog of version 2 from files: members are known by SHA-256, and by nothing weaker.

Programs are members by the digest of their image (without signature and CheckSum), all other files by that of their
bytes. The form is that of catalogs which MakeCat wrote (``docs/formats/catalog.md``).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from signwright.containers.cab_layout import MARK as CABINET
from signwright.envelopes import der
from signwright.errors import FormatError
from signwright.formats.catalog import MAX_SIZE, unsigned
from signwright.formats.catalog_list import BMP_STRING, CATALOG_LIST, INDIRECT_DATA, MEMBER_INFO_2, NAME_VALUE
from signwright.formats.pe_layout import pe_offset, read_layout
from signwright.model.text import first_bad_character
from signwright.model.view import View, blocks

MAX_FILES = 10_000
MAX_HARDWARE_IDS = 10_000
MAX_TEXT = 260
_VERSION_2 = "1.3.6.1.4.1.311.12.1.3"
_SHA256 = "2.16.840.1.101.3.4.2.1"
_PE_IMAGE_DATA, _CAB_DATA = "1.3.6.1.4.1.311.2.1.15", "1.3.6.1.4.1.311.2.1.25"
#: Part of what is signed, text as it stands there: what MakeCat writes for a plain attribute.
_FLAGS = 0x10010001
#: SpcLink, the choice ``file``, empty.
_NO_FILE = der.explicit(2, der.implicit(0, b""))
#: How catalogs name a Windows version, as in drivers that Windows ships, and the version for members' ``OSAttr``.
_VERSIONS = (
    (re.compile(r"(Server)?_v100(_[A-Za-z0-9]+)*"), "2:10.0"),
    (re.compile(r"_v63(_Server)?(_[A-Za-z0-9]+)*"), "2:6.3"),
    (re.compile(r"(8|Server2012)X(64|86)"), "2:6.2"),
    (re.compile(r"(7|Server2008R2)X(64|86)"), "2:6.1"),
)
#: Names of Inf2Cat that everybody knows.
_ALIASES = {"10_X64": "_v100_X64", "10_X86": "_v100", "10_ARM64": "_v100_ARM64"}


@dataclass(frozen=True, slots=True)
class CatalogFile:
    """One file as a member. ``digest``: SHA-256."""

    name: str
    digest: bytes
    is_program: bool


def catalog_file(name: str, view: View) -> CatalogFile:
    """Read ``view`` once. Raises `FormatError` for a file whose digest verifiers would not agree on."""
    if pe_offset(view) is not None:
        return CatalogFile(name, _image_digest(name, view), is_program=True)
    if view.size >= len(CABINET) and view.read(0, len(CABINET)) == CABINET:
        raise FormatError(f"{name}: a cabinet, which Windows looks up by another digest than that of its bytes")
    digest = hashlib.sha256()
    for block in blocks(view, 0, view.size):
        digest.update(block)
    return CatalogFile(name, digest.digest(), is_program=False)


def _image_digest(name: str, view: View) -> bytes:
    """Padded with zeros to 8 bytes, as the specification of Authenticode says and MakeCat does; unsigned programs of
    other sizes are found by that digest on Windows and with osslsigncode, not with signify.
    """
    layout = read_layout(view)
    if layout.behind_table:
        raise FormatError(f"{name}: bytes behind the certificate table", offset=layout.size - layout.behind_table)
    digest = hashlib.sha256()
    for start, end in layout.signed_ranges:
        for block in blocks(view, start, end - start):
            digest.update(block)
    digest.update(bytes(-layout.content_size % 8))
    return digest.digest()


def windows_version(name: str) -> tuple[str, str]:
    """As catalogs name it and the number of the version (``_v100_X64``, ``2:10.0``); raises `FormatError`."""
    text = _ALIASES.get(name.upper(), name)
    for pattern, number in _VERSIONS:
        if pattern.fullmatch(text):
            return text, number
    raise FormatError(
        f"no name of a Windows version: {name[:60]!r}", code="unknown-os", hint="10_X64, 10_ARM64, _v100_X64_22H2 …"
    )


def make_catalog(
    files: Sequence[CatalogFile], *, systems: Sequence[str], hardware_ids: Sequence[str], moment: datetime
) -> bytes:
    """The unsigned catalog. ``systems``: names for `windows_version`; ``moment``: aware, of this list.

    The same arguments give the same bytes: the identifier of the list is a digest of what is in it. Two files with one
    digest are one member, under the name that comes first. Raises `FormatError`.
    """
    if not files or len(files) > MAX_FILES or len(hardware_ids) > MAX_HARDWARE_IDS:
        raise FormatError(f"a catalog of {len(files)} files and {len(hardware_ids)} hardware ids", code="too-large")
    for text in (*hardware_ids, *(file.name for file in files)):
        if not 0 < len(text) <= MAX_TEXT or first_bad_character(text) is not None:
            raise FormatError(f"{text[:60]!r} does not go into a catalog", code="bad-text")
    versions = sorted({windows_version(name) for name in systems})
    numbers = ",".join(sorted({number for _, number in versions}))
    known: dict[bytes, CatalogFile] = {}
    for file in sorted(files, key=lambda one: one.name):
        known.setdefault(file.digest, file)
    members = b"".join(sorted(_member(file, numbers) for file in known.values()))
    extensions = _extensions([name for name, _ in versions], hardware_ids)
    identifier = hashlib.sha256(der.sequence(members) + extensions + der.time(moment)).digest()[:16]
    encoding = der.sequence(
        der.sequence(der.oid(CATALOG_LIST)),
        der.octet_string(identifier),
        der.time(moment),
        der.sequence(der.oid(_VERSION_2), der.NULL),
        der.sequence(members),
        extensions,
    )
    catalog = unsigned(encoding)
    if len(catalog) > MAX_SIZE or not 1950 <= moment.year <= 2049:
        raise FormatError(f"a catalog of {len(catalog)} bytes from {moment.year} cannot be signed", code="too-large")
    return catalog


def _member(file: CatalogFile, versions: str) -> bytes:
    info = der.implicit(0 if file.is_program else 2, b"")
    attributes = [
        _attribute(MEMBER_INFO_2, info),
        _attribute(INDIRECT_DATA, _indirect_data(file)),
        _attribute(NAME_VALUE, _name_value("File", file.name)),
    ]
    if versions:
        attributes.append(_attribute(NAME_VALUE, _name_value("OSAttr", versions)))
    return der.sequence(der.octet_string(file.digest), der.set_of(attributes))


def _indirect_data(file: CatalogFile) -> bytes:
    """SpcIndirectDataContent; the flags of an image are those that MakeCat writes."""
    image = der.sequence(der.tlv(der.BIT_STRING, b"\x05\xa0"), der.explicit(0, _NO_FILE))
    kind = (
        der.sequence(der.oid(_PE_IMAGE_DATA), image) if file.is_program else der.sequence(der.oid(_CAB_DATA), _NO_FILE)
    )
    info = der.sequence(der.sequence(der.oid(_SHA256), der.NULL), der.octet_string(file.digest))
    return der.sequence(kind, info)


def _extensions(systems: Sequence[str], hardware_ids: Sequence[str]) -> bytes:
    rows = [("OS", ",".join(systems))] if systems else []
    rows += [(f"HWID{n}", text) for n, text in enumerate(sorted({one.lower() for one in hardware_ids}), start=1)]
    if not rows:
        return b""
    listed = (der.sequence(der.oid(NAME_VALUE), der.octet_string(_name_value(*row))) for row in rows)
    return der.explicit(0, der.sequence(*listed))


def _attribute(kind: str, value: bytes) -> bytes:
    return der.sequence(der.oid(kind), der.set_of([value]))


def _name_value(name: str, value: str) -> bytes:
    text = (value + "\0").encode("utf-16-le")
    return der.sequence(der.tlv(BMP_STRING, der.bmp_content(name)), der.integer(_FLAGS), der.octet_string(text))
