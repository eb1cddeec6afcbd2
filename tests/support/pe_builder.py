# SPDX-License-Identifier: Apache-2.0
"""Small Portable Executables, byte by byte, and a way to sign them with a throwaway key."""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

from signwright.formats.base import Prepared
from signwright.formats.pe import PeFormat
from signwright.model.patch import Patch
from signwright.model.view import View
from tests.support import signed_files
from tests.support.pki import Identity
from tests.support.signed_files import identity

__all__ = ["identity"]

EFI_APPLICATION, CONSOLE, NATIVE = 10, 3, 1
FILE_ALIGNMENT = 0x200
SECTION_ALIGNMENT = 0x1000
_SECURITY = 4


@dataclass(frozen=True)
class Pe:
    """A PE to be built. ``gap``: bytes between two sections that belong to neither; ``lead``: bytes between DOS header
    and PE header; ``head_gap``: bytes behind the headers, before the first section; ``padded``: whether the last
    section fills its last FileAlignment unit; ``table``: a certificate table to append; ``security``: overrides its
    directory entry."""

    plus: bool = True
    machine: int = 0x8664
    subsystem: int = CONSOLE
    dll: bool = False
    sections: tuple[bytes, ...] = (b"\xc3" + b"code" * 40, b"some data")
    gap: bytes = b""
    lead: bytes = b""
    head_gap: bytes = b""
    padded: bool = True
    overlay: bytes = b""
    directories: int = 16
    checksum: int = 0
    resource: bytes = b""
    clr: tuple[int, int] = (0, 0)
    table: bytes = b""
    security: tuple[int, int] | None = None

    def build(self) -> bytes:
        contents = [*self.sections, *([self.resource] if self.resource else [])]
        optional_size = (112 if self.plus else 96) + 8 * self.directories
        header_end = 64 + len(self.lead) + 4 + 20 + optional_size + 40 * len(contents)
        first = _up(header_end + len(self.head_gap), FILE_ALIGNMENT)
        bodies, rows, at = b"", b"", first
        for index, content in enumerate(contents):
            last = index + 1 == len(contents)
            padded = content if last and not self.padded else content + bytes(-len(content) % FILE_ALIGNMENT)
            name = f".s{index}".encode()
            address = SECTION_ALIGNMENT * (index + 1)
            rows += struct.pack("<8sIIIIIIHHI", name, len(content), address, len(padded), at, 0, 0, 0, 0, 0x60000020)
            bodies += padded + (b"" if last else self.gap)
            at = first + len(bodies)
        body_end = first + len(bodies) + len(self.overlay)
        table_at = _up(body_end, 8) if self.table else 0
        security = self.security or (table_at, len(self.table))
        head = self._head(len(contents), optional_size, security)
        whole = (head + rows + self.head_gap).ljust(first, b"\0") + bodies + self.overlay
        return whole.ljust(table_at, b"\0") + self.table

    def _head(self, sections: int, optional_size: int, security: tuple[int, int]) -> bytes:
        dos = b"MZ" + bytes(58) + struct.pack("<I", 64 + len(self.lead)) + self.lead
        characteristics = 0x0022 | (0x2000 if self.dll else 0)
        coff = struct.pack("<HHIIIHH", self.machine, sections, 0, 0, 0, optional_size, characteristics)
        standard = struct.pack("<HBBIIIII", 0x20B if self.plus else 0x10B, 1, 0, 512, 512, 0, 0x1000, 0x1000)
        if self.plus:
            standard += struct.pack("<Q", 0x140000000)
        else:
            standard += struct.pack("<II", 0x2000, 0x400000)
        windows = struct.pack("<IIHHHHHHI", SECTION_ALIGNMENT, FILE_ALIGNMENT, 6, 0, 0, 0, 6, 0, 0)
        image_size = SECTION_ALIGNMENT * (sections + 1)
        windows += struct.pack("<IIIHH", image_size, FILE_ALIGNMENT, self.checksum, self.subsystem, 0x100)
        windows += struct.pack("<QQQQ" if self.plus else "<IIII", 1 << 20, 4096, 1 << 20, 4096)
        windows += struct.pack("<II", 0, self.directories)
        entries = [(0, 0)] * max(self.directories, 16)
        entries[_SECURITY] = security
        entries[14] = self.clr
        if self.resource:
            entries[2] = (SECTION_ALIGNMENT * (len(self.sections) + 1), len(self.resource))
        packed = b"".join(struct.pack("<II", *entry) for entry in entries[: self.directories])
        return dos + b"PE\0\0" + coff + standard + windows + packed

    def but(self, **changes: object) -> Pe:
        return replace(self, **changes)  # type: ignore[arg-type]


def compact_pe() -> bytes:
    """A small program with something behind its sections."""
    return Pe(overlay=b"installer payload").build()


def _up(value: int, step: int) -> int:
    return -(-value // step) * step


def clr_header(*, flags: int = 1, strong_name: tuple[int, int] = (0, 0), size: int = 72) -> bytes:
    """CLI header of a .NET assembly (ECMA-335 II.25.3.3); ``strong_name``: address and size of its signature."""
    head = struct.pack("<IHHIIIIII", size, 2, 5, 0x2100, 64, flags, 0x06000001, 0, 0)
    return head + struct.pack("<II", *strong_name) + bytes(32)


def assembly(header: bytes) -> Pe:
    """A program with ``header`` at the start of its first section."""
    return Pe(plus=False, machine=0x14C, sections=(header + b"metadata and code " * 9, b"data"), clr=(0x1000, 72))


PE32_PLUS = Pe()
PE32 = Pe(plus=False, machine=0x14C)
DLL = Pe(dll=True)
EFI = Pe(subsystem=EFI_APPLICATION, sections=(b"\xc3" * 300, b"efi data"))

#: One of each shape that signing must cope with.
SHAPES = {
    "pe32": PE32,
    "pe32plus": PE32_PLUS,
    "dll": DLL,
    "driver": Pe(subsystem=NATIVE),
    "efi": EFI,
    "arm64": Pe(machine=0xAA64),
    "gap": Pe(gap=b"between the sections " * 3),
    "overlay": Pe(overlay=b"PK installer payload" * 50),
    "odd-end": Pe(overlay=b"1234567"),
    "one-byte-over": Pe(plus=False, overlay=b"x"),
    "dos-stub": Pe(lead=b"This program cannot be run in DOS mode. ".ljust(64)),
    "with-checksum": Pe(checksum=0x1234),
    "six-directories": Pe(directories=6),
    "dotnet": assembly(clr_header()),
    "dotnet-strong-name": assembly(clr_header(flags=9, strong_name=(0x1080, 128))),
    "gap-after-headers": Pe(head_gap=b"between headers and sections " * 40),
    "unpadded-last-section": Pe(sections=(b"\xc3" * 300, b"ends here"), padded=False),
    "no-sections": Pe(sections=(), overlay=b"only headers and this"),
}


def version_resource(
    strings: dict[str, str],
    *,
    address: int = 3 * SECTION_ALIGNMENT,
    language: int = 0x0409,
    file_version: tuple[int, int, int, int] = (1, 0, 0, 0),
    product_version: tuple[int, int, int, int] = (1, 0, 0, 0),
) -> bytes:
    """Content of a resource section with one RT_VERSION; ``address``: where `Pe` with two sections will map it."""
    fixed = fixed_info(file_version, product_version)
    table = string_table(strings, f"{language:04x}04b0")
    info = version_node("VS_VERSION_INFO", fixed, len(fixed), 0, version_node("StringFileInfo", b"", 0, 1, table))
    return resource_tree({(1, language): info}, address=address)


def fixed_info(file_version: tuple[int, int, int, int], product_version: tuple[int, int, int, int]) -> bytes:
    """VS_FIXEDFILEINFO."""
    pairs = [struct.pack("<HH", low, high) for v in (file_version, product_version) for high, low in (v[:2], v[2:])]
    return struct.pack("<II", 0xFEEF04BD, 0x10000) + b"".join(pairs) + bytes(28)


def string_table(strings: dict[str, str], name: str = "040904b0") -> bytes:
    rows = b"".join(
        version_node(key, value.encode("utf-16-le") + b"\0\0", len(value) + 1, 1) for key, value in strings.items()
    )
    return version_node(name, b"", 0, 1, rows)


def resource_tree(
    infos: dict[tuple[int, int], bytes], *, address: int = 3 * SECTION_ALIGNMENT, kind: int = 16
) -> bytes:
    """A resource section: ``infos``: by number and language, in the order in which they are to stand there."""
    names = list(dict.fromkeys(number for number, _ in infos))
    languages = {number: [language for n, language in infos if n == number] for number in names}
    at = 24 + 16 + 8 * len(names)
    entries_at = at + sum(16 + 8 * len(rows) for rows in languages.values())
    data_at = entries_at + 16 * len(infos)
    levels = _directory([(kind, 0x80000000 | 24)])
    starts = []
    for number in names:
        starts.append((number, 0x80000000 | at))
        at += 16 + 8 * len(languages[number])
    levels += _directory(starts)
    rows, data, entry = b"", b"", entries_at
    for number in names:
        listed = []
        for language in languages[number]:
            info = infos[number, language]
            rows += struct.pack("<IIII", address + data_at + len(data), len(info), 0, 0)
            data += info + bytes(-len(info) % 4)
            listed.append((language, entry))
            entry += 16
        levels += _directory(listed)
    return levels + rows + data


def _directory(entries: list[tuple[int, int]]) -> bytes:
    head = struct.pack("<IIHHHH", 0, 0, 0, 0, 0, len(entries))
    return head + b"".join(struct.pack("<II", *entry) for entry in entries)


def version_node(key: str, value: bytes, value_size: int, kind: int, children: bytes = b"") -> bytes:
    """One node of a version resource."""
    head = key.encode("utf-16-le") + b"\0\0"
    head += bytes(-(6 + len(head)) % 4)
    body = head + value
    body += bytes(-(6 + len(body)) % 4)
    whole = struct.pack("<HHH", 6 + len(body) + len(children), value_size, kind) + body + children
    return whole + bytes(-len(whole) % 4)


def envelope_for(prepared: Prepared, signer: Identity, timestamp_token: bytes | None = None) -> bytes:
    """The envelope of the only operation of ``prepared``."""
    (operation,) = prepared.operations
    return signed_files.envelope_of(operation, signer, timestamp_token)


def sign_view(view: View, signer: Identity | None = None, **options: object) -> Patch:
    """The sealed patch of `PeFormat`."""
    return signed_files.sign_view(PeFormat(), view, signer, **options)


def sign(source: bytes, signer: Identity | None = None, **options: object) -> bytes:
    """The signed file."""
    return signed_files.sign(PeFormat(), source, signer, **options)


def distlib_launcher() -> Path:
    """``t64.exe`` of the distlib package: a real program that this project did not write."""
    spec = find_spec("distlib")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "t64.exe"
