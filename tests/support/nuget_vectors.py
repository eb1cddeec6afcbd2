# SPDX-License-Identifier: Apache-2.0
"""Good and broken NuGet packages in ``testvectors/nuget``; ``python -m tests.support.nuget_vectors`` writes them.

A signed package cannot be made twice (keys are thrown away): it is written only when it is not there.
"""

from __future__ import annotations

from pathlib import Path

from tests.support.nuget_builder import NUSPEC, SHAPES, package, sign, small_package, with_member
from tests.support.vector_files import write_vectors

FOLDER = Path(__file__).parents[2] / "testvectors" / "nuget"

_PLAIN = small_package()
_NAME = b".signature.p7s"
_CMS = bytes.fromhex("300d06092a864886f70d010702a000")  # SignedData with nothing inside


def _described(old: str, new: str) -> bytes:
    assert old in NUSPEC
    return package(NUSPEC.replace(old, new)).build()


def _swapped(content: bytes, old: bytes, new: bytes) -> bytes:
    assert len(old) == len(new)
    assert old in content
    return content.replace(old, new)


_STORED = package().but(stored=True).build()

#: Defect → (content, code of the error with which signing, also in the place of another signature, refuses it).
BROKEN: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "zip-end"),
    "no-zip": (b"MZ" + bytes(200), "zip-end"),
    "truncated": (_PLAIN[:-1], "zip-end"),
    "bytes-behind": (_PLAIN + b"\0", "zip-end"),
    "no-nuspec": (package().but(members=package().members[2:]).build(), "not-a-package"),
    "two-nuspecs": (package(NUSPEC, ("Other.NUSPEC", NUSPEC.encode())).build(), "not-a-package"),
    "nuspec-in-a-folder": (_swapped(_STORED, b"Example.Package.nuspec", b"Example/Package.nuspec"), "not-a-package"),
    "member-twice": (_swapped(_STORED, b"lib/net8.0/Example.dll", b"Example.Package.nuspec"), "ambiguous-member"),
    "member-twice-in-two-encodings": (
        with_member(package(NUSPEC, ("é", b"")).build(), "é".encode(), b"x"),
        "ambiguous-member",
    ),
    "nuspec-too-large": (package(NUSPEC + " " * (1 << 20)).build(), "too-large"),
    "nuspec-no-xml": (package("id=Example.Package").build(), "bad-nuspec"),
    "nuspec-cut": (package(NUSPEC[:-20]).build(), "bad-nuspec"),
    "nuspec-with-entities": (
        _described("?>\n", '?>\n<!DOCTYPE package [<!ENTITY a "Example.Package">]>\n'),
        "bad-nuspec",
    ),
    "nuspec-latin-1": (package(NUSPEC.replace("Inc", "Größe").encode("latin-1")).build(), "bad-nuspec"),
    "nuspec-other-encoding": (_described('encoding="utf-8"', 'encoding="utf-7"'), "bad-nuspec"),
    "nuspec-too-deep": (_described("<dependencies>", "<a>" * 40 + "</a>" * 40 + "<dependencies>"), "bad-nuspec"),
    "nuspec-id-twice": (_described("<version>", "<id>Other</id><version>"), "bad-nuspec"),
    "nuspec-id-with-element": (_described("Example.Package<", "Example<b/>.Package<"), "bad-nuspec"),
    "nuspec-id-is-a-path": (_described("<id>Example.Package", "<id>../Package"), "bad-nuspec"),
    "nuspec-id-too-long": (_described("<id>Example", "<id>" + "E" * 2000), "bad-nuspec"),
    "nuspec-without-id": (_described("<id>Example.Package</id>", ""), "bad-nuspec"),
    "nuspec-without-version": (_described("<version>1.2.3-beta.1</version>", ""), "bad-nuspec"),
    "nuspec-authors-bidi": (_described("Example, Inc.", "Example\u202e.cnI"), "bad-nuspec"),
    "wide": (package().but(wide=True).build(), "zip64"),
    "wide-extra-fields": (_swapped(_PLAIN, b"YS\4\0kept", b"\1\0\4\0kept"), "zip64"),
    "flags-differ": (_PLAIN[:7] + b"\x20" + _PLAIN[8:], "zip-local"),
    "sizes-only-in-the-directory": (_PLAIN[:14] + bytes(12) + _PLAIN[26:], "zip-local"),
    "prefix-counted": (package().but(prefix=b"stub").build(), "data-before-package"),
    "prefix-not-counted": (package().but(prefix=b"stub", counted=False).build(), "data-before-package"),
    "comment-like-an-end": (package().but(comment=b"x PK\5\6 y").build(), "ambiguous-end"),
    "comment-is-an-end": (package().but(comment=b"PK\5\6" + bytes(18)).build(), "zip-end"),
    "signature-in-capitals": (with_member(_PLAIN, b".SIGNATURE.p7s", _CMS), "ambiguous-signature"),
    "signature-named-in-utf-8": (with_member(_PLAIN, _NAME, _CMS, flags=1 << 11), "ambiguous-signature"),
    "signature-in-odd-letters": (with_member(_PLAIN, ".ſignature.p7ſ".encode(), _CMS), "ambiguous-signature"),
    "signature-with-attributes": (with_member(_PLAIN, _NAME, _CMS, external=1), "bad-envelope"),
    "signature-twice": (
        with_member(with_member(_PLAIN, _NAME, _CMS), b".Signature.p7s", _CMS),
        "ambiguous-signature",
    ),
    "signature-not-last": (with_member(with_member(_PLAIN, _NAME, _CMS), b"more", b"x"), "signature-not-last"),
    "signature-record-not-last": (with_member(_PLAIN, _NAME, _CMS, first=True), "signature-not-last"),
    "signature-no-cms": (with_member(_PLAIN, _NAME, b"signature"), "bad-envelope"),
    "signature-without-signer": (with_member(_PLAIN, _NAME, _CMS), "bad-envelope"),
}


def write() -> None:
    """Write every file; signed ones only when absent."""
    signed = {"signed": sign(SHAPES["deflated"].build(), digest="sha256")}
    signed["signed-sha512"] = sign(SHAPES["comment"].build(), digest="sha512")
    write_vectors(FOLDER, {name: one.build() for name, one in SHAPES.items()}, BROKEN, signed)


if __name__ == "__main__":
    write()
