# SPDX-License-Identifier: Apache-2.0
"""A package of more than 4 GiB: offsets that need 64 bits, a patch that is small, memory that stays."""

from __future__ import annotations

import base64
import hashlib
import struct
import zlib
from pathlib import Path

from signwright.formats.msix import MsixFormat
from signwright.model.patch import Patched
from signwright.model.view import FileView
from signwright.readers.msix import MsixReader
from tests.support.msix_builder import BLOCK, MANIFEST, PUBLISHER, TIME, TYPES, Msix, Row
from tests.support.signed_files import identity, sign_view

SIZE = (1 << 32) + BLOCK
NAME = b"large.bin"


def members() -> list[Row]:
    """What stands behind the large one; its blocks are all alike, so that the block map must not be packed."""
    plain = Msix(stored=True)
    manifest = plain.row("AppxManifest.xml", MANIFEST.replace("{publisher}", PUBLISHER).encode(), described=True)
    value = base64.b64encode(hashlib.sha256(bytes(BLOCK)).digest()).decode()
    large = f'<File Name="large.bin" Size="{SIZE}" LfhSize="{30 + len(NAME)}">'
    large += f'<Block Hash="{value}"/>' * (SIZE // BLOCK) + "</File>"
    block_map = plain.block_map([manifest]).replace("<File", large + "<File", 1)
    types = plain.row("[Content_Types].xml", TYPES.replace("{more}", "").encode(), described=False)
    return [manifest, plain.row("AppxBlockMap.xml", block_map.encode(), described=True), types]


def record(name: bytes, described: bool, numbers: tuple[int, int, int], offset: int) -> bytes:
    """All of its numbers in 64 bits, as packagers write them."""
    common = struct.pack("<4HL", 45, 45 if described else 20, 8 * described, 0, TIME)
    full = struct.pack("<3L", numbers[0], 0xFFFFFFFF, 0xFFFFFFFF)
    places = struct.pack("<5H2L", len(name), 28, 0, 0, 0, 0, 0xFFFFFFFF)
    return b"PK\1\2" + common + full + places + name + struct.pack("<2H3Q", 1, 24, *numbers[1:][::-1], offset)


def write_large(path: Path) -> None:
    """Stored zeros that take no room on the disk, then the parts of a package."""
    crc = 0
    for _ in range(SIZE // BLOCK):
        crc = zlib.crc32(bytes(BLOCK), crc)
    with path.open("wb") as file:
        head = struct.pack("<4s3HL3L2H", b"PK\3\4", 45, 8, 0, TIME, 0, 0, 0, len(NAME), 0)
        file.write(head + NAME)
        file.seek(SIZE, 1)
        file.write(b"PK\7\x08" + struct.pack("<L2Q", crc, SIZE, SIZE))
        directory = record(NAME, True, (crc, SIZE, SIZE), 0)
        for row in members():
            numbers, name = (zlib.crc32(row.content), len(row.packed), len(row.content)), row.name.encode()
            directory += record(name, row.described, numbers, file.tell())
            sizes = (0, 0, 0) if row.described else numbers
            version = 45 if row.described else 20
            head = struct.pack("<4s3HL3L2H", b"PK\3\4", version, 8 * row.described, 0, TIME, *sizes, len(name), 0)
            file.write(head + name + row.packed)
            file.write(b"PK\7\x08" + struct.pack("<L2Q", *numbers) if row.described else b"")
        start, count = file.tell(), 1 + len(members())
        end = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, count, count, len(directory), start)
        end += struct.pack("<4sLQL", b"PK\6\7", 0, start + len(directory), 1)
        end += struct.pack("<4s4H2LH", b"PK\5\6", *[0xFFFF] * 4, *[0xFFFFFFFF] * 2, 0)
        file.write(directory + end)


def test_a_package_of_more_than_4_gib_is_signed_and_read(tmp_path: Path) -> None:
    path = tmp_path / "large.msix"
    write_large(path)
    with path.open("rb") as file:
        view, reader = FileView(file), MsixReader()
        patch = sign_view(MsixFormat(), view, identity("rsa2048"))
        assert patch.inserted < 4096
        reading = reader.read(Patched(view, patch))
        assert len(reading.signatures) == 1
        assert reading.stripped_sha256 == reader.stripped(view)
    path.unlink()
