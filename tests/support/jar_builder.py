# SPDX-License-Identifier: Apache-2.0
"""JARs in the standard library's zips, and what their signatures should say, worked out without our code."""

from __future__ import annotations

import base64
import hashlib
import io
import zipfile
from functools import cache

from signwright.formats.jar import JarFormat
from signwright.model.patch import Patched, sealed
from signwright.model.view import BytesView
from tests.support import signed_files
from tests.support.pki import Identity
from tests.support.zip_builder import Zip

MANIFEST = "META-INF/MANIFEST.MF"
PLAIN = b"Manifest-Version: 1.0\r\nCreated-By: 17 (Example)\r\nMain-Class: com.example.Main\r\n\r\n"
CLASS = bytes.fromhex("cafebabe0000003d") + bytes(range(256)) * 4
FILES = (("com/", b""), ("com/example/Main.class", CLASS), ("com/example/text.properties", b"key=value\n" * 50))
#: Sections that say something besides a digest: of a package, of a file, and of a file with an old digest.
SECTIONS = (
    PLAIN
    + b"Name: com/example/\r\nSealed: true\r\n\r\n"
    + b"Name: com/example/Main.class\r\nJava-Bean: True\r\n\r\n"
    + b"Name: com/example/text.properties\r\nSHA1-Digest: AAAA\r\nContent-Type: text/plain\r\n\r\n"
)
LONG = "x" * 120


def jar(*files: tuple[str, bytes], manifest: bytes | None = PLAIN) -> Zip:
    """As the ``jar`` tool lays it out: folder, manifest, then the rest."""
    head = (("META-INF/", b""), (MANIFEST, manifest)) if manifest is not None else ()
    return Zip(members=(*head, *(files or FILES)))


SHAPES = {
    "plain": jar(),
    "stored": jar().but(stored=True),
    "descriptors": jar().but(descriptors=True),
    "comment": jar().but(comment=b"a comment\0of any bytes"),
    "prefix": jar().but(prefix=b"#!/bin/sh\nexec java -jar $0\n"),
    "prefix-not-counted": jar().but(prefix=b"MZ stub", counted=False),
    "wide": jar().but(wide=True, comment=b"64 bits"),
    "wide-descriptors": jar().but(wide=True, descriptors=True),
    "no-manifest": jar(manifest=None),
    "no-folder": Zip(members=((MANIFEST, PLAIN), *FILES)),
    "manifest-last": Zip(members=(("META-INF/", b""), *FILES, (MANIFEST, PLAIN))),
    "manifest-last-without-folder": Zip(members=(*FILES, (MANIFEST, PLAIN))),
    "sections": jar(manifest=SECTIONS),
    "main-digest": jar(manifest=PLAIN[:-2] + b"Source-Digest: of something else\r\n\r\n"),
    "line-feeds": jar(manifest=SECTIONS.replace(b"\r\n", b"\n")),
    "carriage-returns": jar(manifest=SECTIONS.replace(b"\r\n", b"\r")),
    "no-empty-line": jar(manifest=PLAIN[:-2]),
    "multi-release": jar(
        *FILES,
        ("META-INF/versions/17/com/example/Main.class", CLASS[::-1]),
        manifest=PLAIN[:-2] + b"Multi-Release: true\r\n\r\n",
    ),
    "nested-signature-names": jar(
        *FILES, ("META-INF/keep/A.SF", b"a file"), ("META-INF/SIG-notes.text", b"a file"), ("META-INF/a.rsa.txt", b"")
    ),
    "names": jar(
        *((f"{LONG}/{n}/" + "n" * n + ".class", b"%d" % n) for n in range(20)),
        *(("ü" * n + "→", b"%d" % n) for n in range(20, 40)),
    ),
    "case": jar(("a/A.class", b"1"), ("a/a.class", b"2"), ("A/a.class", b"3")),
    "war": jar(("WEB-INF/", b""), ("WEB-INF/web.xml", b"<web-app/>"), ("index.jsp", b"<%@ page %>")),
    "ear": jar(("META-INF/application.xml", b"<application/>"), ("web.war", jar().build())),
}


def small_jar() -> bytes:
    """A genuine unsigned JAR."""
    return jar().build()


def rsa() -> Identity:
    return signed_files.identity("rsa2048")


def sign(source: bytes, signer: Identity | None = None, **options: object) -> bytes:
    """The signed JAR."""
    return signed_files.sign(JarFormat(), source, signer or rsa(), **options)


def removed(source: bytes) -> bytes:
    view = BytesView(source)
    patch = sealed(view, JarFormat().remove(view))
    return Patched(view, patch).read(0, patch.result_size)


@cache
def signed_jar() -> bytes:
    return sign(small_jar())


def without_folding(text: bytes) -> list[dict[str, str]]:
    """Sections of a manifest as dictionaries, by the specification's grammar and no more."""
    joined = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n ", b"").decode()
    return [dict(line.split(": ", 1) for line in part.split("\n") if line) for part in joined.split("\n\n") if part]


def check_by_the_book(content: bytes, signer: str, algorithm: str = "sha256") -> dict[str, bytes]:
    """Recompute every digest that a signer's files hold. Answers the members; `AssertionError` for what differs."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        members = {name: archive.read(name) for name in archive.namelist()}
        assert len(members) == len(archive.namelist())
    key, manifest, said = f"SHA-{algorithm[3:]}-Digest", members[MANIFEST], members[f"META-INF/{signer}.SF"]
    assert max(map(len, said.split(b"\r\n"))) <= 70
    main, *sections = without_folding(said)
    assert main[f"{key}-Manifest"] == encoded(manifest, algorithm)
    raw = manifest.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    assert main[f"{key}-Manifest-Main-Attributes"] == encoded(manifest[: _end_of_main(manifest)], algorithm)
    listed = {one["Name"]: one for one in without_folding(manifest)[1:]}
    assert {one["Name"] for one in sections} == set(listed)
    assert raw.endswith(b"\n\n")
    files = {n for n in members if not n.endswith("/") and n != MANIFEST and not is_signature(n)}
    for name in files:
        assert listed[name][key] == encoded(members[name], algorithm)
    return members


def is_signature(name: str) -> bool:
    folder, _, last = name.rpartition("/")
    return folder == "META-INF" and (last.rpartition(".")[2] in ("SF", "RSA", "EC", "DSA"))


def encoded(content: bytes, algorithm: str) -> str:
    return base64.b64encode(hashlib.new(algorithm, content).digest()).decode()


def _end_of_main(manifest: bytes) -> int:
    ends = [manifest.find(mark) + len(mark) for mark in (b"\r\n\r\n", b"\n\n", b"\r\r") if mark in manifest]
    return min(ends)
