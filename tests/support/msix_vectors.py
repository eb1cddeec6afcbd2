# SPDX-License-Identifier: Apache-2.0
"""Good and broken packages in ``testvectors/msix``; ``python -m tests.support.msix_vectors`` writes them.

A signed package cannot be made twice (keys are thrown away): it is written only when it is not there.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from tests.support.msix_builder import MANIFEST, METHODS, OVERRIDE, SHAPES, TYPES, Msix, Row, sign, small_msix
from tests.support.vector_files import write_vectors

FOLDER = Path(__file__).parents[2] / "testvectors" / "msix"

_PLAIN = small_msix()
_NARROW = SHAPES["narrow"].build()
_UNPACKED = SHAPES["no-descriptors"].build()
_TIME = b"UT\4\0time"


def _rows(change: Callable[[list[Row]], list[Row]]) -> bytes:
    return Msix(rows_of=change).build()


def _named(old: str, new: str) -> bytes:
    return _rows(lambda rows: [replace(row, name=row.name.replace(old, new)) for row in rows])


def _mapped(old: str, new: str) -> bytes:
    def change(text: str) -> str:
        assert old in text
        return text.replace(old, new)

    return Msix(map_of=change).build()


def _manifest(old: str, new: str) -> bytes:
    assert old in MANIFEST
    return Msix(manifest=MANIFEST.replace(old, new)).build()


def _types(old: str, new: str) -> bytes:
    assert old in TYPES
    return Msix(types_text=TYPES.replace(old, new)).build()


def _changed(content: bytes, at: int, new: bytes) -> bytes:
    at %= len(content)
    return content[:at] + new + content[at + len(new) :]


def _swapped_records(content: bytes) -> bytes:
    """The first two records of the directory change places."""
    first = content.index(b"PK\1\2")
    second = content.index(b"PK\1\2", first + 4)
    third = content.index(b"PK\1\2", second + 4)
    return content[:first] + content[second:third] + content[first:second] + content[third:]


def _gap(content: bytes) -> bytes:
    """Four bytes between the last member and the directory."""
    start, end = content.index(b"PK\1\2"), content.rindex(b"PK\5\6")
    offset = struct.unpack_from("<L", content, end + 16)[0] + 4
    return content[:start] + bytes(4) + content[start : end + 16] + struct.pack("<L", offset) + content[end + 20 :]


def _extra(rows: list[Row]) -> list[Row]:
    return [replace(rows[0], extra=_TIME), *rows[1:]]


def _record_extra(rows: list[Row]) -> list[Row]:
    return [replace(rows[0], record_extra=_TIME), *rows[1:]]


def _useless_wide(rows: list[Row]) -> list[Row]:
    return [replace(rows[0], record_extra=struct.pack("<2HQ", 1, 8, 1)), *rows[1:]]


def _folder(rows: list[Row]) -> list[Row]:
    return [Row("folder/", b"", b"", 0, described=False), *rows]


_DECLARED = Msix(types=OVERRIDE * 2).build()

#: Defect → (content, code of the error with which signing, also in the place of another signature, refuses it).
BROKEN: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "zip-end"),
    "encrypted-package": (b"EXPH" + bytes(200), "encrypted"),
    "encrypted-bundle": (b"EXBH" + bytes(200), "encrypted"),
    "truncated": (_PLAIN[:-1], "zip-end"),
    "bytes-behind": (_PLAIN + b"\0", "zip-end"),
    "comment": (_changed(_NARROW, -2, b"\1\0") + b"x", "zip-end"),
    "prefix": (b"stub" + _NARROW, "zip-end"),
    "short-end-with-numbers": (_changed(_PLAIN, -14, struct.pack("<2H", 6, 6)), "zip-end"),
    "several-volumes": (_changed(_PLAIN, -18, b"\1\0"), "zip-end"),
    "records-in-another-order": (_swapped_records(_PLAIN), "zip-order"),
    "gap": (_gap(_NARROW), "zip-order"),
    "extra-field": (Msix(rows_of=_extra).build(), "zip-extra"),
    "extra-field-in-the-directory": (Msix(rows_of=_record_extra).build(), "zip-extra"),
    "wide-field-that-is-not-needed": (Msix(rows_of=_useless_wide).build(), "zip-extra"),
    "folder": (_rows(_folder), "zip-method"),
    "encrypted-member": (
        _UNPACKED.replace(b"PK\3\4\x14\0\0\0", b"PK\3\4\x14\0\1\0", 1).replace(
            b"PK\1\2\x2d\0\x14\0\0\0", b"PK\1\2\x2d\0\x14\0\1\0", 1
        ),
        "zip-method",
    ),
    "other-method": (_rows(lambda rows: [replace(rows[0], method=12), *rows[1:]]), "zip-method"),
    "narrow-descriptors-in-a-wide-archive": (
        _NARROW[: _NARROW.rindex(b"PK\5\6")] + _PLAIN[_PLAIN.rindex(b"PK\6\6") :],
        "zip-end",
    ),
    "descriptor-without-mark": (_NARROW.replace(b"PK\7\x08", b"PK\7\x09", 1), "zip-descriptor"),
    "sizes-before-and-behind": (_changed(_NARROW, 14, _NARROW[_NARROW.index(b"PK\1\2") + 16 :][:12]), "zip-local"),
    "member-twice": (_named("Assets/Logo%20of%20it.png", "APP.EXE"), "ambiguous-member"),
    "member-twice-for-windows": (_named("empty.txt", "Assets/Logo of it.png"), "ambiguous-member"),
    "block-map-in-capitals": (_named("AppxBlockMap.xml", "APPXBLOCKMAP.xml"), "ambiguous-member"),
    "no-content-types": (_named("[Content_Types].xml", "Content_Types.xml"), "not-a-package"),
    "no-manifest": (_named("AppxManifest.xml", "Manifest.xml"), "not-a-package"),
    "no-block-map": (_named("AppxBlockMap.xml", "BlockMap.xml"), "not-a-package"),
    "two-manifests": (_named("empty.txt", "AppxMetadata/AppxBundleManifest.xml"), "ambiguous-member"),
    "manifest-no-xml": (Msix(manifest="Identity").build(), "bad-manifest"),
    "manifest-with-entities": (_manifest("?>\r\n", '?>\r\n<!DOCTYPE Package [<!ENTITY a "b">]>'), "bad-manifest"),
    "manifest-in-another-encoding": (_manifest('"UTF-8"', '"ISO-8859-1"'), "bad-manifest"),
    "manifest-too-deep": (_manifest("<Properties>", "<a>" * 40 + "</a>" * 40 + "<Properties>"), "bad-manifest"),
    "manifest-of-something-else": (_manifest("Package ", "Other ").replace(b"/Package>", b"/Other>"), "bad-manifest"),
    "identity-twice": (_manifest("<Properties>", '<Identity Name="Other"/><Properties>'), "bad-manifest"),
    "identity-of-another-namespace": (_manifest("<Identity", "<uap:Identity"), "bad-manifest"),
    "version-of-three-numbers": (_manifest("1.2.3.0", "1.2.3"), "bad-manifest"),
    "name-is-a-path": (_manifest("Example.Package", "../Package"), "bad-manifest"),
    "publisher-bidi": (Msix(publisher="CN=Example\u202e").build(), "bad-manifest"),
    "another-publisher": (Msix(publisher="CN=Somebody Else").build(), "wrong-publisher"),
    "publisher-in-the-other-order": (
        Msix(publisher="O=Throwaway test, CN=Example Software").build(),
        "wrong-publisher",
    ),
    "publisher-without-blank": (Msix(publisher="CN=Example Software,O=Throwaway test").build(), "wrong-publisher"),
    "publisher-in-capitals": (Msix(publisher="CN=EXAMPLE SOFTWARE, O=Throwaway test").build(), "wrong-publisher"),
    "map-of-md5": (_mapped(METHODS["sha256"], "http://www.w3.org/2001/04/xmldsig-more#md5"), "bad-block-map"),
    "map-of-another-method": (_mapped(METHODS["sha256"], METHODS["sha512"]), "bad-block-map"),
    "map-no-xml": (_mapped("</BlockMap>", ""), "bad-block-map"),
    "map-of-another-namespace": (_mapped("/2010/blockmap", "/2011/blockmap"), "bad-block-map"),
    "map-with-a-file-twice": (_mapped('Name="empty.txt"', 'Name="app.exe"'), "bad-block-map"),
    "map-with-a-size-that-is-none": (_mapped('LfhSize="37"', 'LfhSize="+37"'), "bad-block-map"),
    "map-without-a-file": (_mapped('Name="empty.txt"', 'Name="other.txt"'), "block-map"),
    "map-with-one-more": (_mapped("</BlockMap>", '<File Name="z" Size="0" LfhSize="31"/></BlockMap>'), "block-map"),
    "map-with-another-size": (_mapped('Size="102402"', 'Size="102403"'), "block-map"),
    "map-with-another-header": (_mapped('LfhSize="37"', 'LfhSize="38"'), "block-map"),
    "types-no-xml": (_types("</Types>", ""), "bad-types"),
    "types-of-another-namespace": (_types("/2006/content-types", "/2007/content-types"), "bad-types"),
    "types-with-a-prefix": (
        Msix(types_text=TYPES.replace("<Types xmlns=", "<t:Types xmlns:t=").replace("</Types>", "</t:Types>")).build(),
        "bad-types",
    ),
    "types-name-the-signature-twice": (_DECLARED, "bad-types"),
    "types-name-another-signature": (
        Msix(types=OVERRIDE.replace("appx.signature", "other").replace("/Appx", "/APPX")).build(),
        "bad-types",
    ),
    "signature-not-last": (
        Msix(more=(("AppxSignature.p7x", b"PKCX"), ("z.bin", b"z"))).build(),
        "signature-not-last",
    ),
    "signature-in-capitals": (Msix(more=(("APPXSIGNATURE.P7X", b"PKCX"),)).build(), "ambiguous-member"),
}


def _with_file(name: str, content: bytes) -> bytes:
    """The first file has another content than the block map says, its zip headers are those of that content."""

    def change(rows: list[Row]) -> list[Row]:
        return [replace(r, content=content, packed=content, method=0) if r.name == name else r for r in rows]

    return Msix(files=((name, b"expected"),), stored=True, rows_of=change).build()


BROKEN["file-is-another"] = (_with_file("a.bin", b"exchange"), "block-map")
BROKEN["file-is-longer"] = (_with_file("a.bin", b"expected and more"), "block-map")


def write() -> None:
    """Write every file; signed ones only when absent."""
    signed = {f"signed-{name}": sign(SHAPES[name].build()) for name in ("packager", "newer-packager", "sha512")}
    write_vectors(FOLDER, {name: one.build() for name, one in SHAPES.items()}, BROKEN, signed)


if __name__ == "__main__":
    write()
