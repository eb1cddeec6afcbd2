# SPDX-License-Identifier: Apache-2.0
"""Page hashes of a PE as a signature claims them, compared with the file; written from the specification alone.

Source: "Windows Authenticode Portable Executable Signature Format", SpcPeImagePageHashes. Of the two versions the one
with SHA-256 is checked; the one with SHA-1 is only said to be there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from signwright.errors import FormatError, VerificationError
from signwright.model.view import View
from signwright.readers import asn1

MAX_PAGES = 1 << 20
#: The loader's limit.
MAX_SECTIONS = 96
_ROW = 36
_ITANIUM = 0x0200
_CLASS = bytes.fromhex("a6b586d5b4a12466ae05a217da8e60d6")
_SHA1_PAGES, _SHA256_PAGES = "1.3.6.1.4.1.311.2.3.1", "1.3.6.1.4.1.311.2.3.2"


def claimed_pages(image_data: asn1.Node, what: str) -> tuple[str, bytes] | None:
    """The table in an SpcPeImageData and which kind of digest it has (``sha1``, ``sha256``); None without one.

    Raises `FormatError` for a serialized object that is no table of page hashes, or has another one beside it.
    """
    for field in image_data.children(what):
        if field.tag != 0xA0:
            continue
        links = field.children(what)
        if len(links) != 1 or links[0].tag != 0xA1:
            return None
        serialized = links[0].children(what)
        if len(serialized) != 2 or serialized[0].expect(asn1.OCTET_STRING, what).content != _CLASS:
            raise FormatError(f"{what}: a serialized object that is not known", code="page-hashes")
        return _table(serialized[1].expect(asn1.OCTET_STRING, what).content, what)
    return None


def _table(encoded: bytes, what: str) -> tuple[str, bytes]:
    attributes = asn1.single(encoded, asn1.SET, what).children(what)
    parts = attributes[0].expect(asn1.SEQUENCE, what).children(what) if len(attributes) == 1 else []
    values = parts[1].expect(asn1.SET, what).children(what) if len(parts) == 2 else []
    if len(values) != 1:
        raise FormatError(f"{what}: page hashes do not parse", code="page-hashes")
    kind = {_SHA1_PAGES: "sha1", _SHA256_PAGES: "sha256"}.get(asn1.oid(parts[0], what))
    if kind is None:
        raise FormatError(f"{what}: page hashes of another kind", code="page-hashes")
    return kind, values[0].expect(asn1.OCTET_STRING, what).content


@dataclass(frozen=True, slots=True)
class Place:
    """Offsets in the file. ``coff``: of the COFF header; ``end``: of the certificate table."""

    coff: int
    checksum_at: int
    entry_at: int
    end: int


def check_pages(view: View, table: bytes, place: Place) -> None:
    """Compare every row (SHA-256). Costs as much as hashing the file once: no field of it says how much is hashed.

    Raises `VerificationError` when a row differs, is missing or one too many, and `FormatError` for a file whose pages
    verifiers tell differently.
    """
    if len(table) % _ROW or not 2 * _ROW <= len(table) <= _ROW * MAX_PAGES:
        raise FormatError(f"page hashes: a table of {len(table)} bytes", code="page-hashes")
    number = 0
    for found in _pages(view, place):
        if found != table[number : number + _ROW]:
            raise VerificationError(
                f"page {number // _ROW}: the file is not what was signed, its page hash differs",
                code="page-hash-mismatch",
            )
        number += _ROW
    if number != len(table):
        raise VerificationError("the table of page hashes has more pages than the file", code="page-hash-mismatch")


def _pages(view: View, place: Place) -> Iterator[bytes]:
    """Rows as they should be."""
    page, headers = _sizes(view, place)
    sections = _sections(view, place, headers)
    head = view.read(0, headers)
    for at, length in ((place.entry_at, 8), (place.checksum_at, 4)):
        head = head[:at] + head[at + length :]
    # What is left out of the headers is not made up for by zeros; only up to the page's end there are zeros.
    yield bytes(4) + hashlib.sha256(head + bytes(page - headers)).digest()
    end = headers
    for start, end in sections:
        for offset in range(start, end, page):
            content = view.read(offset, min(page, end - offset))
            yield offset.to_bytes(4, "little") + hashlib.sha256(content.ljust(page, b"\0")).digest()
    yield end.to_bytes(4, "little") + bytes(32)


def _sizes(view: View, place: Place) -> tuple[int, int]:
    """Bytes of a page of memory, and of the headers. SectionAlignment has to be a page: some go by the one, some by
    the other.
    """
    machine, optional = _number(view, place.coff, 2), place.coff + 20
    page = 8192 if machine == _ITANIUM else 4096
    aligned, headers = _number(view, optional + 32, 4), _number(view, optional + 60, 4)
    if aligned != page:
        raise FormatError(f"page hashes: sections lie at multiples of {aligned}, pages have {page}", code="page-hashes")
    if not place.entry_at + 8 <= headers <= min(page, place.end):
        raise FormatError(f"page hashes: headers of {headers} bytes in pages of {page}", code="page-hashes")
    return page, headers


def _sections(view: View, place: Place, headers: int) -> list[tuple[int, int]]:
    """Start and end of each section with content, which must lie behind one another."""
    count, table = _number(view, place.coff + 2, 2), place.coff + 20 + _number(view, place.coff + 16, 2)
    if count > MAX_SECTIONS:
        raise FormatError(f"page hashes: {count} sections, at most {MAX_SECTIONS} are loaded", code="page-hashes")
    found, end = [], headers
    for at in range(table, table + 40 * count, 40):
        size, start = _number(view, at + 16, 4), _number(view, at + 20, 4)
        if not size:
            continue
        if start < end or start + size > place.end:
            raise FormatError(
                f"page hashes: a section of {size} bytes at {start}, wanted between {end} and {place.end}",
                offset=at,
                code="page-hashes",
            )
        end = start + size
        found.append((start, end))
    return found


def _number(view: View, offset: int, length: int) -> int:
    return int.from_bytes(view.read(offset, length), "little")
