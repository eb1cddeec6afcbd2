# SPDX-License-Identifier: Apache-2.0
"""Page hashes of a Portable Executable: a digest of each page, which Windows checks when it loads that page.

Source: "Windows Authenticode Portable Executable Signature Format", SpcPeImagePageHashes2: a table of file offsets (4
bytes, little-endian) and SHA-256 values. The first page is the headers, without CheckSum and the security directory
entry; then the pages of each section in the order of the section table; a page that is not full is hashed with zeros
behind it. The last row is where the last section ends, with zeros for a digest.

A page is one of the machine's memory: 8 KiB on Itanium, 4 KiB on all others. Verifiers disagree about files whose
SectionAlignment says something else, so these get no page hashes, and neither do sections out of order.
"""

from __future__ import annotations

import hashlib

from signwright.envelopes.indirect_data import PAGE_ROW
from signwright.errors import FormatError
from signwright.formats.pe_layout import CHECKSUM_SIZE, ENTRY_SIZE, Layout, Section

#: So that the signature stays within what a certificate table is read of: 21,845 pages, 85 MiB of 4 KiB pages.
MAX_TABLE = 768 << 10
_ITANIUM, _ITANIUM_PAGE, _PAGE = 0x0200, 8192, 4096


class PageHashes:
    """A consumer of the one pass over the file. Raises `FormatError` for a file that page hashes do not fit."""

    def __init__(self, layout: Layout) -> None:
        size = _ITANIUM_PAGE if layout.machine == _ITANIUM else _PAGE
        if layout.section_alignment != size:
            raise _unfit(f"SectionAlignment is {layout.section_alignment}, a page of this machine {size}", layout)
        if not layout.security_offset + ENTRY_SIZE <= layout.headers_size <= min(size, layout.content_end):
            raise _unfit(f"headers of {layout.headers_size} bytes in pages of {size}", layout)
        sections = _sections_in_order(layout)
        rows = 2 + sum(-(-section.size // size) for section in sections)
        if rows * PAGE_ROW > MAX_TABLE:
            raise _unfit(f"{rows} pages, at most {MAX_TABLE // PAGE_ROW} fit the signature", layout)
        self._end = sections[-1].offset + sections[-1].size if sections else layout.headers_size
        self._runs = [_Run(section, size) for section in sections]
        self._headers = hashlib.sha256()
        self._covered = (
            (0, layout.checksum_offset),
            (layout.checksum_offset + CHECKSUM_SIZE, layout.security_offset),
            (layout.security_offset + ENTRY_SIZE, layout.headers_size),
        )
        self._padding = size - layout.headers_size

    def take(self, block: memoryview, offset: int) -> None:
        """A block and its offset in the file; blocks come in order."""
        for start, end in self._covered:
            first, last = max(start, offset), min(end, offset + len(block))
            if first < last:
                self._headers.update(block[first - offset : last - offset])
        for run in self._runs:
            run.take(block, offset)

    def table(self) -> bytes:
        """To be called once, when every block was taken."""
        self._headers.update(bytes(self._padding))
        rows = [bytes(4) + self._headers.digest(), *(run.rows() for run in self._runs)]
        return b"".join(rows) + self._end.to_bytes(4, "little") + bytes(32)


def _sections_in_order(layout: Layout) -> list[Section]:
    """Those with content; raises `FormatError` unless each lies behind the one before, and all in the content."""
    sections = [section for section in layout.sections if section.size]
    end = layout.headers_size
    for section in sections:
        if section.offset < end:
            raise _unfit(f"a section at {section.offset} begins before {end}, where the one before it ends", layout)
        end = section.offset + section.size
    if end > layout.content_end:
        raise _unfit(f"sections end at {end}, the content at {layout.content_end}", layout)
    return sections


class _Run:
    """The pages of one section."""

    def __init__(self, section: Section, page: int) -> None:
        self._start, self._end, self._page = section.offset, section.offset + section.size, page
        self._rows = bytearray()
        self._running, self._at = hashlib.sha256(), section.offset

    def take(self, block: memoryview, offset: int) -> None:
        stop = min(self._end, offset + len(block))
        while self._at < stop:
            page_end = self._at - (self._at - self._start) % self._page + self._page
            last = min(page_end, stop)
            self._running.update(block[self._at - offset : last - offset])
            self._at = last
            if last == page_end:
                self._close(page_end - self._page)

    def rows(self) -> bytes:
        left = (self._at - self._start) % self._page
        if left:
            self._running.update(bytes(self._page - left))
            self._close(self._at - left)
        return bytes(self._rows)

    def _close(self, start: int) -> None:
        self._rows += start.to_bytes(4, "little") + self._running.digest()
        self._running = hashlib.sha256()


def _unfit(found: str, layout: Layout) -> FormatError:
    return FormatError(f"page hashes: {found}", offset=layout.security_offset, code="page-hashes")
