# SPDX-License-Identifier: Apache-2.0
"""Reader of signed Portable Executables, written from the specification and sharing nothing with the writer.

Sources: "PE Format" (attribute certificate table) and "Windows Authenticode Portable Executable Signature Format".
The digest covers the file without CheckSum, the security directory entry and the certificate table; bytes behind the
table are covered as well. What is *not* covered by a signature that is found to hold: CheckSum (a wrong one is a
warning), padding (must be zero), unsigned attributes (timestamp tokens and nested signatures, which are checked on
their own), and of the certificates in the structure all but the signer's key and identifier.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from signwright.errors import FormatError, VerificationError
from signwright.model.digest import Digest
from signwright.model.one_pass import update
from signwright.model.view import BLOCK, View, blocks
from signwright.readers import asn1, authenticode, cms
from signwright.readers.base import FoundSignature, Reading
from signwright.readers.pe_pages import Place, check_pages, claimed_pages

_PE_IMAGE_DATA = "1.3.6.1.4.1.311.2.1.15"
_EFI_SUBSYSTEMS = range(10, 14)


@dataclass(frozen=True, slots=True)
class _Image:
    """Where the three things lie that the digest leaves out. Without a table both its ends are the end of the file."""

    size: int
    checksum_at: int
    stored_checksum: int
    entry_at: int
    table_start: int
    table_end: int
    is_efi: bool

    @property
    def has_table(self) -> bool:
        return self.table_end > self.table_start

    @property
    def behind_table(self) -> int:
        return self.size - self.table_end


@dataclass(frozen=True, slots=True)
class _Digests:
    image: dict[str, bytes]
    stripped: str
    checksum: int
    behind_table: int


class PeReader:
    """Implements `signwright.readers.base.Reader`."""

    name = "pe"

    def recognizes(self, view: View) -> bool:
        try:
            _header_start(view)
        except FormatError:
            return False
        return True

    def stripped(self, view: View) -> str:
        """See `signwright.readers.base.Stripper`."""
        return _digests(view, _read_image(view), ()).stripped

    def read(self, view: View, content: View | None = None) -> Reading:
        """Every signature of the file, also nested ones. A file without any gives a `Reading` without signatures.

        A signature whose digest is SHA-1 or MD5 is not counted: it is a warning beside another one, and
        `VerificationError` alone. Any other signature that does not hold is `VerificationError`.
        """
        if content is not None:
            raise FormatError("a PE carries its signature inside, there is no content beside it")
        image = _read_image(view)
        warnings: list[str] = []
        claims, weak = authenticode.accepted(list(_claims(view, image, warnings)))
        digests = _digests(view, image, sorted({claim.algorithm for claim in claims}))
        found = tuple(self._check(view, image, claim, digests) for claim in claims)
        warnings += [*weak, *_checksum_warning(image, digests.checksum)]
        return Reading(self.name, found, digests.stripped, tuple(warnings))

    def _check(self, view: View, image: _Image, claim: authenticode.Claim, digests: _Digests) -> FoundSignature:
        size = digests.behind_table
        behind = f"; {size} bytes stand behind the certificate table" if size else ""
        authenticode.check_digest(claim, digests.image, odd=behind)
        pages = _pages_of(claim)
        found = authenticode.found(claim, self.name, digest=_content_digest(claim, pages))
        if pages is None:
            return found
        # Pages are hashed for somebody's signature only, never for a table that anybody may have written.
        return replace(found, notes={**found.notes, "page_hashes": _check_pages(view, image, *pages)})


def certificate_table(view: View) -> Iterator[bytes]:
    """The CMS structures in the certificate table as they stand there, with their padding; nothing is judged.

    For who asks which keys were used and not whether the file holds. `FormatError` for what cannot be followed.
    """
    return (content for _, content in _entries(view, _read_image(view), []))


def claimed_digest(signed: cms.SignedData) -> Digest:
    """The image digest that one such structure claims; raises `FormatError` and `VerificationError`."""
    claim = authenticode.claim_of("1", signed, _is_pe)
    if not claim.is_accepted:
        raise VerificationError(f"digest {claim.algorithm} is not accepted", code="weak-digest")
    return _content_digest(claim, _pages_of(claim))


def _is_pe(indirect: authenticode.Indirect, what: str) -> bool:
    del what
    return indirect.kind == _PE_IMAGE_DATA


def _pages_of(claim: authenticode.Claim) -> tuple[str, bytes] | None:
    value, what = claim.indirect.value, f"signature {claim.place}"
    return None if value is None else claimed_pages(value, what)


def _content_digest(claim: authenticode.Claim, pages: tuple[str, bytes] | None) -> Digest:
    """Of the image; with page hashes of all that is signed: they cannot be told from the file's digest."""
    if pages is None:
        return Digest(claim.algorithm, claim.digest)
    signed = asn1.single(claim.signed.encapsulated or b"", asn1.SEQUENCE, f"signature {claim.place}")
    return Digest.of(signed.content, claim.algorithm)


def _check_pages(view: View, image: _Image, kind: str, table: bytes) -> str:
    """What to say of them; raises `VerificationError` when they are not the file's."""
    if kind != "sha256":
        return f"{kind}, not checked"
    place = Place(image.checksum_at - 84, image.checksum_at, image.entry_at, image.table_start)
    check_pages(view, table, place)
    return "sha256, every page"


def _number(view: View, offset: int, length: int) -> int:
    return int.from_bytes(view.read(offset, length), "little")


def _header_start(view: View) -> int:
    """Offset of the COFF header, behind the mark."""
    if view.read(0, 2) != b"MZ":
        raise FormatError("not a PE: no MZ at its start", code="not-a-pe")
    start = _number(view, 0x3C, 4)
    if view.read(start, 4) != b"PE\0\0":
        raise FormatError("not a PE: no PE header where the DOS header points", offset=start, code="not-a-pe")
    return start + 4


def _read_image(view: View) -> _Image:
    coff = _header_start(view)
    if view.size > 0xFFFFFFFF:
        raise FormatError(f"a PE of {view.size} bytes cannot be addressed", code="too-large")
    header_size = _number(view, coff + 16, 2)
    optional = coff + 20
    magic = _number(view, optional, 2)
    directories = {0x10B: optional + 96, 0x20B: optional + 112}.get(magic)
    if directories is None:
        raise FormatError(f"optional header of unknown kind 0x{magic:x}", offset=optional)
    entry = directories + 4 * 8
    if _number(view, directories - 4, 4) < 5 or entry + 8 > optional + header_size:
        raise FormatError("no security directory in the optional header", offset=directories, code="no-directory")
    start, size = _number(view, entry, 4), _number(view, entry + 4, 4)
    if start == 0 and size == 0:
        start = view.size
    elif start % 8 or size < 8 or start < optional + header_size or start + size > view.size:
        raise FormatError(
            f"certificate table of {size} bytes at {start} is impossible in a file of {view.size} bytes",
            offset=entry,
            code="bad-certificate-table",
        )
    is_efi = _number(view, optional + 68, 2) in _EFI_SUBSYSTEMS
    return _Image(view.size, optional + 64, _number(view, optional + 64, 4), entry, start, start + size, is_efi)


def _entries(view: View, image: _Image, warnings: list[str]) -> Iterator[tuple[int, bytes]]:
    """The WIN_CERTIFICATE entries that hold CMS: number, counted from 1, and content with its padding."""
    if image.table_end - image.table_start > cms.MAX_ENVELOPE:
        raise FormatError("certificate table is larger than any that is read", offset=image.table_start)
    table = view.read(image.table_start, image.table_end - image.table_start)
    at = count = 0
    while at < len(table):
        length = int.from_bytes(table[at : at + 4], "little")
        if len(table) - at < 8 or length <= 8 or length > len(table) - at or count == authenticode.MAX_SIGNATURES:
            raise FormatError(
                "certificate table has an impossible entry", offset=image.table_start + at, code="bad-certificate-table"
            )
        revision_and_kind = table[at + 4 : at + 8]
        if revision_and_kind == b"\x00\x02\x02\x00":
            yield count + 1, table[at + 8 : at + length]
        else:
            warnings.append(
                f"certificate table entry {count + 1} of another kind ({revision_and_kind.hex()}) was not read"
            )
        padding = table[at + length : at + length + (-length % 8)]
        if any(padding):
            raise FormatError("padding of the certificate table is not zero", offset=image.table_start + at + length)
        at += length + len(padding)
        count += 1


def _claims(view: View, image: _Image, warnings: list[str]) -> Iterator[authenticode.Claim]:
    if image.behind_table:
        warnings.append(f"{image.behind_table} bytes stand behind the certificate table")
    entries = list(_entries(view, image, warnings))
    _check_order([number for number, _ in entries], image, warnings)
    return authenticode.claims_in(((str(number), entry) for number, entry in entries), _is_pe, padding=True)


def _check_order(numbers: list[int], image: _Image, warnings: list[str]) -> None:
    """Firmware tries every entry; Windows takes the first, so a signature further down must not stand for the file."""
    if image.is_efi or not numbers:
        return
    if numbers[0] != 1:
        raise FormatError(
            f"entry {numbers[0]} of the certificate table is a signature, but Windows looks at entry 1 only",
            offset=image.table_start,
            code="bad-certificate-table",
        )
    if len(numbers) > 1:
        warnings.append(f"{len(numbers)} signatures side by side in the certificate table; Windows looks at the first")


def _pieces(view: View, image: _Image) -> Iterator[tuple[int, bytes, bool, bool]]:
    """The file in order, in blocks: offset, bytes, whether the digest covers and the strip test keeps them."""
    borders = (
        (0, image.checksum_at, True, True),
        (image.checksum_at, image.checksum_at + 4, False, True),
        (image.checksum_at + 4, image.entry_at, True, True),
        (image.entry_at, image.entry_at + 8, False, True),
        (image.entry_at + 8, image.table_start, True, True),
        (image.table_start, image.table_end, False, False),
        (image.table_end, image.size, True, True),
    )
    for start, end, covered, kept in borders:
        offset = start
        for block in blocks(view, start, end - start):
            yield offset, block, covered, kept
            offset += len(block)


def _digests(view: View, image: _Image, algorithms: Sequence[str]) -> _Digests:
    """One pass over the file: image digests, the digest of the strip test, and CheckSum."""
    images = {name: hashlib.new(name) for name in algorithms}
    stripped = hashlib.sha256()
    words = 0
    with ThreadPoolExecutor(max_workers=2) as pool:
        for offset, block, covered, kept in _pieces(view, image):
            # Whole blocks are worth another core: hashlib lets go of the interpreter lock.
            large = len(block) == BLOCK
            waiting = [update(h, block, pool if large else None) for h in images.values()] if covered else []
            if kept:
                stripped.update(block if covered else bytes(len(block)))
            if offset != image.checksum_at:
                words += int.from_bytes(block, "little") << (8 * (offset % 2))
            for done in waiting:
                if done is not None:
                    done.result()
    padding = b"" if image.has_table else bytes(-image.size % 8)
    for running in images.values():
        running.update(padding)
    stripped.update(bytes(-(image.size - image.table_end + image.table_start) % 8))
    folded = words % 0xFFFF or 0xFFFF
    checksum = (folded + image.size) % (1 << 32)
    found = {name: running.digest() for name, running in images.items()}
    return _Digests(found, stripped.hexdigest(), checksum, image.behind_table)


def _checksum_warning(image: _Image, computed: int) -> list[str]:
    if image.stored_checksum == computed or (image.stored_checksum == 0 and not image.has_table):
        return []
    return [f"CheckSum is 0x{image.stored_checksum:08x}, computed 0x{computed:08x}"]
