# SPDX-License-Identifier: Apache-2.0
"""The zip of a package, in the one shape that every verifier reads in the same way.

Sources: PKWARE APPNOTE 6.3.10 and what Windows' own tools write. The signature covers the bytes of the members from the
first one on, one behind the other in the order of the directory, and the directory as it would be without a signature.
Programs that write the archive anew before they digest it get the same bytes only where there is one way to write it:
no gaps, no comments, no extra fields but a 64-bit one that is needed, data descriptors with their mark.
"""

from __future__ import annotations

import struct
from collections.abc import Collection
from dataclasses import dataclass
from urllib.parse import unquote

from signwright.containers.base import ArchiveLimits, check_ratio
from signwright.containers.zip import Member, ZipArchive
from signwright.errors import FormatError, LimitError
from signwright.formats.msix_parts import (
    MAX_BLOCK_MAP,
    MAX_CONTENT_TYPES,
    MAX_MANIFEST,
    SIGNATURE,
    BlockMap,
    FileBlocks,
    block_map,
)
from signwright.formats.zip_patch import ZipPlan, open_zip, read_directory, zip_plan
from signwright.formats.zip_records import records
from signwright.model.view import View

CONTENT_TYPES, BLOCK_MAP, MANIFEST = "[Content_Types].xml", "AppxBlockMap.xml", "AppxManifest.xml"
BUNDLE_MANIFEST, CATALOG = "AppxMetadata/AppxBundleManifest.xml", "AppxMetadata/CodeIntegrity.cat"
LIMITS = ArchiveLimits(total=64 << 20)
#: No digest is taken of them as files: each has a place of its own in the signature.
_NOT_MAPPED = {CONTENT_TYPES, BLOCK_MAP, CATALOG, SIGNATURE}
#: Sizes behind the data, names in UTF-8, and two bits that say how hard the packer tried.
_FLAGS, _DESCRIBED = 0x080E, 1 << 3
_FULL32 = 0xFFFFFFFF
_WIDE_END = b"\xff" * 12


@dataclass(frozen=True, slots=True)
class Package:
    """``plan``: its end record with disk numbers of 0; ``directory``: its bytes; ``by_name``: in the file's order."""

    archive: ZipArchive
    plan: ZipPlan
    directory: bytes
    by_name: dict[str, Member]

    @property
    def signature(self) -> Member | None:
        return self.by_name.get(SIGNATURE)

    @property
    def is_bundle(self) -> bool:
        return BUNDLE_MANIFEST in self.by_name

    @property
    def manifest(self) -> str:
        return BUNDLE_MANIFEST if self.is_bundle else MANIFEST

    @property
    def is_wide(self) -> bool:
        return self.archive.directory.end64 is not None

    def part(self, name: str) -> bytes:
        """Content of a small member that must be there. Raises `FormatError`."""
        most = {CONTENT_TYPES: MAX_CONTENT_TYPES, MANIFEST: MAX_MANIFEST, BUNDLE_MANIFEST: MAX_MANIFEST}
        member = self.by_name.get(name)
        if member is None:
            raise FormatError(f"the package has no {name}", code="not-a-package")
        if member.size > most.get(name, MAX_BLOCK_MAP):
            raise FormatError(f"{name} of {member.size} bytes", offset=member.header, code="too-large")
        try:
            return b"".join(self.archive.read(member))
        except LimitError as problem:
            raise FormatError(problem.message, offset=member.header, code=problem.code) from problem


def open_package(view: View) -> Package:
    """Raises `FormatError` for an archive that a verifier could read, or write anew, in another way."""
    if view.size >= 4 and view.read(0, 4) in (b"EXPH", b"EXBH"):
        raise FormatError("an encrypted package cannot be signed; sign it before it is encrypted", code="encrypted")
    archive = open_zip(view, LIMITS)
    removed = [member for member in archive.members if member.name == SIGNATURE]
    plan = zip_plan(view, archive, removed)
    tail = bytes.fromhex(plan.tail)
    if len(tail) > 22 and tail[-14:-2] != _WIDE_END:
        raise FormatError("zip: a 64-bit archive whose short end record has numbers", offset=plan.end, code="zip-end")
    if archive.directory.base or tail[-2:] != b"\0\0":
        raise FormatError("zip: bytes before the package, or a comment", offset=plan.end, code="zip-end")
    if tail[-18:-14] not in (bytes(4), b"\xff" * 4):
        raise FormatError("zip: an archive in several volumes", offset=plan.end, code="zip-end")
    # The packager writes 0xFFFF for the disks of a 64-bit archive; verifiers digest zeros.
    plan = plan.model_copy(update={"tail": (tail[:-18] + bytes(4) + tail[-14:]).hex()})
    directory = read_directory(view, plan)
    _check_members(view, archive, directory, plan)
    names = {unquote(member.name).casefold() for member in archive.members}
    if len(names) != len(archive.members):
        raise FormatError("two members of one name, which readers choose from differently", code="ambiguous-member")
    by_name = {member.name: member for member in archive.members}
    for name in (SIGNATURE, CONTENT_TYPES, BLOCK_MAP, MANIFEST, BUNDLE_MANIFEST, CATALOG):
        if name.casefold() in names and name not in by_name:
            raise FormatError(f"{name} is spelt in another way", code="ambiguous-member")
    if {MANIFEST, BUNDLE_MANIFEST} <= set(by_name):
        raise FormatError("manifests of a package and of a bundle", code="ambiguous-member")
    return Package(archive, plan, directory, by_name)


def _check_members(view: View, archive: ZipArchive, directory: bytes, plan: ZipPlan) -> None:
    wide = archive.directory.end64 is not None
    at = 0
    for member, (entry, record) in zip(archive.members, records(directory, plan.directory), strict=True):
        if member.header != at:
            raise FormatError(
                "zip: members are not in the order of the directory, or with gaps", offset=at, code="zip-order"
            )
        if member.flags & ~_FLAGS or member.method not in (0, 8) or member.is_folder or not member.name.isascii():
            raise FormatError(
                f"zip: {member.name[:80]} is encrypted, a folder, not in ASCII, or packed by method {member.method}",
                offset=at,
                code="zip-method",
            )
        descriptor = (24 if wide else 16) if member.flags & _DESCRIBED else 0
        if member.end - member.start - member.packed != descriptor or (
            descriptor and view.read(member.end - descriptor, 4) != b"PK\x07\x08"
        ):
            raise FormatError(
                "zip: a data descriptor without mark, or of another size", offset=at, code="zip-descriptor"
            )
        _check_extras(view, member, record, entry)
        at = member.end
    if at != plan.directory:
        raise FormatError("zip: bytes between the last member and the directory", offset=at, code="zip-order")
    if SIGNATURE in (member.name for member in archive.members[:-1]):
        raise FormatError("the signature is not the last member", code="signature-not-last")


def _check_extras(view: View, member: Member, record: bytes, entry: int) -> None:
    """None but the 64-bit field, with exactly the numbers that did not fit, and no comment."""
    packed, size, names, extras, comment, disk = struct.unpack_from("<2L4H", record, 20)
    wanted = 8 * [packed, size, struct.unpack_from("<L", record, 42)[0]].count(_FULL32)
    extra = record[46 + names : 46 + names + extras]
    head = view.read(member.header, 30)
    flags, crc, *sizes, local_names, local_extras = struct.unpack_from("<6xH6x3L2H", head)
    local = view.read(member.header + 30 + local_names, local_extras)
    if flags != member.flags or (flags & _DESCRIBED and (crc, *sizes) != (0, 0, 0)):
        raise FormatError("zip: the two headers of a member differ", offset=member.header, code="zip-local")
    if comment or disk or not _is_wide_field(extra, wanted) or not _is_wide_field(local, 8 * sizes.count(_FULL32)):
        raise FormatError(
            f"zip: {member.name[:80]} has extra fields or a comment, which signing tools do not keep",
            offset=entry,
            code="zip-extra",
            hint="pack the files again with a packager for MSIX",
        )


def _is_wide_field(extra: bytes, size: int) -> bool:
    return len(extra) == size + 4 * (size > 0) and (not size or extra[:4] == struct.pack("<2H", 1, size))


def mapped_files(
    package: Package, view: View, bundled: Collection[str]
) -> tuple[BlockMap, list[tuple[Member, FileBlocks]]]:
    """The block map, and each member that stands in it with its row, in the order of the file. `FormatError`.

    ``bundled``: members that are signed packages, and stand in no block map.
    """
    found = block_map(package.part(BLOCK_MAP))
    waiting = dict(found.files)
    expected = []
    for member in package.archive.members:
        if member.name in _NOT_MAPPED or member.name in bundled:
            continue
        row = waiting.pop(unquote(member.name).replace("/", "\\"), None)
        if row is None:
            raise _not_mapped(member, "it is not listed")
        if (row.size, row.header_size) != (member.size, member.start - member.header):
            raise _not_mapped(member, "Size or LfhSize differ")
        if (row.packed is not None) != (member.method != 0 and row.count > 0) or (row.packed or 0) > member.packed:
            raise _not_mapped(member, "the sizes of its blocks are not those of a packed file")
        expected.append((member, row))
    if waiting:
        raise FormatError(f"the block map lists {min(waiting)[:80]}, which is not there", code="block-map")
    _check_unpacked(sum(member.size for member in package.archive.members), view.size)
    return found, expected


def _not_mapped(member: Member, found: str) -> FormatError:
    return FormatError(
        f"{member.name[:80]} is not what the block map says: {found}", offset=member.header, code="block-map"
    )


def _check_unpacked(unpacked: int, packed: int) -> None:
    try:
        check_ratio(unpacked, packed, LIMITS.ratio)
    except LimitError as problem:
        raise FormatError(problem.message, code=problem.code) from problem
