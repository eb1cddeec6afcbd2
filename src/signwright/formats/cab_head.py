# SPDX-License-Identifier: Apache-2.0
"""The head of a cabinet as it is before, with and after a signature: everything in front of the file records.

A signature is named by the reserve of the header: 20 bytes, which are the length of a part for applications (0), the
length of the part for the signature (16), offset and size of the signature, and 8 zeros. The signature stands behind
the cabinet, ``cbCabinet`` does not count it. No specification says so; it is how signtool, osslsigncode, jsign and
relic write and read it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from signwright.containers.cab_layout import (
    FOLDER_SIZE,
    HEADER_SIZE,
    NEXT,
    PREVIOUS,
    RESERVE,
    Header,
    read_folders,
    read_header,
)
from signwright.errors import FormatError
from signwright.model.view import View

#: CB_MAX_CABINET_SIZE of the Cabinet SDK: readers keep offsets in signed 32-bit numbers.
LIMIT = 0x7FFFFFFF
MAX_FOLDERS = 8192
RESERVE_SIZE = 20
#: What `RESERVE` announces, up to where the offset of the signature stands: cbCFHeader, cbCFFolder, cbCFData, and the
#: two lengths.
LEAD = struct.pack("<H2B2H", RESERVE_SIZE, 0, 0, 0, 16)
#: Where offset and size of the signature stand, and where the names of other cabinets begin.
SIGNATURE_FIELD, NAMES = HEADER_SIZE + len(LEAD), HEADER_SIZE + 4 + RESERVE_SIZE


@dataclass(frozen=True, slots=True)
class Layout:
    """A cabinet that can be signed, or is. ``names``: the strings of the neighbours in its set; ``table``: its folders,
    8 bytes each; ``signature``: offset and size, None without one.
    """

    header: Header
    start: bytes
    names: bytes
    table: bytes
    signature: tuple[int, int] | None

    @property
    def content_start(self) -> int:
        """Where the file records begin: nothing behind changes."""
        return self.header.files_offset

    @property
    def content_end(self) -> int:
        return self.header.size

    def head_with(self) -> bytes:
        """The head of the signed cabinet, offset and size of the signature still zero."""
        return self._head(LEAD + bytes(RESERVE_SIZE - 4), self.header.flags | RESERVE)

    def head_without(self) -> bytes:
        """The head of the cabinet that reserves nothing."""
        return self._head(b"", self.header.flags & ~RESERVE)

    def _head(self, reserve: bytes, flags: int) -> bytes:
        size = HEADER_SIZE + len(reserve) + len(self.names) + len(self.table)
        shift = size - self.content_start
        start = bytearray(self.start)
        struct.pack_into("<I", start, 8, self.header.size + shift)
        struct.pack_into("<I", start, 16, size)
        struct.pack_into("<H", start, 30, flags)
        table = bytearray(self.table)
        for at in range(0, len(table), FOLDER_SIZE):
            struct.pack_into("<I", table, at, struct.unpack_from("<I", table, at)[0] + shift)
        return bytes(start + reserve + self.names + table)


def signed_part(head: bytes) -> bytes:
    """What the digest covers of a head from `Layout.head_with`: all but reserved1, the sizes of the reserves, and the
    signature's part of the reserve with its length.

    osslsigncode and relic leave out the cabinet's number in its set (iCabinet) and take the last four bytes of the
    reserve instead. Both are the same for number 0, which is all that those two sign. jsign does as is done here.
    """
    return head[:4] + head[8:HEADER_SIZE] + head[HEADER_SIZE + 4 : HEADER_SIZE + 6] + head[NAMES:]


def read_layout(view: View) -> Layout:
    """Raises `FormatError` for what is no cabinet, and for one whose signature programs would read differently."""
    header = read_header(view)
    _check_header(header, view.size)
    for number, folder in enumerate(read_folders(view, header)):
        if not header.files_offset < folder.offset <= header.size:
            raise FormatError(
                f"cabinet: folder {number} begins at {folder.offset}, wanted between the file records and"
                f" {header.size}",
                offset=header.folders_offset + number * FOLDER_SIZE,
                code="bad-artifact",
            )
    names_offset = header.reserve_offset + header.header_reserve
    signature = _signature(view, header)
    if signature is None and view.size > header.size:
        raise FormatError(
            f"{view.size - header.size} bytes behind the cabinet", offset=header.size, code="data-after-cabinet"
        )
    return Layout(
        header=header,
        start=view.read(0, HEADER_SIZE),
        names=view.read(names_offset, header.folders_offset - names_offset),
        table=view.read(header.folders_offset, header.folders * FOLDER_SIZE),
        signature=signature,
    )


def _check_header(header: Header, size: int) -> None:
    if header.size > size:
        raise FormatError(f"cabinet: {header.size} bytes wanted, the file has {size}", offset=size, code="truncated")
    if header.size > LIMIT:
        raise FormatError(f"cabinet: {header.size} bytes, at most {LIMIT}", offset=8, code="too-large")
    if header.reserved[0]:
        raise FormatError("cabinet: reserved1 is not zero, no signature covers it", offset=4, code="bad-artifact")
    if not header.folders or not header.files:
        raise FormatError("cabinet: no folders, or no files", offset=26, code="bad-artifact")
    if header.folders > MAX_FOLDERS:
        raise FormatError(f"cabinet: {header.folders} folders, at most {MAX_FOLDERS}", offset=26, code="too-large")
    if header.folder_reserve or header.data_reserve:
        raise FormatError(
            "cabinet: bytes reserved in each folder or block; what verifies cabinets does not read those",
            offset=HEADER_SIZE + 2,
            code="foreign-reserve",
        )
    if header.folders_end != header.files_offset:
        raise FormatError(
            f"cabinet: {header.files_offset - header.folders_end} bytes between folders and files",
            offset=header.folders_end,
            code="bad-artifact",
        )


def _signature(view: View, header: Header) -> tuple[int, int] | None:
    """What the reserve says; zeros say nothing, whatever their number: they were reserved for a signature."""
    reserve = view.read(header.reserve_offset, header.header_reserve)
    lead = struct.pack("<2H", 0, 16)
    if reserve == lead + bytes(RESERVE_SIZE - 4) or not any(reserve):
        return None
    at = header.reserve_offset
    if len(reserve) != RESERVE_SIZE or not reserve.startswith(lead):
        raise FormatError(
            f"cabinet: {len(reserve)} reserved bytes that name no signature as signtool does",
            offset=at,
            code="foreign-reserve",
            hint="make the cabinet without a reserve of your own, or fill it with zeros",
        )
    offset, size = struct.unpack_from("<2I", reserve, 4)
    if offset != header.size or not size or any(reserve[12:]):
        raise FormatError(
            f"cabinet: a signature of {size} bytes at {offset}, wanted it at the end of the cabinet, {header.size}",
            offset=at + 4,
            code="bad-reserve",
        )
    if offset + size > view.size:
        raise FormatError(f"cabinet: a signature of {size} bytes, the file ends before", offset=at, code="bad-reserve")
    if offset + size < view.size:
        raise FormatError(
            f"{view.size - offset - size} bytes behind the signature",
            offset=offset + size,
            code="data-after-signature",
        )
    return offset, size


def is_in_set(header: Header) -> bool:
    """Whether other cabinets belong to this one."""
    return bool(header.flags & (PREVIOUS | NEXT))
