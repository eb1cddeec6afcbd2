# SPDX-License-Identifier: Apache-2.0
"""The JAR writer: what it signs, what it refuses, and what it leaves alone."""

from __future__ import annotations

import hashlib
import random
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from signwright.containers.zip import ZipArchive
from signwright.errors import FormatError
from signwright.formats.base import FormatOptions, Prepared
from signwright.formats.jar import JarFormat, JarOptions
from signwright.formats.registry import recognize
from signwright.model.one_pass import THREADS_FROM
from signwright.model.patch import sealed
from signwright.model.view import BytesView
from signwright.readers.jar import JarReader
from tests.support import jar_builder
from tests.support.jar_builder import (
    FILES,
    MANIFEST,
    PLAIN,
    SECTIONS,
    SHAPES,
    check_by_the_book,
    jar,
    removed,
    rsa,
    sign,
    signed_jar,
    small_jar,
    without_folding,
)
from tests.support.jar_vectors import BROKEN, FOLDER, STORED
from tests.support.nuget_builder import small_package
from tests.support.signed_files import envelope_of, identity, sign_view
from tests.support.zip_builder import Zip, unpacked

NAME = "EXAMPLE_"
READER = JarReader()


def prepare(content: bytes, **options: object) -> Prepared:
    return JarFormat().prepare(BytesView(content), rsa().chain, JarOptions.model_validate(options))


def refused(content: bytes, **options: object) -> str | None:
    with pytest.raises(FormatError) as refusal:
        prepare(content, **options)
    return refusal.value.code


def stripped(content: bytes) -> str:
    return READER.read(BytesView(content)).stripped_sha256


def ordinary(content: bytes) -> list[tuple[str, bytes]]:
    """Members that signing does not touch, in order."""
    return [row for row in unpacked(content) if row[0] != MANIFEST and not jar_builder.is_signature(row[0])]


def whole_members(content: bytes) -> dict[str, bytes]:
    """Local header to descriptor, and the record without its offset."""
    archive = ZipArchive(BytesView(content))
    return {
        m.name: content[m.header : m.end]
        + content[m.entry : m.entry + 42]
        + content[m.entry + 46 : m.entry + m.entry_size]
        for m in archive.members
    }


@pytest.mark.parametrize("algorithm", ["sha256", "sha384", "sha512"])
@pytest.mark.parametrize("shape", SHAPES)
def test_every_digest_is_there_and_is_of_what_it_says(shape: str, algorithm: str) -> None:
    source = SHAPES[shape].build()
    prepared = prepare(source, digest=algorithm)
    (operation,), (text,) = prepared.operations, prepared.contents
    assert operation.digest == f"{algorithm}:{hashlib.new(algorithm, text).hexdigest()}"
    assert (operation.template, operation.parameters, operation.inner_path) == ("jar", {}, "")
    assert prepared.source_sha256 == hashlib.sha256(source).hexdigest()
    members = check_by_the_book(sign(source, digest=algorithm), NAME, algorithm)
    assert members[f"META-INF/{NAME}.SF"] == text


@pytest.mark.parametrize("shape", SHAPES)
def test_what_is_signed_reads_back_and_is_its_source_without_the_signature(shape: str) -> None:
    source = SHAPES[shape].build()
    signed = sign(source)
    reading = READER.read(BytesView(signed))
    (found,) = reading.signatures
    plain = removed(signed)
    assert stripped(source) == reading.stripped_sha256 == stripped(plain)
    assert found.notes == {"signer": NAME, "entries": str(prepare(source).facts["entries"])}
    assert READER.read(BytesView(plain)).signatures == ()
    assert ordinary(signed) == ordinary(source) == ordinary(plain)
    before, after = whole_members(source), whole_members(signed)
    assert {name: after[name] for name in before if name != MANIFEST} == {
        name: whole for name, whole in before.items() if name != MANIFEST
    }
    assert signed.startswith(SHAPES[shape].prefix)
    assert signed.endswith(SHAPES[shape].comment)


@pytest.mark.parametrize("shape", SHAPES)
def test_manifest_and_signature_stand_first(shape: str) -> None:
    """In the file and in the directory, behind the folder where that was the first member."""
    signed = sign(SHAPES[shape].build())
    members = ZipArchive(BytesView(signed)).members
    for order in (members, sorted(members, key=lambda member: member.header)):
        names = [member.name for member in order]
        assert names[names[0] == "META-INF/" :][:3] == [MANIFEST, f"META-INF/{NAME}.SF", f"META-INF/{NAME}.RSA"]


@pytest.mark.parametrize("shape", SHAPES)
def test_removing_gives_back_the_source_but_for_packing(shape: str) -> None:
    """A manifest that was made stays; one that was there is as it was, without old digests."""
    source = SHAPES[shape].build()
    plain = dict(unpacked(removed(sign(source))))
    was = dict(unpacked(source)).get(MANIFEST, b"Manifest-Version: 1.0\r\nCreated-By: Signwright\r\n\r\n")
    kept = re.sub(rb"SHA1-Digest: AAAA(\r\n|\n|\r)", b"", was)
    assert plain.pop(MANIFEST) == (kept if shape != "no-empty-line" else kept + b"\r\n")
    assert plain == {name: content for name, content in unpacked(source) if name != MANIFEST}


@pytest.mark.parametrize("name", STORED)
def test_the_good_vector_on_disk_is_what_the_builder_makes(name: str) -> None:
    assert (FOLDER / "good" / f"{name}.bin").read_bytes() == SHAPES[name].build()


@pytest.mark.parametrize("defect", BROKEN)
def test_a_broken_file_is_refused_with_its_code(defect: str) -> None:
    content, code = BROKEN[defect]
    assert (FOLDER / "broken" / f"{defect}.bin").read_bytes() == content
    assert refused(content, existing="replace") == code


def test_new_members_have_no_time_and_the_manifest_keeps_its_own() -> None:
    content = sign(small_jar())
    archive = ZipArchive(BytesView(content))
    times = {m.name: content[m.entry + 12 : m.entry + 16] for m in archive.members}
    assert times[MANIFEST] == times["com/example/Main.class"] != times[f"META-INF/{NAME}.SF"]
    assert times[f"META-INF/{NAME}.SF"] == times[f"META-INF/{NAME}.RSA"] == (0x00210000).to_bytes(4, "little")


def test_the_mark_of_the_jar_tool_stays_on_the_manifest() -> None:
    source = Zip(members=((MANIFEST, PLAIN), *FILES)).build()
    marked = source.replace(b"YS\4\0kept", b"\xfe\xca\0\0junk")
    signed = sign(marked)
    assert b"META-INF/MANIFEST.MF\xfe\xca\0\0" in signed[:80]
    assert b"META-INF/MANIFEST.MF\xfe\xca\0\0" in removed(signed)[:80]
    assert b"\xfe\xca" not in sign(source)[:80]


def test_sections_that_say_more_than_a_digest_are_kept_and_signed() -> None:
    signed = dict(unpacked(sign(jar(manifest=SECTIONS).build())))
    sections = {one["Name"]: one for one in without_folding(signed[MANIFEST])[1:]}
    assert sections["com/example/"] == {"Name": "com/example/", "Sealed": "true"}
    assert set(sections["com/example/Main.class"]) == {"Name", "Java-Bean", "SHA-256-Digest"}
    assert set(sections["com/example/text.properties"]) == {"Name", "Content-Type", "SHA-256-Digest"}
    assert signed[MANIFEST].startswith(SECTIONS[: SECTIONS.index(b"Java-Bean")])


def test_signing_again_replaces_appends_or_refuses() -> None:
    once = signed_jar()
    assert refused(once) == "already-signed"
    assert refused(once, existing="append") == "same-signer"
    replaced = sign(once, identity("p256"), existing="replace", digest="sha384")
    assert [f.notes["signer"] for f in READER.read(BytesView(replaced)).signatures] == [NAME]
    assert f"META-INF/{NAME}.EC" in dict(unpacked(replaced))
    assert f"META-INF/{NAME}.RSA" not in dict(unpacked(replaced))
    assert sign(once, existing="replace") == once
    two = sign(once, existing="append", signer_name="SECOND", digest="sha512")
    three = sign(two, identity("p256"), existing="append", signer_name="THIRD")
    for content, names in ((two, [NAME, "SECOND"]), (three, [NAME, "SECOND", "THIRD"])):
        reading = READER.read(BytesView(content))
        assert sorted(f.notes["signer"] for f in reading.signatures) == names
        assert reading.stripped_sha256 == stripped(small_jar())
        assert dict(unpacked(content))[MANIFEST] == dict(unpacked(once))[MANIFEST]
    assert stripped(removed(three)) == stripped(small_jar())


def _grown(content: bytes, *more: tuple[str, bytes], manifest: bytes | None = None) -> bytes:
    """``content`` packed anew with further members, or another manifest."""
    members = [(n, manifest if n == MANIFEST and manifest is not None else c) for n, c in unpacked(content)]
    return Zip(members=(*members, *more)).build()


def test_append_adds_sections_for_what_nobody_signed_and_changes_none() -> None:
    grown = _grown(signed_jar(), ("later.txt", b"later"))
    sign(sign(SHAPES["main-digest"].build()), existing="append", signer_name="SECOND")
    twice = dict(unpacked(sign(grown, existing="append", signer_name="SECOND", digest="sha384")))
    was = dict(unpacked(grown))[MANIFEST]
    assert twice[MANIFEST].startswith(was)
    assert list(without_folding(twice[MANIFEST][len(was) :])[0]) == ["Name", "SHA-384-Digest"]


def test_append_refuses_where_the_first_signature_would_break_or_does_not_hold() -> None:
    once = signed_jar()
    manifest = dict(unpacked(once))[MANIFEST]
    weak = manifest.replace(b"SHA-256-Digest", b"SHA1-Digest")
    assert refused(_grown(once, manifest=weak), existing="append", signer_name="B") == "manifest-section"
    unsaid = manifest + b"Name: later.txt\r\nContent-Type: text/plain\r\n\r\n"
    grown = _grown(once, ("later.txt", b"later"), manifest=unsaid)
    assert refused(grown, existing="append", signer_name="B") == "manifest-section"
    unclosed = _grown(once, ("later.txt", b"later"), manifest=manifest[:-2])
    assert refused(unclosed, existing="append", signer_name="B") == "manifest-end"
    gone = manifest + b"Name: gone\r\nSHA-256-Digest: " + b"A" * 43 + b"=\r\n\r\n"
    assert refused(_grown(once, manifest=gone), existing="append", signer_name="B") == "missing-entries"
    changed = [(n, c + b"x" if n.endswith(".class") else c) for n, c in unpacked(once)]
    assert refused(Zip(members=tuple(changed)).build(), existing="append", signer_name="B") == "digest"
    for name in (f"META-INF/{NAME}.SF", f"META-INF/{NAME}.RSA"):
        half = Zip(members=tuple(row for row in unpacked(once) if row[0] != name)).build()
        assert refused(half, existing="append", signer_name="B") == "incomplete-signature"
        assert READER.read(BytesView(sign(half, existing="replace"))).signatures
    for more in (("META-INF/SIG-OTHER", b""), ("META-INF/b.ec", b""), (f"META-INF/{NAME.lower()}.sf", b"")):
        assert refused(_grown(once, more), existing="append", signer_name="B") == "incomplete-signature"


def test_a_signature_that_does_not_hold_can_be_replaced() -> None:
    """Programs that merge JARs leave the signatures of their parts behind."""
    stale = [(n, c + b"x" if n.endswith(".class") else c) for n, c in unpacked(signed_jar())]
    source = Zip(members=(*stale, ("META-INF/BC.SF", b"junk"), ("META-INF/BC.DSA", b"junk"))).build()
    signed = sign(source, existing="replace")
    assert READER.stripped(BytesView(source)) == stripped(signed)
    assert [f.notes["signer"] for f in READER.read(BytesView(signed)).signatures] == [NAME]
    check_by_the_book(signed, NAME)


def test_the_signer_s_name_comes_from_the_option_or_from_the_certificate() -> None:
    assert "META-INF/A_-9.SF" in dict(unpacked(sign(small_jar(), signer_name="A_-9")))
    for wrong in ("lower", "NINECHARS", "A.B", "A/B", "Ü", "A\n"):
        with pytest.raises(ValidationError):
            JarOptions(signer_name=wrong)


def test_the_kind_of_key_names_the_block_and_is_known_before_it_is_used() -> None:
    assert prepare(small_jar()).state["block"] == "RSA"
    for chain, options, code in (
        ((), {}, "bad-key"),
        ((b"junk",), {}, "bad-certificate"),
        (identity("ed25519").chain, {}, "bad-key"),
    ):
        with pytest.raises(FormatError) as refusal:
            JarFormat().prepare(BytesView(small_jar()), chain, JarOptions.model_validate(options))
        assert refusal.value.code == code
    chain = identity("ed25519").chain
    assert JarFormat().prepare(BytesView(small_jar()), chain, JarOptions(digest="sha512")).state["block"] == "EC"


def test_facts_are_those_that_a_policy_may_look_at() -> None:
    more = b"Implementation-Title: A title\r\nImplementation-Version: 1.2\r\nImplementation-Vendor: \xc3\x84\r\n\r\n"
    assert prepare(jar(manifest=PLAIN[:-2] + more).build()).facts == {
        "entries": 2,
        "kind": "jar",
        "main_class": "com.example.Main",
        "multi_release": False,
        "signed_before": False,
        "implementation_title": "A title",
        "implementation_version": "1.2",
        "implementation_vendor": "Ä",
    }
    assert prepare(SHAPES["multi-release"].build()).facts["multi_release"] is True
    assert [prepare(SHAPES[name].build()).facts["kind"] for name in ("war", "ear")] == ["war", "ear"]
    assert prepare(signed_jar(), existing="replace").facts["signed_before"] is True


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_is_known_by_its_content(shape: str) -> None:
    view = BytesView(SHAPES[shape].build())
    found = recognize(view)
    assert found is not None
    assert found.name == "jar"
    assert READER.recognizes(BytesView(sign(SHAPES[shape].build())))


@pytest.mark.parametrize(
    "names",
    [
        ("a.txt",),
        ("[Content_Types].xml", "_rels/.rels", "word/document.xml"),
        ("[Content_Types].xml", "embedded/A.class"),
        ("AndroidManifest.xml", "classes.dex", MANIFEST),
        ("AppxManifest.xml", "AppxBlockMap.xml", "A.class"),
        ("META-INF/manifest.xml", "mimetype", "content.xml"),
    ],
    ids=["zip", "docx", "package", "apk", "msix", "odt"],
)
def test_other_zips_are_not_claimed(names: tuple[str, ...]) -> None:
    assert not JarFormat().recognizes(BytesView(Zip(members=tuple((name, b"x") for name in names)).build()))


def test_a_nuget_package_and_junk_are_not_claimed() -> None:
    for content in (small_package(), b"", b"PK\3\4", b"MZ" + bytes(100), b"JM\1\0" + small_jar()):
        assert not JarFormat().recognizes(BytesView(content))


def test_the_patch_is_no_larger_than_what_is_new_and_the_directory() -> None:
    source = jar(*((f"com/example/File{n}.class", b"%d" % n * 3000) for n in range(300))).but(stored=True).build()
    prepared = prepare(source)
    patch = sign_view(JarFormat(), BytesView(source), rsa())
    directory, manifest = prepared.tables
    new = len(manifest) + len(prepared.contents[0]) + 4096
    assert patch.inserted <= new + len(directory)
    assert len(patch.encode()) <= new + len(directory) + (64 << 10)
    assert len(patch.splices) <= 4


def test_state_and_tables_of_another_file_or_form_are_refused() -> None:
    prepared = prepare(small_jar())
    signed = [envelope_of(prepared.operations[0], rsa(), content=prepared.contents[0])]
    other = prepare(SHAPES["sections"].build())
    directory, manifest = prepared.tables
    state = prepared.state
    bad = [
        prepared.model_copy(update={"state": {}}),
        prepared.model_copy(update={"state": {**state, "block": "DSA"}}),
        prepared.model_copy(update={"state": {**state, "signer_name": "../../A"}}),
        prepared.model_copy(update={"state": {**state, "at": 1 << 40}}),
        prepared.model_copy(update={"state": {**state, "entry_at": 0}}),
        prepared.model_copy(update={"state": {**state, "cuts": state["cuts"] * 2}}),
        prepared.model_copy(update={"format": "nuget"}),
        prepared.model_copy(update={"source_size": prepared.source_size + 1}),
        prepared.beside(contents=prepared.contents, tables=(directory,)),
        prepared.beside(contents=prepared.contents, tables=(directory, other.tables[1])),
        prepared.beside(contents=prepared.contents, tables=(directory[:-1], manifest)),
        prepared.beside(contents=prepared.contents, tables=(b"", manifest)),
        prepared.beside(contents=other.contents, tables=prepared.tables),
        prepared.beside(),
    ]
    for one in bad:
        with pytest.raises(FormatError):
            JarFormat().embed(one, signed)
    for envelopes in ([], signed * 2, [b"junk"]):
        with pytest.raises(FormatError):
            JarFormat().embed(prepared, envelopes)
    with pytest.raises(FormatError):
        JarFormat().prepare(BytesView(small_jar()), (), FormatOptions())


def test_nothing_to_remove_is_said() -> None:
    with pytest.raises(FormatError) as refusal:
        removed(small_jar())
    assert refusal.value.code == "not-signed"


TEXT = st.text(st.characters(exclude_categories=["C", "Z"], exclude_characters="/\u034f"), min_size=1, max_size=90)
SAFE = TEXT.filter(lambda name: name.isprintable())


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(SAFE, st.binary(max_size=200)), min_size=1, max_size=6, unique_by=lambda row: row[0]),
    st.sampled_from([None, PLAIN, SECTIONS, PLAIN[:-2], SECTIONS.replace(b"\r\n", b"\n")]),
    st.sampled_from(["sha256", "sha384", "sha512"]),
    st.booleans(),
)
def test_any_files_are_signed_twice_and_read_back(
    files: list[tuple[str, bytes]], manifest: bytes | None, digest: str, stored: bool
) -> None:
    """Names of any length and script: every line of the result has at most 72 bytes and reads back."""
    source = jar(*((f"d/{name}", content) for name, content in files), manifest=manifest).but(stored=stored).build()
    try:
        once = sign(source, digest=digest)
    except FormatError as problem:
        assert problem.code == "zip-name"  # noqa: PT017 - characters that no signed text may have
        return
    twice = sign(once, identity("p256"), existing="append", signer_name="SECOND")
    assert stripped(source) == stripped(once) == stripped(twice) == stripped(removed(twice))
    reading = READER.read(BytesView(twice))
    assert len(reading.signatures) == 2
    assert READER.read(BytesView(twice)) == reading
    members = check_by_the_book(once, NAME, digest)
    assert all(len(line) <= 70 for line in re.split(rb"\r\n|\n|\r", members[MANIFEST]))


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 5000), st.binary(max_size=12))
def test_junk_in_a_file_never_gives_another_error(at: int, junk: bytes) -> None:
    content = signed_jar()
    bent = content[:at] + junk + content[at + len(junk) :]
    for call in (lambda: prepare(bent, existing="append", signer_name="B"), lambda: removed(bent)):
        try:
            call()
        except FormatError:
            pass
    JarFormat().recognizes(BytesView(bent))


_MEASURE = """
import resource, sys
from pathlib import Path
from signwright.formats.jar import JarFormat, JarOptions
from signwright.model.view import FileView
chain = (Path(sys.argv[2]).read_bytes(),)
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
before = peak()
with open(sys.argv[1], "rb") as file:
    JarFormat().prepare(FileView(file), chain, JarOptions())
print((peak() - before) >> 10)
"""


def test_memory_does_not_grow_with_a_member(tmp_path: Path) -> None:
    (tmp_path / "a.jar").write_bytes(jar(("large", bytes(96 << 20)), *FILES).but(stored=True).build())
    (tmp_path / "cert").write_bytes(rsa().certificate)
    command = [sys.executable, "-c", _MEASURE, str(tmp_path / "a.jar"), str(tmp_path / "cert")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert int(done.stdout) < 24


@pytest.mark.parametrize("stored", [True, False])
def test_without_threads_the_digests_are_the_same(monkeypatch: pytest.MonkeyPatch, stored: bool) -> None:
    """A sandbox may forbid them. Large and small members, gaps between them and a prefix."""
    block = random.Random(1).randbytes(1 << 18)
    files = [(f"large{n}", block[n:] * 9) for n in range(2)] + [(f"small{n}", block[:n]) for n in range(200)]
    source = jar(*files).but(stored=stored, prefix=b"#!/bin/sh\n", comment=b"x").build()
    assert len(source) > THREADS_FROM
    with_threads = prepare(source)

    def forbidden(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(ThreadPoolExecutor, "submit", forbidden)
    without = prepare(source)
    assert with_threads.pack() == without.pack()
    assert without.source_sha256 == hashlib.sha256(source).hexdigest()
    check_by_the_book(sign(source), NAME)


def test_a_sealed_patch_is_the_same_each_time() -> None:
    view, prepared = BytesView(small_jar()), prepare(small_jar())
    envelopes = [envelope_of(prepared.operations[0], rsa(), content=prepared.contents[0])]
    again = Prepared.unpack(prepared.pack())
    assert sealed(view, JarFormat().embed(prepared, envelopes)) == sealed(view, JarFormat().embed(again, envelopes))
