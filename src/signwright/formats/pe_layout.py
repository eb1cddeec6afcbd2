# SPDX-License-Identifier: Apache-2.0
"""Headers of a Portable Executable ("PE Format" specification: COFF file header, optional header, section table).

Offsets are in bytes from the start of the file. Nothing is believed that the file's size does not allow.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from signwright.errors import FormatError
from signwright.model.view import View

LIMIT = 1 << 32
CHECKSUM_SIZE = 4
ENTRY_SIZE = 8
_DOS_HEADER = 64
_COFF_HEADER = 20
_SECTION_HEADER = 40
_MAX_SECTIONS = 96  # the loader's limit

PE32, PE32_PLUS = 0x10B, 0x20B
#: Offset of NumberOfRvaAndSizes in the optional header; the data directories follow it.
_COUNT_AT = {PE32: 92, PE32_PLUS: 108}
_RESOURCE, _SECURITY, _CLR = 2, 4, 14

_KNOWN_OLDER = {b"NE": "a 16-bit program (NE)", b"LE": "a virtual device driver (LE)", b"LX": "an OS/2 program (LX)"}


@dataclass(frozen=True, slots=True)
class Section:
    """One section header: where it lies in memory and in the file."""

    virtual_address: int
    virtual_size: int
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Layout:
    """What signing needs to know. ``table_offset`` and ``table_size`` are 0 in a file without certificate table;
    ``resource`` and ``clr`` are (relative virtual address, size) of these data directories, (0, 0) without one.
    """

    size: int
    machine: int
    characteristics: int
    magic: int
    subsystem: int
    checksum_offset: int
    checksum: int
    security_offset: int
    table_offset: int
    table_size: int
    sections: tuple[Section, ...]
    resource: tuple[int, int]
    clr: tuple[int, int]
    section_alignment: int
    headers_size: int

    @property
    def content_end(self) -> int:
        """Where the certificate table begins, or the end of the file."""
        return self.table_offset or self.size

    @property
    def behind_table(self) -> int:
        """Number of bytes behind the certificate table: content as well, where nobody expects any."""
        return self.size - self.table_offset - self.table_size if self.table_offset else 0

    @property
    def content_size(self) -> int:
        """Size of the file without its certificate table."""
        return self.content_end + self.behind_table

    @property
    def signed_ranges(self) -> tuple[tuple[int, int], ...]:
        """Start and end of what the digest covers: all but CheckSum, the security directory entry and the table."""
        return (
            (0, self.checksum_offset),
            (self.checksum_offset + CHECKSUM_SIZE, self.security_offset),
            (self.security_offset + ENTRY_SIZE, self.content_end),
            (self.size - self.behind_table, self.size),
        )

    def file_offset(self, address: int, size: int) -> int:
        """Where ``size`` bytes at a relative virtual address stand in the file; `FormatError` when nowhere."""
        for section in self.sections:
            into = address - section.virtual_address
            if section.offset and into >= 0 and into + size <= section.size:
                return section.offset + into
        raise FormatError(f"address 0x{address:x} lies in no section")


def pe_offset(view: View) -> int | None:
    """Offset of the signature PE and two zeros, or None when ``view`` is no PE at all; never raises for small files."""
    if view.size < _DOS_HEADER:
        return None
    head = view.read(0, _DOS_HEADER)
    offset = int.from_bytes(head[60:64], "little")
    if head[:2] != b"MZ" or not _DOS_HEADER <= offset <= view.size - 4:
        return None
    return offset if view.read(offset, 4) == b"PE\0\0" else None


def read_layout(view: View) -> Layout:
    """Read and check the headers; raises `FormatError` naming what was found and what was wanted."""
    if view.size >= LIMIT:
        raise FormatError(f"a PE is smaller than 4 GiB, this file has {view.size} bytes", code="too-large")
    start = _pe_start(view)
    head = _take(view, start + 4, _COFF_HEADER, "the COFF header")
    machine, count, _, _, _, optional_size, characteristics = struct.unpack("<HHIIIHH", head)
    optional_at = start + 4 + _COFF_HEADER
    optional = _take(view, optional_at, optional_size, "the optional header")
    magic = int.from_bytes(optional[:2], "little")
    directories = _directories(optional, magic, optional_at)
    security_offset = optional_at + _COUNT_AT[magic] + 4 + ENTRY_SIZE * _SECURITY
    sections_at = optional_at + optional_size
    sections = _sections(view, sections_at, count)
    table_offset, table_size = directories[_SECURITY]
    headers_end = max(sections_at + count * _SECTION_HEADER, security_offset + ENTRY_SIZE)
    _check_table(table_offset, table_size, headers_end, view.size, security_offset)
    _check_sections(sections, table_offset or view.size)
    return Layout(
        size=view.size,
        machine=machine,
        characteristics=characteristics,
        magic=magic,
        subsystem=int.from_bytes(optional[68:70], "little"),
        checksum_offset=optional_at + 64,
        checksum=int.from_bytes(optional[64:68], "little"),
        security_offset=security_offset,
        table_offset=table_offset,
        table_size=table_size,
        sections=sections,
        resource=directories[_RESOURCE],
        clr=directories[_CLR] if len(directories) > _CLR else (0, 0),
        section_alignment=int.from_bytes(optional[32:36], "little"),
        headers_size=int.from_bytes(optional[60:64], "little"),
    )


def _take(view: View, offset: int, length: int, what: str) -> bytes:
    if offset + length > view.size:
        raise FormatError(f"the file ends inside {what}", offset=offset, code="truncated")
    return view.read(offset, length)


def _pe_start(view: View) -> int:
    head = view.read(0, min(view.size, _DOS_HEADER))
    if head[:2] != b"MZ":
        raise FormatError(f"not a PE: it starts with {head[:2].hex() or 'nothing'}, wanted MZ", code="not-a-pe")
    if len(head) < _DOS_HEADER:
        raise FormatError("not a PE: the file ends inside the DOS header", code="truncated")
    offset = int.from_bytes(head[60:64], "little")
    if offset < _DOS_HEADER or offset > view.size - 4:
        raise FormatError(f"not a PE: its header should be at offset {offset}", offset=60, code="not-a-pe")
    mark = view.read(offset, 4)
    if mark != b"PE\0\0":
        found = _KNOWN_OLDER.get(mark[:2], f"the mark {mark.hex()}, wanted PE")
        raise FormatError(f"not a PE: found {found}", offset=offset, code="not-a-pe")
    if offset % 4:
        raise FormatError(f"PE header at offset {offset}, the loader wants a multiple of 4", offset=60)
    return offset


def _directories(optional: bytes, magic: int, optional_at: int) -> list[tuple[int, int]]:
    """Data directories as (address, size); at least the five up to the security directory."""
    if magic not in _COUNT_AT:
        raise FormatError(
            f"optional header magic 0x{magic:x}, wanted 0x10b (PE32) or 0x20b (PE32+)", offset=optional_at
        )
    at = _COUNT_AT[magic]
    if len(optional) < at + 4:
        raise FormatError(f"optional header of {len(optional)} bytes, wanted at least {at + 4}", offset=optional_at)
    count = int.from_bytes(optional[at : at + 4], "little")
    if count <= _SECURITY:
        raise FormatError(
            f"{count} data directories, a signature needs the fifth", offset=optional_at + at, code="no-directory"
        )
    room = (len(optional) - at - 4) // ENTRY_SIZE
    if room <= _SECURITY:
        raise FormatError(f"optional header of {len(optional)} bytes has no room for it", offset=optional_at)
    rows = optional[at + 4 : at + 4 + ENTRY_SIZE * min(count, room, 16)]
    return [(address, size) for address, size in struct.iter_unpack("<II", rows)]


def _sections(view: View, offset: int, count: int) -> tuple[Section, ...]:
    if count > _MAX_SECTIONS:
        raise FormatError(f"{count} sections, at most {_MAX_SECTIONS} are possible", offset=offset)
    table = _take(view, offset, count * _SECTION_HEADER, "the section table")
    rows = (struct.unpack_from("<IIII", table, _SECTION_HEADER * index + 8) for index in range(count))
    return tuple(Section(address, virtual, start, size) for virtual, address, size, start in rows)


def _check_table(offset: int, size: int, headers_end: int, file_size: int, at: int) -> None:
    if (offset, size) == (0, 0):
        return
    found = f"certificate table of {size} bytes at offset {offset}"
    if offset < headers_end or size < ENTRY_SIZE:
        raise FormatError(f"{found}: not behind the headers, or empty", offset=at, code="bad-certificate-table")
    if offset % ENTRY_SIZE:
        raise FormatError(f"{found}: wanted a multiple of 8", offset=at, code="bad-certificate-table")
    if offset + size > file_size:
        raise FormatError(f"{found} in a file of {file_size} bytes", offset=at, code="bad-certificate-table")


def _check_sections(sections: tuple[Section, ...], content_end: int) -> None:
    for number, section in enumerate(sections):
        if section.offset and section.size and section.offset + section.size > content_end:
            raise FormatError(
                f"section {number} ends at {section.offset + section.size}, the file's content at {content_end}",
                offset=section.offset,
                code="truncated",
            )
