# SPDX-License-Identifier: Apache-2.0
"""Members of an MSIX or AppX package that are signed: each stands in the package's block map, which changes with it."""

from __future__ import annotations

import zlib
from typing import Protocol

from signwright.containers.zip import Member
from signwright.errors import FormatError, VerificationError
from signwright.formats.msix_members import ChangedFile, changed_block_map, hash_blocks, pack_blocks
from signwright.formats.msix_package import BLOCK_MAP, CATALOG, open_package
from signwright.formats.msix_parts import block_map
from signwright.formats.zip_patch import Edit
from signwright.formats.zip_records import ChangedMember
from signwright.model.view import BytesView, View, blocks
from signwright.readers.msix_members import check_block_map

MSIX = "msix"
_DEFLATED = 8


class Packing(Protocol):
    """How members that change are packed anew."""

    def changed(self, member: Member, content: View, local: bytes, entry: bytes) -> ChangedMember:
        """``content``: the new one; ``local``, ``entry``: the member's headers as they were. Of a stored member the
        content is not in the answer: it is changed where it stands.
        """
        ...

    def rest(self) -> list[tuple[Member, Edit]]:
        """What changes besides, once every member was packed."""
        ...


class PlainPacking:
    """Of a zip, a JAR, a package of NuGet."""

    def changed(self, member: Member, content: View, local: bytes, entry: bytes) -> ChangedMember:
        if member.method == _DEFLATED:
            crc, packed = _deflated(content)
            return ChangedMember(local, entry, crc, len(packed), content.size, packed)
        return ChangedMember(local, entry, crc_of(content), content.size, content.size)

    def rest(self) -> list[tuple[Member, Edit]]:
        return []


class PackagePacking:
    """Of a package: in blocks of 64 KiB, each of which has its row in the block map."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._package = open_package(view)
        self._map = self._package.part(BLOCK_MAP)
        self._algorithm = block_map(self._map).algorithm
        self._rows: dict[str, ChangedFile] = {}

    def changed(self, member: Member, content: View, local: bytes, entry: bytes) -> ChangedMember:
        if member.method == _DEFLATED:
            made = pack_blocks(content, self._algorithm)
            change = ChangedMember(local, entry, made.hashed.crc, len(made.packed), content.size, made.packed)
            self._rows[member.name] = made.row(_header_size(change))
            return change
        hashed = hash_blocks(content, self._algorithm)
        change = ChangedMember(local, entry, hashed.crc, content.size, content.size)
        self._rows[member.name] = hashed.row(_header_size(change))
        return change

    def rest(self) -> list[tuple[Member, Edit]]:
        """The block map, whole."""
        member, text = self._package.by_name[BLOCK_MAP], changed_block_map(self._map, self._rows)
        crc, packed = _deflated(BytesView(text))
        data = packed if member.method == _DEFLATED else text
        local = self._view.read(member.header, member.start - member.header)
        entry = self._view.read(member.entry, member.entry_size)
        change = ChangedMember(local, entry, crc, len(data), len(text), data)
        return [(member, Edit(member.header, member.end - member.header, member.entry, member.entry_size, (change,)))]


def is_bundle(view: View) -> bool:
    """Whether a package is a bundle of packages, which are signed before they are put into it. Raises `FormatError`."""
    return open_package(view).is_bundle


def check_package(view: View) -> None:
    """Raise `FormatError` for a package whose members cannot be signed any more, or whose block map its reader would
    refuse once they are.
    """
    if CATALOG in open_package(view).by_name:
        raise FormatError(
            f"{CATALOG} lists the package's programs as they are",
            code="code-integrity",
            hint="sign them before it is made",
        )
    try:
        check_block_map(view)
    except VerificationError as problem:
        raise FormatError(problem.message, code=problem.code) from problem


def crc_of(content: View) -> int:
    """CRC-32."""
    crc = 0
    for block in blocks(content, 0, content.size):
        crc = zlib.crc32(block, crc)
    return crc


def _header_size(change: ChangedMember) -> int:
    local, _ = change.records()
    return len(local) - len(change.data)


def _deflated(content: View) -> tuple[int, bytes]:
    """CRC-32 of the content, and the content packed."""
    engine, crc, out = zlib.compressobj(wbits=-zlib.MAX_WBITS), 0, []
    for block in blocks(content, 0, content.size):
        crc = zlib.crc32(block, crc)
        out.append(engine.compress(block))
    return crc, b"".join((*out, engine.flush()))
