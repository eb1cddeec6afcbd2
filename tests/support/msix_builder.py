# SPDX-License-Identifier: Apache-2.0
"""Packages as Windows' packager lays them out, byte by byte: the zip, the block map, and what leads to them."""

from __future__ import annotations

import base64
import hashlib
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any
from urllib.parse import unquote

from signwright.formats.msix import MsixFormat
from tests.support import signed_files
from tests.support.pki import Identity

#: The subject of `signed_files.identity`, as a manifest spells it.
PUBLISHER = "CN=Example Software, O=Throwaway test"
SIGNATURE = "AppxSignature.p7x"
METHODS = {
    "sha256": "http://www.w3.org/2001/04/xmlenc#sha256",
    "sha384": "http://www.w3.org/2001/04/xmldsig-more#sha384",
    "sha512": "http://www.w3.org/2001/04/xmlenc#sha512",
}
HEAD = '<?xml version="1.0" encoding="UTF-8" standalone="no"?>\r\n'
MANIFEST = (
    HEAD + '<Package xmlns="http://schemas.microsoft.com/appx/manifest/foundation/windows10" '
    'xmlns:uap="http://schemas.microsoft.com/appx/manifest/uap/windows10">'
    '<Identity Name="Example.Package" Publisher="{publisher}" Version="1.2.3.0" ProcessorArchitecture="x64"/>'
    "<Properties><DisplayName>Example &amp; more</DisplayName></Properties>"
    '<Applications><Application Id="App" Executable="app.exe"><uap:VisualElements DisplayName="A"/></Application>'
    "</Applications></Package>"
)
TYPES = (
    HEAD + '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
    '<Default Extension="exe" ContentType="application/x-msdownload"/>'
    '<Default Extension="xml" ContentType="application/vnd.ms-appx.manifest+xml"/>'
    '<Override PartName="/AppxBlockMap.xml" ContentType="application/vnd.ms-appx.blockmap+xml"/>{more}</Types>'
)
OVERRIDE = '<Override PartName="/AppxSignature.p7x" ContentType="application/vnd.ms-appx.signature"/>'
BUNDLE_MANIFEST = (
    HEAD + '<Bundle xmlns="http://schemas.microsoft.com/appx/2013/bundle" SchemaVersion="5.0">'
    '<Identity Name="Example.Package" Publisher="{publisher}" Version="1.2.3.0"/><Packages>{rows}</Packages></Bundle>'
)
BLOCK = 64 << 10
FILE_HASHES = "http://schemas.microsoft.com/appx/2021/blockmap"
FILES = (
    ("app.exe", b"MZ" + bytes(range(256)) * 400),
    ("Assets/Logo%20of%20it.png", b"\x89PNG" + bytes(500)),
    ("empty.txt", b""),
)
TIME = 0x4A6B8D33


@dataclass(frozen=True)
class Row:
    """A member as it is written. ``flags`` 8: sizes behind the data; ``extra``: of both headers."""

    name: str
    content: bytes
    packed: bytes
    method: int
    described: bool
    extra: bytes = b""
    record_extra: bytes = b""


@dataclass(frozen=True)
class Msix:
    """``wide``: 64-bit end record and descriptors, as the packager writes; ``fields64``: also every size and offset of
    the directory in 64 bits, and disks that are none, as newer ones do; ``stored``: nothing is packed; ``map_of``:
    changes the block map's text; ``rows_of``: the members before they are written; ``types``: more content types;
    ``file_hashes``: the block map has the hash of each file of more than one block, as newer packagers write.
    """

    files: tuple[tuple[str, bytes], ...] = FILES
    publisher: str = PUBLISHER
    algorithm: str = "sha256"
    wide: bool = True
    fields64: bool = False
    described: bool = True
    stored: bool = False
    file_hashes: bool = False
    catalog: bytes = b""
    types: str = ""
    manifest: str = MANIFEST
    types_text: str = TYPES
    types_first: bool = False
    more: tuple[tuple[str, bytes], ...] = ()
    map_of: Callable[[str], str] = field(default=lambda text: text)
    rows_of: Callable[[list[Row]], list[Row]] = field(default=lambda rows: rows)

    def but(self, **changes: Any) -> Msix:
        return replace(self, **changes)

    def build(self) -> bytes:
        manifest = self.manifest.replace("{publisher}", escaped(self.publisher)).encode()
        rows = [self.row(*one, described=self.described) for one in (*self.files, ("AppxManifest.xml", manifest))]
        block_map = self.map_of(self.block_map(rows)).encode()
        types = self.types_text.replace("{more}", self.types).encode()
        last = [self.row("[Content_Types].xml", types, described=False)]
        rows = [*(last if self.types_first else ()), *rows]
        rows.append(self.row("AppxBlockMap.xml", block_map, described=self.described))
        rows += [] if self.types_first else last
        if self.catalog:
            rows.append(self.row("AppxMetadata/CodeIntegrity.cat", self.catalog, described=False))
        rows += [self.row(*one, described=False) for one in self.more]
        return write_zip(self.rows_of(rows), wide=self.wide, fields64=self.fields64)

    def row(self, name: str, content: bytes, *, described: bool) -> Row:
        pack = not self.stored and not name.endswith(".png")
        return Row(name, content, b"".join(packed(content)) if pack else content, 8 * pack, described)

    def block_map(self, rows: list[Row]) -> str:
        text = HEAD + '<BlockMap xmlns="http://schemas.microsoft.com/appx/2010/blockmap" '
        text += f'xmlns:b4="{FILE_HASHES}" IgnorableNamespaces="b4" ' if self.file_hashes else ""
        text += f'HashMethod="{METHODS[self.algorithm]}">'
        for row in rows:
            name = escaped(unquote(row.name).replace("/", "\\"))
            size = 30 + len(row.name.encode()) + len(row.extra)
            text += f'<File Name="{name}" Size="{len(row.content)}" LfhSize="{size}">'
            for at, block in zip(range(0, len(row.content), BLOCK), packed(row.content), strict=False):
                value = hashlib.new(self.algorithm, row.content[at : at + BLOCK]).digest()
                says = f' Size="{len(block)}"' if row.method else ""
                text += f'<Block Hash="{base64.b64encode(value).decode()}"{says}/>'
            if self.file_hashes and len(row.content) > BLOCK:
                value = hashlib.new(self.algorithm, row.content).digest()
                text += f'<b4:FileHash Hash="{base64.b64encode(value).decode()}"/>'
            text += "</File>"
        return text + "</BlockMap>"


def escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")


@dataclass(frozen=True)
class Bundle:
    """``packages``: as they are, signed or not; ``says``: changes what the manifest says of each; ``last``: they stand
    behind all other members.
    """

    packages: tuple[tuple[str, bytes], ...]
    publisher: str = PUBLISHER
    stored: bool = True
    last: bool = False
    says: Callable[[str], str] = field(default=lambda text: text)

    def build(self) -> bytes:
        method = 0 if self.stored else 8
        inner = [Row(n, c, c if self.stored else b"".join(packed(c)), method, described=True) for n, c in self.packages]
        rest = self._rest(0)
        if not self.last:
            return write_zip([*inner, *rest], wide=True)
        # Where the packages start depends on how many digits their offsets have.
        for _ in range(3):
            rest = self._rest(write_zip(rest, wide=True).index(b"PK\1\2"))
        return write_zip([*rest, *inner], wide=True)

    def _rest(self, at: int) -> list[Row]:
        rows, shell = "", Msix(stored=self.last)
        for name, content in self.packages:
            at += 30 + len(name)
            rows += f'<Package Type="application" Version="1.0.0.0" FileName="{name}" Offset="{at}" '
            rows += f'Size="{len(content)}"/>'
            at += len(content) + 24
        manifest = BUNDLE_MANIFEST.replace("{publisher}", escaped(self.publisher)).replace("{rows}", self.says(rows))
        described = shell.row("AppxMetadata/AppxBundleManifest.xml", manifest.encode(), described=True)
        block_map = shell.row("AppxBlockMap.xml", shell.block_map([described]).encode(), described=True)
        types = shell.row("[Content_Types].xml", TYPES.replace("{more}", "").encode(), described=False)
        return [described, block_map, types]


def packed(content: bytes) -> list[bytes]:
    """Deflated so that each block of 64 KiB unpacks by itself; the last piece ends the stream."""
    engine = zlib.compressobj(9, zlib.DEFLATED, -15)
    pieces = [
        engine.compress(content[at : at + BLOCK]) + engine.flush(zlib.Z_FULL_FLUSH)
        for at in range(0, len(content), BLOCK)
    ]
    return [*pieces, engine.flush()]


def write_zip(rows: list[Row], *, wide: bool, fields64: bool = False) -> bytes:
    out, directory = bytearray(), bytearray()
    for row in rows:
        offset, flags = len(out), 8 * row.described
        numbers = (zlib.crc32(row.content), len(row.packed), len(row.content))
        version = 45 if row.described else 20
        common = struct.pack("<3HL", version, flags, row.method, TIME)
        name = row.name.encode()
        sizes = struct.pack("<3L", *((0, 0, 0) if row.described else numbers))
        out += (
            b"PK\3\4" + common + sizes + struct.pack("<2H", len(name), len(row.extra)) + name + row.extra + row.packed
        )
        if row.described:
            out += b"PK\7\x08" + struct.pack("<L2Q" if wide else "<3L", *numbers)
        extra = row.record_extra
        if fields64:
            extra += struct.pack("<2H3Q", 1, 24, numbers[2], numbers[1], offset)
            numbers, offset = (numbers[0], 0xFFFFFFFF, 0xFFFFFFFF), 0xFFFFFFFF
        places = struct.pack("<5H2L", len(name), len(extra), 0, 0, 0, 0, offset)
        directory += b"PK\1\2\x2d\0" + common + struct.pack("<3L", *numbers) + places + name + extra
    start, count = len(out), len(rows)
    content = bytes(out + directory)
    if not wide:
        return content + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, count, count, len(directory), start, 0)
    end = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, count, count, len(directory), start)
    end += struct.pack("<4sLQL", b"PK\6\7", 0, len(content), 1)
    disks = [0xFFFF * fields64] * 2
    return content + end + struct.pack("<4s4H2LH", b"PK\5\6", *disks, *[0xFFFF] * 2, *[0xFFFFFFFF] * 2, 0)


SHAPES = {
    "packager": Msix(),
    "newer-packager": Msix(fields64=True),
    "narrow": Msix(wide=False),
    "no-descriptors": Msix(wide=False, described=False),
    "wide-no-descriptors": Msix(described=False),
    "stored": Msix(stored=True),
    "sha384": Msix(algorithm="sha384"),
    "sha512": Msix(algorithm="sha512"),
    "catalog": Msix(catalog=b"0\x82 not a real one"),
    "declared": Msix(types=OVERRIDE),
    "types-first": Msix(types_first=True),
    "marked-types": Msix(types_text="\ufeff" + TYPES),
    "large": Msix(files=(("data.bin", bytes(range(251)) * 3000), *FILES)),
}


def small_msix(publisher: str = PUBLISHER) -> bytes:
    """A genuine unsigned package."""
    return Msix(publisher=publisher).build()


def sign(source: bytes, signer: Identity | None = None, **options: object) -> bytes:
    """The signed package."""
    return signed_files.sign(MsixFormat(), source, signer or signed_files.identity("rsa2048"), **options)


@cache
def signed_msix() -> bytes:
    return sign(small_msix())


@cache
def small_bundle() -> bytes:
    """Two signed packages in a bundle that is not signed."""
    return Bundle((("x64.msix", signed_msix()), ("arm.appx", sign(Msix(described=False).build())))).build()
