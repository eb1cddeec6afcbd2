# SPDX-License-Identifier: Apache-2.0
"""NuGet packages as `nuget pack` lays them out, in the standard library's zips."""

from __future__ import annotations

import hashlib
import io
import struct
import zipfile
import zlib
from functools import cache

from signwright.formats.nuget import SIGNATURE, NuGetFormat
from tests.support import signed_files
from tests.support.pki import Identity
from tests.support.zip_builder import Zip

NUSPEC = """\
<?xml version="1.0" encoding="utf-8"?>
<package xmlns="http://schemas.microsoft.com/packaging/2013/05/nuspec.xsd">
  <metadata minClientVersion="2.12">
    <id>Example.Package</id>
    <version>1.2.3-beta.1</version>
    <authors>Example, Inc.</authors>
    <description>Nothing &amp; more.</description>
    <dependencies><group targetFramework="net8.0"><dependency id="Other" version="1.0.0" /></group></dependencies>
  </metadata>
</package>
"""
CONTENT_TYPES = (
    '<?xml version="1.0" encoding="utf-8"?><Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
    '<Default Extension="nuspec" ContentType="application/octet" /></Types>'
)
RELATIONSHIPS = (
    '<?xml version="1.0" encoding="utf-8"?>'
    '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships" />'
)


def package(nuspec: str | bytes = NUSPEC, *more: tuple[str, bytes]) -> Zip:
    """The members of a small library; ``more`` come last."""
    described = nuspec if isinstance(nuspec, bytes) else nuspec.encode()
    members = (
        ("_rels/.rels", RELATIONSHIPS.encode()),
        ("Example.Package.nuspec", described),
        ("lib/net8.0/Example.dll", bytes(range(256)) * 20),
        ("[Content_Types].xml", CONTENT_TYPES.encode()),
    )
    return Zip(members=(*members, *more))


SHAPES = {
    "deflated": package(),
    "stored": package().but(stored=True),
    "descriptors": package().but(descriptors=True),
    "comment": package().but(comment=b"a comment\0of any bytes"),
    "unicode": package(NUSPEC, ("content/ünïcode.txt", b"text"), ("folder/", b"")),
}


def small_package() -> bytes:
    """A genuine unsigned package."""
    return package().build()


def rsa() -> Identity:
    """NuGet takes no other keys."""
    return signed_files.identity("rsa2048")


def sign(source: bytes, signer: Identity | None = None, **options: object) -> bytes:
    """The signed package."""
    return signed_files.sign(NuGetFormat(), source, signer or rsa(), **options)


@cache
def signed_package() -> bytes:
    return sign(small_package())


def plain_member(name: bytes, content: bytes, **fields: int) -> tuple[bytes, bytes]:
    """Local header with content, and record, of a stored member, spelt out; ``fields`` replace single values."""
    value = {"flags": 0, "method": 0, "crc": zlib.crc32(content), "packed": len(content), "size": len(content)} | fields
    common = struct.pack(
        "<2H4s3L", value["flags"], value["method"], bytes(4), value["crc"], value["packed"], value["size"]
    )
    local = b"PK\3\4\x14\0" + common + struct.pack("<2H", len(name), 0) + name + content
    places = struct.pack("<5H2L", len(name), 0, 0, 0, 0, value.get("external", 0), 0)
    return local, b"PK\1\2\x14\0\x14\0" + common + places + name


def with_member(source: bytes, name: bytes, content: bytes, *, first: bool = False, **fields: int) -> bytes:
    """``source`` with one more member behind all others; with ``first`` its record is before theirs."""
    end = source.rindex(b"PK\5\6")
    count, size, start = struct.unpack_from("<H2L", source, end + 10)
    local, record = plain_member(name, content, **fields)
    record = record[:42] + struct.pack("<L", start) + record[46:]
    directory = record + source[start:end] if first else source[start:end] + record
    numbers = struct.pack("<2H2L", count + 1, count + 1, size + len(record), start + len(local))
    return source[:start] + local + directory + source[end : end + 8] + numbers + source[end + 20 :]


def by_the_book(signed: bytes, algorithm: str = "sha256") -> str:
    """The digest of the specification in its plainest form, with the standard library's zip reader alone."""
    with zipfile.ZipFile(io.BytesIO(signed)) as archive:
        info = archive.getinfo(SIGNATURE)
        size = 30 + len(SIGNATURE) + info.compress_size
        start, record = archive.start_dir, 46 + len(SIGNATURE)
        comment = archive.comment
    end = len(signed) - 22 - len(comment)
    assert signed[end - record : end].endswith(SIGNATURE.encode())
    count, length, offset = struct.unpack_from("<H2L", signed, end + 10)
    without = signed[: info.header_offset] + signed[start : end - record]
    without += signed[end : end + 8]
    without += struct.pack("<2H2L", count - 1, count - 1, length - record, offset - size)
    return hashlib.new(algorithm, without + signed[end + 20 :]).hexdigest()
