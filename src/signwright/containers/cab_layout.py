# SPDX-License-Identifier: Apache-2.0
"""The head of a cabinet: CFHEADER with what may follow it, and the CFFOLDER table.

Source: "Microsoft Cabinet Format" ([MS-CAB]), sections 2.1 and 2.2. All numbers are little-endian.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from signwright.errors import FormatError
from signwright.model.view import View

MARK = b"MSCF"
#: signature, reserved1, cbCabinet, reserved2, coffFiles, reserved3, version (minor, major), cFolders, cFiles, flags,
#: setID, iCabinet
_HEADER = struct.Struct("<4s5I2B5H")
_RESERVES = struct.Struct("<H2B")
_FOLDER = struct.Struct("<I2H")
HEADER_SIZE, FOLDER_SIZE = _HEADER.size, _FOLDER.size
PREVIOUS, NEXT, RESERVE = 1, 2, 4
_LARGEST_STRING = 256


@dataclass(frozen=True, slots=True)
class Header:
    """Sizes and offsets in bytes from the start of the cabinet.

    ``reserved``: the three words that the format keeps for itself; ``header_reserve``, ``folder_reserve`` and
    ``data_reserve``: bytes that applications reserved for themselves in the header, in each folder, in each block;
    ``reserve_offset``: of those in the header, or where they would be. The names of the cabinets before and behind
    stand between their end and ``folders_offset``.
    """

    size: int
    files_offset: int
    reserved: tuple[int, int, int]
    folders: int
    files: int
    flags: int
    set_id: int
    index: int
    header_reserve: int
    folder_reserve: int
    data_reserve: int
    reserve_offset: int
    folders_offset: int

    @property
    def folders_end(self) -> int:
        return self.folders_offset + self.folders * (FOLDER_SIZE + self.folder_reserve)


@dataclass(frozen=True, slots=True)
class Folder:
    """``offset`` of its first CFDATA; ``method``: typeCompress with its parameters."""

    offset: int
    blocks: int
    method: int


def read_header(view: View) -> Header:
    """The header of a cabinet that starts where ``view`` does. Raises `FormatError` (``cab-...``)."""
    if view.size < len(MARK) or view.read(0, len(MARK)) != MARK:
        raise FormatError("no cabinet: no MSCF at its start", code="not-a-cab")
    if view.size < _HEADER.size:
        raise _truncated(view.size)
    row = _HEADER.unpack(view.read(0, _HEADER.size))
    size, files_offset, minor, major, folders, files, flags = row[2], row[4], *row[6:11]
    if (major, minor) != (1, 3):
        raise FormatError(f"cab: version {major}.{minor}, wanted 1.3", offset=24, code="cab-version")
    if flags & ~(PREVIOUS | NEXT | RESERVE):
        raise FormatError(f"cab: unknown flags 0x{flags:04x}", offset=30, code="cab-flags")
    at, reserves = _HEADER.size, (0, 0, 0)
    if flags & RESERVE:
        if at + _RESERVES.size > view.size:
            raise _truncated(at)
        reserves = _RESERVES.unpack(view.read(at, _RESERVES.size))
        at += _RESERVES.size
    header = Header(
        size=size,
        files_offset=files_offset,
        reserved=(row[1], row[3], row[5]),
        folders=folders,
        files=files,
        flags=flags,
        set_id=row[11],
        index=row[12],
        header_reserve=reserves[0],
        folder_reserve=reserves[1],
        data_reserve=reserves[2],
        reserve_offset=at,
        folders_offset=_names_end(view, at + reserves[0], flags),
    )
    if header.folders_end > min(view.size, size) or not header.folders_end <= files_offset <= size:
        raise FormatError(
            f"cab: {folders} folders and files at {files_offset} do not fit", offset=16, code="cab-truncated"
        )
    return header


def _names_end(view: View, at: int, flags: int) -> int:
    """Behind the strings szCabinetPrev, szDiskPrev, szCabinetNext and szDiskNext, of which the flags name some."""
    if at > view.size:
        raise _truncated(at)
    for flag in (PREVIOUS, PREVIOUS, NEXT, NEXT):
        if flags & flag:
            end = view.read(at, min(_LARGEST_STRING, view.size - at)).find(b"\0")
            if end < 0:
                raise FormatError("cab: the name of another cabinet without an end", offset=at, code="cab-name")
            at += end + 1
    return at


def read_folders(view: View, header: Header) -> list[Folder]:
    """The CFFOLDER table; where the folders' blocks lie is not checked."""
    step = FOLDER_SIZE + header.folder_reserve
    table = view.read(header.folders_offset, step * header.folders)
    return [Folder(*_FOLDER.unpack_from(table, at)) for at in range(0, len(table), step)]


def _truncated(offset: int) -> FormatError:
    return FormatError("cab: the file ends in the header", offset=offset, code="cab-truncated")
