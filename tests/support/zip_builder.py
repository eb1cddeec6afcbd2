# SPDX-License-Identifier: Apache-2.0
"""Archives of the standard library in every shape that a zip may have, and their members as another reader has them."""

from __future__ import annotations

import io
import struct
import zipfile
from dataclasses import dataclass, replace
from typing import Any

SOME = (("a.txt", b"hello " * 40), ("folder/", b""), ("folder/ü.bin", bytes(range(256)) * 4), ("empty", b""))


class _Unseekable(io.RawIOBase):
    """Makes `zipfile` write data descriptors."""

    def __init__(self) -> None:
        self.content = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, block: Any) -> int:
        self.content += bytes(block)
        return len(block)


@dataclass(frozen=True)
class Zip:
    """``descriptors``: sizes behind the data; ``wide``: zip64 extra fields and end record; ``prefix``: bytes before the
    archive, which its offsets count (``counted``) or not.
    """

    members: tuple[tuple[str, bytes], ...] = SOME
    comment: bytes = b""
    stored: bool = False
    descriptors: bool = False
    wide: bool = False
    prefix: bytes = b""
    counted: bool = True

    def but(self, **changes: Any) -> Zip:
        return replace(self, **changes)

    def build(self) -> bytes:
        out: Any = _Unseekable() if self.descriptors else io.BytesIO()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED if self.stored else zipfile.ZIP_DEFLATED) as archive:
            for name, content in self.members:
                info = zipfile.ZipInfo(name, (2024, 2, 3, 4, 5, 6))
                info.compress_type = zipfile.ZIP_STORED if self.stored or name.endswith("/") else zipfile.ZIP_DEFLATED
                info.extra = struct.pack("<2H4s", 0x5359, 4, b"kept")  # of a kind that nobody reads
                with archive.open(info, "w", force_zip64=self.wide) as member:
                    member.write(content)
            archive.comment = self.comment
        content = bytes(out.content if self.descriptors else out.getvalue())
        content = with_prefix(content, self.prefix, counted=True) if self.prefix and self.counted else content
        content = widened(content, len(self.comment)) if self.wide else content
        return content if self.counted else with_prefix(content, self.prefix, counted=False)


def widened(content: bytes, comment: int = 0) -> bytes:
    """The archive with a zip64 end record and locator, its directory as it was."""
    end = len(content) - comment - 22
    row = struct.unpack("<4s4H2LH", content[end : end + 22])
    record = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, row[4], row[4], row[5], row[6])
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, end, 1)
    short = struct.pack("<4s4H2LH", *row[:3], 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, row[7])
    return content[:end] + record + locator + short + content[end + 22 :]


def with_prefix(content: bytes, prefix: bytes, *, counted: bool) -> bytes:
    """Something before the archive; with ``counted`` all its offsets (of 32 bits) are moved."""
    moved = bytearray(content)
    if counted:
        end = content.rindex(b"PK\5\6")
        at = struct.unpack_from("<L", content, end + 16)[0]
        struct.pack_into("<L", moved, end + 16, at + len(prefix))
        while content[at : at + 4] == b"PK\1\2":
            sizes = struct.unpack_from("<3H", content, at + 28)
            struct.pack_into("<L", moved, at + 42, struct.unpack_from("<L", content, at + 42)[0] + len(prefix))
            at += 46 + sum(sizes)
    return prefix + bytes(moved)


#: One of each shape.
SHAPES = {
    "deflated": Zip(),
    "stored": Zip(stored=True),
    "descriptors": Zip(descriptors=True),
    "comment": Zip(comment=b"a comment"),
    "wide": Zip(wide=True, comment=b"wide"),
    "prefix": Zip(prefix=b"#!/bin/sh\nexec java -jar $0\n"),
    "prefix-not-counted": Zip(prefix=b"MZ stub", counted=False),
    "wide-prefix": Zip(wide=True, prefix=b"MZ stub"),
    "empty": Zip(members=()),
}


def unpacked(content: bytes) -> list[tuple[str, bytes]]:
    """Names and contents as the standard library reads them, checksums checked."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        return [(info.filename, archive.read(info)) for info in archive.infolist()]
