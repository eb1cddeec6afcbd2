# SPDX-License-Identifier: Apache-2.0
"""Windows Installer files of every shape that signing must cope with, and a way to sign them with a throwaway key."""

from __future__ import annotations

import struct
from pathlib import Path

from signwright.containers.cfb import STORAGE, CompoundFile, Entry
from signwright.formats.base import Prepared
from signwright.formats.msi import MsiFormat, MsiOptions
from signwright.model.patch import Patch
from signwright.model.view import BytesView, View
from signwright.readers.base import Reading
from signwright.readers.msi import MsiReader
from tests.support import signed_files
from tests.support.cfb_builder import PATCH, TRANSFORM, Cfb, Tree
from tests.support.pki import Identity

FOLDER = Path(__file__).parents[2] / "testvectors" / "msi"

#: With an RSA-3072 key it makes a signature larger than 4,096 bytes, which then stands in sectors of its own.
LONG_URL = "https://example.org/" + "a" * 2028

SIGNATURE, EXTENDED = "\x05DigitalSignature", "\x05MsiDigitalSignatureEx"
SUMMARY = "\x05SummaryInformation"
CABINET = b"MSCF" + bytes(range(256)) * 30


def summary(properties: dict[int, str | int], *, identifier: str = "e0859ff2f94f6810ab9108002b27b3d9") -> bytes:
    """A summary information stream: text as VT_LPSTR in the code page that property 1 names, else as 16-bit numbers."""
    page = properties.get(1, 1252)
    values, rows = b"", b""
    for number, value in properties.items():
        rows += struct.pack("<II", number, 8 + 8 * len(properties) + len(values))
        if isinstance(value, int):
            values += struct.pack("<IHH", 2, value, 0)
            continue
        raw = value.encode("utf-8" if page == 65001 else f"cp{page}") + b"\0"
        values += struct.pack("<II", 30, len(raw)) + raw + bytes(-len(raw) % 4)
    section = struct.pack("<II", 8 + len(rows) + len(values), len(properties)) + rows + values
    head = struct.pack("<HHI16sI16sI", 0xFFFE, 0, 0x20006, bytes(16), 1, bytes.fromhex(identifier), 48)
    return head + section


SUMMARY_CONTENT = summary({1: 1252, 2: "Installation Database", 3: "Beispiel für alle", 4: "Example Maker",
                           7: "x64;1033", 9: "{5A6352DB-2ABF-4E3B-8290-35CDD45EB40E}"})  # fmt: skip


def some_tree(tables: int = 20, large: int = 9000) -> Tree:
    """Streams small and large, storages in storages, names whose bytes are in another order than the directory."""
    inside: Tree = {
        SUMMARY: SUMMARY_CONTENT,
        "product.cab": CABINET,
        "Large": bytes(range(251)) * (large // 251 + 1),
        "storage": {"one": b"inner", "other": bytes(5000), "deeper": {"q": b"1"}},
        "empty": b"",
        "䡀㬿䏲䐸䖱": b"a table",
        "a": b"short name, sorted first in the directory",
        "\u0101\u0041": b"bytes of names count from the low one",
        "\u0041\u0101": b"and so the other way round",
    }
    for number in range(tables):
        inside[f"Table{number:03}" + "x" * (number % 5)] = bytes([number + 1]) * (number * 37 % 700)
    return inside


PLAIN = Cfb(some_tree())
WIDE = Cfb(some_tree(), version=4)

#: One of each shape that signing must cope with.
SHAPES: dict[str, Cfb] = {
    "version-3": PLAIN,
    "version-4": WIDE,
    "scattered": PLAIN.but(scatter=7),
    "scattered-version-4": WIDE.but(scatter=8),
    "free-sectors": PLAIN.but(gaps=3),
    "mini-stream-gaps": PLAIN.but(mini_gaps=2),
    "tree-all-black": PLAIN.but(tree_shape="list"),
    "last-sector-cut": WIDE.but(cut=True),
    "no-mini-stream": Cfb({"Only": bytes(5000)}),
    "no-mini-stream-version-4": Cfb({"Only": bytes(5000)}, version=4),
    "only-mini-stream": Cfb({"Only": b"x" * 100}),
    "directory-full": Cfb({f"Stream{n}": b"y" * n for n in range(31)}, version=4),
    "directory-full-version-3": Cfb({f"Stream{n}": b"y" * n for n in range(7)}),
    "times-and-states": PLAIN.but(times=(0x1D5F00000000000, 0x1D5F11111111111), state=0x80000001),
    "patch": PLAIN.but(clsid=PATCH),
    "transform": PLAIN.but(clsid=TRANSFORM),
}


def filled(tables: int, version: int = 3) -> Cfb:
    """A file whose sectors fill ``tables`` sectors of its FAT to the last word."""
    unit = 512 if version == 3 else 4096
    lists = -(-max(tables - 109, 0) // (unit // 4 - 1))
    content = tables * unit // 4 - tables - lists - 1
    return Cfb({"Only": bytes(range(256)) * (unit // 256) * content}, version=version)


def wixl_installer() -> bytes:
    """A package that wixl made; this project did not write it. The same bytes each time."""
    return (FOLDER / "good" / "wixl.bin").read_bytes()


def sign_view(view: View, signer: Identity | None = None, **options: object) -> Patch:
    """The sealed patch of `MsiFormat`."""
    return signed_files.sign_view(MsiFormat(), view, signer, **options)


def sign(source: bytes, signer: Identity | None = None, **options: object) -> bytes:
    """The signed file."""
    return signed_files.sign(MsiFormat(), source, signer, **options)


def prepare(content: bytes, **options: object) -> Prepared:
    """What the writer prepares for ``content``."""
    return MsiFormat().prepare(BytesView(content), (), MsiOptions.model_validate(options))


def read(content: bytes) -> Reading:
    """What the reader finds."""
    return MsiReader().read(BytesView(content))


def stripped(content: bytes) -> str:
    """The digest of the strip test."""
    return read(content).stripped_sha256


def streams_of(content: bytes) -> dict[str, bytes]:
    """Path to content of every stream; the directory's order is checked on the way."""
    file = CompoundFile(BytesView(content))

    def walk(storage: Entry, path: str) -> dict[str, bytes]:
        file.check_order(storage)
        found = {}
        for entry in file.children(storage):
            inner = f"{path}/{entry.text}"
            found |= walk(entry, inner) if entry.kind == STORAGE else {inner: file.read(entry, 1 << 30)}
        return found

    return walk(file.root, "")
