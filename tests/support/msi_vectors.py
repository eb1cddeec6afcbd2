# SPDX-License-Identifier: Apache-2.0
"""The broken and the good installers in ``testvectors/msi``; ``python -m tests.support.msi_vectors`` writes them.

A signed file cannot be made twice (keys are thrown away), nor one of wixl: they are written only when not there.
"""

from __future__ import annotations

import struct
import subprocess
import tempfile
from pathlib import Path

from tests.support.cfb_builder import DIFAT_MARK, END, FREE, Cfb, Tree
from tests.support.msi_builder import EXTENDED, FOLDER, SHAPES, SIGNATURE, sign, wixl_installer
from tests.support.osslsigncode import OF_VECTORS, signed_by_it
from tests.support.signed_files import identity
from tests.support.tools import require_tool
from tests.support.vector_files import write_vectors

_TREE: Tree = {"Aaa": b"a" * 5000, "Bbb": b"b" * 6000, "Cccc": b"small", "Dddd": b"s" * 200, "sub": {"Inner": b"i"}}
_CFB = Cfb(_TREE)
_PLAIN = _CFB.build()
_WIDE = _CFB.but(version=4).build()
#: Rows of the directory in the order of `Cfb`: root, Aaa, Bbb, sub, Inner, Cccc, Dddd.
_ROOT, _AAA, _BBB, _SUB, _INNER, _CCCC, _DDDD = range(7)


def _word(content: bytes, offset: int) -> int:
    return int(struct.unpack_from("<I", content, offset)[0])


def _with(content: bytes, offset: int, field: bytes | int) -> bytes:
    raw = field if isinstance(field, bytes) else struct.pack("<I", field)
    return content[:offset] + raw + content[offset + len(raw) :]


def row(number: int, field: int, content: bytes = _PLAIN) -> int:
    """Offset of a field of a row of the directory, for files that are not scattered."""
    unit = 1 << content[30]
    return (_word(content, 48) + 1) * unit + 128 * number + field


def fat(sector: int) -> int:
    """Offset of a sector's word in the FAT, which begins in sector 0."""
    return 512 + 4 * sector


def _mini(sector: int) -> int:
    return (_word(_PLAIN, 60) + 1) * 512 + 4 * sector


def _start(number: int) -> int:
    return _word(_PLAIN, row(number, 116))


_A, _B = _start(_AAA), _start(_BBB)
_LAST_OF_A = _A + 9
_SMALL = _start(_DDDD)


def _deep(depth: int) -> Tree:
    return {"s": _deep(depth - 1)} if depth else {}


def _difat_circle() -> bytes:
    """A DIFAT sector that follows itself."""
    last = len(_PLAIN) // 512 - 1
    content = _PLAIN + b"\xff" * 508 + struct.pack("<I", last)
    return _with(_with(_with(content, fat(last), DIFAT_MARK), 68, last), 72, 2)


#: Defect → (content, code of the error with which signing refuses it).
BROKEN: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "not-a-cfb"),
    "magic-only": (_PLAIN[:8], "not-a-cfb"),
    "zip": (b"PK\3\4" + bytes(600), "not-a-cfb"),
    "header-only": (_PLAIN[:512], "cfb-chain"),
    "header-cut": (_WIDE[:2000], "cfb-truncated"),
    "version-5": (_with(_PLAIN, 26, b"\5\0"), "cfb-header"),
    "version-4-with-small-sectors": (_with(_PLAIN, 26, b"\4\0"), "cfb-header"),
    "byte-order": (_with(_PLAIN, 28, b"\xff\xfe"), "cfb-header"),
    "mini-sectors-of-128": (_with(_PLAIN, 32, b"\7\0"), "cfb-header"),
    "cutoff-512": (_with(_PLAIN, 56, 512), "cfb-header"),
    "fat-count-max": (_with(_PLAIN, 44, 0xFFFFFFFF), "cfb-header"),
    "fat-count-0": (_with(_PLAIN, 44, 0), "cfb-header"),
    "fat-count-2": (_with(_PLAIN, 44, 2), "cfb-chain"),
    "fat-beyond-end": (_with(_PLAIN, 76, 1 << 20), "cfb-chain"),
    "fat-not-marked": (_with(_PLAIN, fat(0), END), "cfb-fat"),
    "fat-behind-end": (_with(_PLAIN, fat(127), END), "cfb-fat"),
    "difat-beyond-end": (_with(_with(_PLAIN, 68, 9999), 72, 1), "cfb-chain"),
    "difat-not-counted": (_with(_PLAIN, 68, 3), "cfb-header"),
    "difat-circle": (_difat_circle(), "cfb-shared"),
    "directory-beyond-end": (_with(_PLAIN, 48, 9999), "cfb-chain"),
    "directory-none": (_with(_PLAIN, 48, END), "cfb-directory"),
    "directory-miscounted": (_with(_WIDE, 40, 2), "cfb-directory"),
    "directory-circle": (_with(_PLAIN, fat(_word(_PLAIN, 48) + 1), _word(_PLAIN, 48)), "cfb-shared"),
    "root-is-a-stream": (_with(_PLAIN, row(_ROOT, 66), b"\2"), "cfb-directory"),
    "row-of-kind-3": (_with(_PLAIN, row(_AAA, 66), b"\3"), "cfb-directory"),
    "name-of-odd-length": (_with(_PLAIN, row(_AAA, 64), b"\7\0"), "cfb-directory"),
    "name-of-66-bytes": (_with(_PLAIN, row(_AAA, 64), b"\x42\0"), "cfb-directory"),
    "name-without-end": (_with(_PLAIN, row(_AAA, 64), b"\4\0"), "cfb-directory"),
    "name-with-nul": (_with(_PLAIN, row(_CCCC, 2), b"\0\0"), "cfb-directory"),
    "names-alike": (_with(_PLAIN, row(_BBB, 0), "aAA".encode("utf-16-le")), "cfb-directory"),
    "names-out-of-order": (_with(_PLAIN, row(_AAA, 0), "Zzz".encode("utf-16-le")), "cfb-order"),
    "tree-circle": (_with(_PLAIN, row(_AAA, 68), _AAA), "cfb-directory"),
    "tree-to-root": (_with(_PLAIN, row(_AAA, 68), _ROOT), "cfb-directory"),
    "tree-beyond-end": (_with(_PLAIN, row(_AAA, 72), 4000), "cfb-directory"),
    "row-out-of-reach": (_with(_PLAIN, row(_SUB, 76), FREE), "cfb-directory"),
    "storages-40-deep": (Cfb(_deep(40)).build(), "cfb-directory"),
    "chain-circle": (_with(_PLAIN, fat(_LAST_OF_A), _A), "cfb-chain"),
    "chain-beyond-end": (_with(_PLAIN, fat(_A + 3), 9999), "cfb-chain"),
    "chain-into-free-space": (_with(_PLAIN, fat(_A + 3), FREE), "cfb-chain"),
    "chain-into-the-fat": (_with(_PLAIN, fat(_A + 3), 0), "cfb-shared"),
    "chain-too-short": (_with(_PLAIN, fat(_A + 3), END), "cfb-chain"),
    "chain-too-long": (_with(_PLAIN, row(_AAA, 120), 4600), "cfb-chain"),
    "streams-share-sectors": (_with(_with(_PLAIN, row(_BBB, 116), _A), row(_BBB, 120), 5000), "cfb-shared"),
    "stream-larger-than-file": (_with(_PLAIN, row(_AAA, 120), 1 << 30), "cfb-directory"),
    "stream-of-4-gib": (_with(_WIDE, row(_AAA, 124, _WIDE), 1), "cfb-directory"),
    "mini-chain-circle": (_with(_PLAIN, _mini(_SMALL + 3), _SMALL), "cfb-chain"),
    "mini-chain-beyond-end": (_with(_PLAIN, _mini(_SMALL), 99), "cfb-chain"),
    "mini-chain-too-short": (_with(_PLAIN, _mini(_SMALL), END), "cfb-chain"),
    "mini-sectors-shared": (_with(_PLAIN, row(_CCCC, 116), _SMALL + 3), "cfb-shared"),
    "mini-fat-count-max": (_with(_PLAIN, 64, 0xFFFFFFFF), "cfb-header"),
    "mini-fat-miscounted": (_with(_PLAIN, 64, 2), "cfb-chain"),
    "mini-stream-larger-than-file": (_with(_PLAIN, row(_ROOT, 120), 1 << 26), "cfb-directory"),
    "mini-stream-too-long": (_with(_PLAIN, row(_ROOT, 120), 1024), "cfb-chain"),
    "truncated-in-stream": (_WIDE[:-3000], "cfb-truncated"),
    "truncated-by-a-sector": (_PLAIN[:-512], "cfb-fat"),
    "not-an-installer": (_CFB.but(clsid=bytes(16)).build(), "not-an-msi"),
    "word-document": (_CFB.but(clsid=bytes.fromhex("0609020000000000c000000000000046")).build(), "not-an-msi"),
    "data-behind": (_PLAIN + b"PK\3\4 an archive that Windows does not see".ljust(512), "data-behind-content"),
    "data-in-trailing-free-sector": (_PLAIN + b"\0" * 700 + b"x", "data-behind-content"),
    "signature-in-a-storage": (Cfb({"sub": {SIGNATURE: b"x" * 5000}}).build(), "bad-signature-stream"),
    "signature-in-other-letters": (Cfb({SIGNATURE.lower(): b"x"}).build(), "bad-signature-stream"),
    "signature-is-a-storage": (Cfb({SIGNATURE: {"x": b"y"}}).build(), "bad-signature-stream"),
    "extended-in-a-storage": (Cfb({"sub": {EXTENDED: b"x" * 32}}).build(), "bad-signature-stream"),
    "signature-not-cms": (Cfb({SIGNATURE: b"x" * 5000}).build(), "bad-envelope"),
    "signature-empty": (Cfb({SIGNATURE: b""}).build(), "bad-envelope"),
    "signature-of-600-kib": (Cfb({SIGNATURE: b"x" * (600 << 10)}).build()[: 1 << 14], "cfb-fat"),
}


def write() -> None:
    """Write every file; those that cannot be made twice only when absent."""
    if not (FOLDER / "good" / "wixl.bin").exists():
        (FOLDER / "good" / "wixl.bin").write_bytes(by_wixl())
    write_vectors(FOLDER, {name: one.build() for name, one in SHAPES.items()}, BROKEN, _signed())


def _signed() -> dict[str, bytes]:
    source = SHAPES["version-3"].build()
    once = sign(source, description="a description", url="https://example.org/")
    extended = sign(source, identity("rsa3072"), extended=True)
    return {
        "signed": once,
        "signed-extended": extended,
        "signed-nested": sign(once, existing="append", digest="sha384"),
        # That program loses streams of storages in storages: a package without any.
        "signed-by-osslsigncode": signed_by_it(wixl_installer(), *OF_VECTORS),
        "signed-by-osslsigncode-extended": signed_by_it(wixl_installer(), "-add-msi-dse", *OF_VECTORS),
    }


_WXS = """<?xml version="1.0" encoding="utf-8"?>
<Wix xmlns="http://schemas.microsoft.com/wix/2006/wi">
  <Product Id="*" UpgradeCode="12345678-1234-1234-1234-111111111111" Name="Example Product" Version="1.2.3"
           Manufacturer="Example Maker" Language="1033">
    <Package InstallerVersion="200" Compressed="yes" Comments="Windows Installer Package"/>
    <Media Id="1" Cabinet="product.cab" EmbedCab="yes"/>
    <Directory Id="TARGETDIR" Name="SourceDir">
      <Directory Id="ProgramFilesFolder"><Directory Id="INSTALLDIR" Name="Example">
        <Component Id="Main" Guid="12345678-1234-1234-1234-222222222222"><File Id="one" Source="one.bin"/></Component>
      </Directory></Directory>
    </Directory>
    <Feature Id="DefaultFeature" Level="1"><ComponentRef Id="Main"/></Feature>
  </Product>
</Wix>
"""


def by_wixl(content: bytes = b"installed by a test\n") -> bytes:
    """A package with one file in an embedded cabinet."""
    tool = require_tool("wixl")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "one.bin").write_bytes(content)
        (folder / "a.wxs").write_text(_WXS, encoding="utf-8")
        subprocess.run([tool, "-o", "a.msi", "a.wxs"], cwd=folder, check=True, capture_output=True)
        return (folder / "a.msi").read_bytes()


if __name__ == "__main__":
    write()
