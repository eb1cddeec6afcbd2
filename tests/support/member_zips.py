# SPDX-License-Identifier: Apache-2.0
"""Zips in which every field of every member can be chosen, for what the reader of members counts and does not."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from signwright.formats.registry import FORMATS
from tests.support.format_samples import SAMPLES
from tests.support.signed_files import identity, sign

#: Kind of file that can be a member → a name that such a member has.
NAMES = {
    "pe": "bin/tool.exe",
    "cab": "drivers/data.cab",
    "catalog": "drivers/tool.cat",
    "msi": "setup.MSI",
    "msix": "app.msix",
    "nuget": "lib.nupkg",
    "jar": "lib/tool.jar",
    "powershell": "scripts/Install.PS1",
    "vbscript": "scripts/old.vbs",
    "jscript": "scripts/run.js",
    "wsf": "scripts/job.wsf",
}


@cache
def sample(kind: str, *, signed: bool = False, by: str = "rsa2048") -> bytes:
    """A small file of the kind, as it is or signed."""
    source = SAMPLES[kind]()
    return sign(FORMATS[kind], source, identity(by)) if signed else source


@dataclass(frozen=True)
class Part:
    """A member. ``described``: with a data descriptor; ``gap``: bytes behind it that belong to nothing; ``packed``,
    ``crc``, ``raw_name``: in place of what follows from the others.
    """

    name: str
    content: bytes = b""
    deflate: bool = True
    method: int | None = None
    flags: int = 1 << 11
    local_flags: int | None = None
    described: bool = False
    made_by: int = 0x0314
    time: int = 0x58432085
    local_time: int | None = None
    internal: int = 0
    external: int = 0o644 << 16
    extra: bytes = b""
    local_extra: bytes = b""
    comment: bytes = b""
    level: int = 9
    packed: bytes | None = None
    gap: bytes = b""
    crc: int | None = None
    raw_name: bytes | None = None

    def but(self, **changes: Any) -> Part:
        return replace(self, **changes)

    def records(self, at: int) -> tuple[bytes, bytes]:
        """Local header with everything up to the next member, and the record for offset ``at``."""
        name = self.name.encode() if self.raw_name is None else self.raw_name
        packed = self.packed if self.packed is not None else _packed(self.content, self.level, deflate=self.deflate)
        crc = zlib.crc32(self.content) if self.crc is None else self.crc
        method = 8 * self.deflate if self.method is None else self.method
        marked = 8 if self.described else 0
        local_flags = self.flags if self.local_flags is None else self.local_flags
        numbers = (crc, len(packed), len(self.content))
        there = (0, 0, 0) if self.described else numbers
        local = struct.pack(
            "<4s3HL3L2H",
            *(b"PK\3\4", 20, local_flags | marked, method, self.time if self.local_time is None else self.local_time),
            *(*there, len(name), len(self.local_extra)),
        )
        local += name + self.local_extra + packed
        local += struct.pack("<4s3L", b"PK\7\x08", *numbers) if self.described else b""
        record = struct.pack(
            "<4s4HL3L5H2L",
            *(b"PK\1\2", self.made_by, 20, self.flags | marked, method, self.time, *numbers),
            *(len(name), len(self.extra), len(self.comment), 0, self.internal, self.external, at),
        )
        return local + self.gap, record + name + self.extra + self.comment


def _packed(content: bytes, level: int, *, deflate: bool) -> bytes:
    if not deflate:
        return content
    engine = zlib.compressobj(level, zlib.DEFLATED, -15)
    return engine.compress(content) + engine.flush()


def build(
    parts: Sequence[Part],
    *,
    comment: bytes = b"",
    prefix: bytes = b"",
    counted: bool = True,
    order: Sequence[int] | None = None,
) -> bytes:
    """``order``: in which members stand in the file; the directory is in that of ``parts``."""
    out, records = bytearray(prefix), dict[int, bytes]()
    base = 0 if counted else len(prefix)
    for number in range(len(parts)) if order is None else order:
        local, records[number] = parts[number].records(len(out) - base)
        out += local
    directory = b"".join(records[number] for number in range(len(parts)))
    counts = (len(parts), len(parts), len(directory), len(out) - base, len(comment))
    return bytes(out) + directory + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, *counts) + comment
