# SPDX-License-Identifier: Apache-2.0
"""Page hashes of a PE as a signature claims them, compared with the file; written from the specification alone.

Source: "Windows Authenticode Portable Executable Signature Format", SpcPeImagePageHashes. Of the two versions the one
with SHA-256 is checked; the one with SHA-1 is only said to be there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from signwright.errors import FormatError, VerificationError
from signwright.model.view import View
from signwright.readers import asn1

MAX_PAGES = 1 << 20
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


def check_pages(view: View, table: bytes, *, optional: int, header_size: int, checksum_at: int, entry_at: int) -> None:
    """Compare every row (SHA-256); ``optional``: offset of the optional header, ``header_size``: its size.

    Raises `VerificationError` when a row differs, is missing or one too many, and `FormatError` for a file whose pages
    cannot be told.
    """
    if len(table) % 36 or not 72 <= len(table) <= 36 * MAX_PAGES:
        raise FormatError(f"page hashes: a table of {len(table)} bytes", code="page-hashes")
    rows = (table[at : at + 36] for at in range(0, len(table), 36))
    count = int.from_bytes(view.read(optional - 18, 2), "little")
    sections = view.read(optional + header_size, 40 * count)
    pages = _pages(view, sections, optional=optional, skipped=((checksum_at, 4), (entry_at, 8)))
    for number, wanted in enumerate(rows):
        found = next(pages, None)
        if found != wanted:
            raise VerificationError(
                f"page {number}: the file is not what was signed, its page hash differs", code="page-hash-mismatch"
            )
    if next(pages, None) is not None:
        raise VerificationError("the file has more pages than the table of page hashes", code="page-hash-mismatch")


def _pages(view: View, sections: bytes, *, optional: int, skipped: tuple[tuple[int, int], ...]) -> Iterator[bytes]:
    """Rows as they should be."""
    page = int.from_bytes(view.read(optional + 32, 4), "little")
    headers = int.from_bytes(view.read(optional + 60, 4), "little")
    if not skipped[-1][0] + skipped[-1][1] <= headers <= page:
        raise FormatError(f"page hashes: headers of {headers} bytes in pages of {page}", code="page-hashes")
    head = view.read(0, headers)
    for at, length in reversed(skipped):
        head = head[:at] + head[at + length :]
    # What is left out of the headers is not made up for by zeros; only up to the page's end there are zeros.
    yield bytes(4) + hashlib.sha256(head + bytes(page - headers)).digest()
    end = headers
    for at in range(0, len(sections), 40):
        size, start = (int.from_bytes(sections[at + n : at + n + 4], "little") for n in (16, 20))
        for offset in range(start, start + size, page):
            content = view.read(offset, min(page, start + size - offset))
            digest = hashlib.sha256(content)
            digest.update(bytes(page - len(content)))
            yield offset.to_bytes(4, "little") + digest.digest()
        end = start + size if size else end
    yield end.to_bytes(4, "little") + bytes(32)
