# SPDX-License-Identifier: Apache-2.0
"""The broken and the good JARs in ``testvectors/jar``; ``python -m tests.support.jar_vectors`` writes them.

A signed file cannot be made twice (keys are thrown away): it is written only when it is not there.
"""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path

from tests.support.jar_builder import FILES, MANIFEST, PLAIN, SHAPES, jar, rsa, sign, small_jar
from tests.support.jar_tools import jarsigner_signs
from tests.support.vector_files import write_vectors
from tests.support.zip_builder import Zip

FOLDER = Path(__file__).parents[2] / "testvectors" / "jar"
STORED = ("plain", "prefix", "no-manifest", "sections", "multi-release", "names", "war", "ear")

_NAME = b"Name: com/example/Main.class\r\n"


def _section(text: bytes) -> bytes:
    return jar(manifest=PLAIN + text).build()


def _with_flag(content: bytes, name: bytes, flag: int) -> bytes:
    """Both headers of the first member named ``name`` with ``flag`` turned over."""
    changed = bytearray(content)
    local = content.index(name) - 30
    record = content.rindex(name) - 46
    for at in (local + 6, record + 8):
        changed[at : at + 2] = (int.from_bytes(changed[at : at + 2], "little") ^ flag).to_bytes(2, "little")
    return bytes(changed)


def _with_method(content: bytes, name: bytes, method: int) -> bytes:
    changed = bytearray(content)
    for at in (content.index(name) - 30 + 8, content.rindex(name) - 46 + 10):
        changed[at : at + 2] = method.to_bytes(2, "little")
    return bytes(changed)


def _twice(member: tuple[str, bytes]) -> bytes:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the standard library, about the name
        return jar(*FILES, member).build()


def _in_another_volume(content: bytes) -> bytes:
    at = content.index(b"PK\1\2") + 34
    return content[:at] + b"\1" + content[at + 1 :]


_PLAIN = small_jar()

#: Defect → (content, code of the error with which signing refuses it).
BROKEN: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "zip-end"),
    "cut-short": (_PLAIN[:-1], "zip-end"),
    "nothing-to-sign": (Zip(members=((MANIFEST, PLAIN),)).build(), "empty"),
    "two-manifests": (_twice((MANIFEST, PLAIN)), "name-twice"),
    "two-manifests-by-case": (jar(*FILES, ("META-INF/Manifest.mf", PLAIN)).build(), "manifest-twice"),
    "manifest-in-lower-case": (Zip(members=(("meta-inf/manifest.mf", PLAIN), *FILES)).build(), "manifest-twice"),
    "manifest-by-dotless-i": (jar(*FILES, ("META-\u0131NF/MANIFEST.MF", PLAIN)).build(), "name"),
    "signature-by-long-s": (jar(*FILES, ("META-INF/A.\u017fF", b"x")).build(), "name"),
    "two-members-of-a-name": (_twice(FILES[1]), "name-twice"),
    "name-in-another-encoding": (_with_flag(jar(*FILES, ("ü", b"x")).build(), "ü".encode(), 1 << 11), "name-encoding"),
    "name-from-the-root": (jar(*FILES, ("/com/example/Main.class", b"x")).build(), "name"),
    "name-from-here": (jar(*FILES, ("./com/example/Main.class", b"x")).build(), "name"),
    "folder-with-content": (jar(*FILES, ("folder/", b"x")).build(), "folder-content"),
    "encrypted": (_with_flag(_PLAIN, b"com/example/Main.class", 1), "zip-encrypted"),
    "packed-by-bzip2": (_with_method(_PLAIN, b"com/example/Main.class", 12), "zip-method"),
    "wide-prefix-not-counted": (jar().but(wide=True, prefix=b"MZ stub", counted=False).build(), "zip-end"),
    "comment-like-an-end": (jar().but(comment=b"PK\5\6" + bytes(19)).build(), "ambiguous-end"),
    "in-another-volume": (_in_another_volume(_PLAIN), "zip-volumes"),
    "manifest-empty": (jar(manifest=b"").build(), "manifest"),
    "manifest-without-version": (jar(manifest=b"Created-By: x\r\n\r\n").build(), "manifest"),
    "manifest-begins-empty": (jar(manifest=b"\r\n" + PLAIN).build(), "manifest"),
    "manifest-without-last-line-end": (jar(manifest=PLAIN[:-4]).build(), "manifest-end"),
    "manifest-with-name-in-main": (jar(manifest=PLAIN[:-2] + b"Name: a\r\n\r\n").build(), "manifest"),
    "manifest-line-is-none": (jar(manifest=PLAIN[:-2] + b"no colon\r\n\r\n").build(), "manifest"),
    "manifest-line-without-space": (jar(manifest=PLAIN[:-2] + b"Key:value\r\n\r\n").build(), "manifest"),
    "manifest-attribute-twice": (jar(manifest=PLAIN[:-2] + b"Main-class: x\r\n\r\n").build(), "manifest-twice"),
    "manifest-not-utf-8": (_section(b"Name: \xff\r\nA: b\r\n\r\n"), "manifest"),
    "manifest-with-zero": (jar(manifest=PLAIN[:-2] + b"Key: a\0b\r\n\r\n").build(), "manifest"),
    "section-without-name": (_section(b"Sealed: true\r\n\r\n"), "manifest"),
    "section-begins-folded": (_section(b" Name: x\r\n\r\n"), "manifest"),
    "section-twice": (_section(2 * (_NAME + b"Sealed: true\r\n\r\n")), "manifest-twice"),
    "section-from-the-root": (_section(b"Name: /com/example/Main.class\r\nA: b\r\n\r\n"), "manifest"),
    "section-with-a-tab-in-its-name": (_section(b"Name: a\tb\r\nA: b\r\n\r\n"), "manifest"),
    "section-with-a-long-name": (_section(b"Name: a" + b"\r\n x" * 4096 + b"\r\nA: b\r\n\r\n"), "manifest"),
    "section-with-magic": (_section(_NAME + b"Magic: x\r\n\r\n"), "manifest-magic"),
    "title-turns-around": (
        jar(manifest=PLAIN[:-2] + "Implementation-Title: a\u202eb\r\n\r\n".encode()).build(),
        "bad-text",
    ),
    "title-too-long": (
        jar(manifest=PLAIN[:-2] + b"Implementation-Title: a\r\n " + b"x" * 300 + b"\r\n\r\n").build(),
        "too-large",
    ),
    "manifest-value-too-long": (
        jar(manifest=PLAIN[:-2] + b"K: " + b"\r\n x" * 70_000 + b"\r\n\r\n").build(),
        "manifest",
    ),
    "65-signature-files": (jar(*FILES, *((f"META-INF/{n}.SF", b"") for n in range(65))).build(), "too-large"),
}


def write() -> None:
    """Write every file; signed ones only when absent."""
    write_vectors(FOLDER, {name: SHAPES[name].build() for name in STORED}, BROKEN, _signed())


def _signed() -> dict[str, bytes]:
    source = SHAPES["sections"].build()
    with tempfile.TemporaryDirectory() as name:
        theirs = jarsigner_signs(source, Path(name), rsa())
    return {
        "signed": sign(source),
        "signed-sha512": sign(source, digest="sha512"),
        "signed-twice": sign(sign(source), existing="append", signer_name="SECOND"),
        "signed-by-jarsigner": theirs,
        "signed-beside-jarsigner": sign(theirs, existing="append", digest="sha384"),
    }


if __name__ == "__main__":
    write()
