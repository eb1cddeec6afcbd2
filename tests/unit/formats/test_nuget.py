# SPDX-License-Identifier: Apache-2.0
"""The NuGet writer: what it signs, what it refuses, and what it leaves alone."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from signwright.errors import FormatError
from signwright.formats import nuget
from signwright.formats.base import FormatOptions, Prepared
from signwright.formats.nuget import NuGetFormat, NuGetOptions
from signwright.formats.nuspec import nuspec_facts
from signwright.formats.registry import recognize
from signwright.formats.zip_patch import open_zip
from signwright.model.patch import Patched, sealed
from signwright.model.view import BytesView
from signwright.readers.nuget import NuGetReader
from tests.support.large_files import growth_kib
from tests.support.nuget_builder import (
    CONTENT_TYPES,
    NUSPEC,
    SHAPES,
    by_the_book,
    package,
    rsa,
    sign,
    signed_package,
    small_package,
)
from tests.support.nuget_vectors import BROKEN, FOLDER
from tests.support.package_signatures import countersigned, envelope, resigned
from tests.support.pki import default_pki
from tests.support.signed_files import envelope_of, sign_view
from tests.support.zip_builder import Zip, unpacked

READER = NuGetReader()


def prepare(content: bytes, **options: object) -> Prepared:
    return NuGetFormat().prepare(BytesView(content), rsa().chain, NuGetOptions.model_validate(options))


def removed(content: bytes) -> bytes:
    view = BytesView(content)
    patch = sealed(view, NuGetFormat().remove(view))
    return Patched(view, patch).read(0, patch.result_size)


@pytest.mark.parametrize("algorithm", ["sha256", "sha384", "sha512"])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_operation_carries_the_digest_of_the_package(shape: str, algorithm: str) -> None:
    source = SHAPES[shape].build()
    (operation,) = prepare(source, digest=algorithm).operations
    assert operation.digest == f"{algorithm}:{hashlib.new(algorithm, source).hexdigest()}"
    assert (operation.template, operation.parameters) == ("nuget", {})


@pytest.mark.parametrize("shape", SHAPES)
def test_a_signed_package_reads_back_and_is_its_source_without_the_signature(shape: str) -> None:
    source = SHAPES[shape].build()
    signed = sign(source, digest="sha384")
    reading = READER.read(BytesView(signed))
    (found,) = reading.signatures
    assert reading.stripped_sha256 == hashlib.sha256(source).hexdigest() == by_the_book(signed)
    assert found.content_digest.hex == by_the_book(signed, "sha384")
    assert found.notes == {"type": "author"}
    assert removed(signed) == source
    members = unpacked(signed)
    assert members[:-1] == unpacked(source)
    assert members[-1] == (".signature.p7s", found.envelope)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_good_vector_on_disk_is_what_the_builder_makes(shape: str) -> None:
    assert (FOLDER / "good" / f"{shape}.bin").read_bytes() == SHAPES[shape].build()


@pytest.mark.parametrize("name", ["signed", "signed-sha512"])
def test_a_package_that_was_signed_long_ago_still_reads(name: str) -> None:
    content = (FOLDER / "good" / f"{name}.bin").read_bytes()
    assert READER.read(BytesView(content)).signatures
    assert prepare(content, existing="replace").facts["signed_before"] is True


@pytest.mark.parametrize("defect", BROKEN)
def test_a_broken_package_is_refused_with_its_code(defect: str) -> None:
    content, code = BROKEN[defect]
    assert (FOLDER / "broken" / f"{defect}.bin").read_bytes() == content
    with pytest.raises(FormatError) as refusal:
        prepare(content, existing="replace")
    assert refusal.value.code == code


def test_the_signature_s_headers_are_those_that_nuget_demands() -> None:
    """Flags, method, external attributes 0; no extra field, no comment, no descriptor; last in file and directory."""
    signed = signed_package()
    end = signed.rindex(b"PK\5\6")
    record = signed[end - 46 - 14 : end]
    assert record.startswith(b"PK\1\2\x14\0\x14\0" + bytes(4))
    assert record[28:42] == b"\x0e\0" + bytes(12)
    local = int.from_bytes(record[42:46], "little")
    assert signed[local : local + 10] == b"PK\3\4\x14\0" + bytes(4)
    assert signed[local + 26 : local + 44] == b"\x0e\0\0\0.signature.p7s"
    assert signed[local + 10 : local + 26] == record[12:28]
    size = int.from_bytes(record[20:24], "little")
    assert local + 44 + size == int.from_bytes(signed[end + 16 : end + 20], "little")


def test_only_the_new_member_its_record_and_the_end_are_in_the_patch() -> None:
    many = package(NUSPEC, *((f"content/{n}", b"x" * 5000) for n in range(300))).but(stored=True)
    source = many.build()
    patch = sign_view(NuGetFormat(), BytesView(source), rsa())
    assert len(patch.splices) == 3
    assert all(s.remove == 0 for s in patch.splices[:2])
    assert patch.splices[2].remove == 22
    assert patch.inserted < 4096


def test_a_signed_package_is_refused_by_default() -> None:
    with pytest.raises(FormatError) as refusal:
        prepare(signed_package())
    assert refusal.value.code == "already-signed"


@pytest.mark.parametrize("shape", SHAPES)
def test_an_author_s_signature_is_replaced_and_the_package_is_the_same(shape: str) -> None:
    source = SHAPES[shape].build()
    other = default_pki().code_signing("rsa3072")
    once = sign(source)
    twice = sign(once, other, existing="replace", digest="sha512")
    (found,) = READER.read(BytesView(twice)).signatures
    assert found.signer_certificate == other.certificate
    assert removed(twice) == source
    assert len(sign(twice, existing="replace")) == len(once)


@pytest.mark.parametrize("kind", ["repository", "none", "countersigned", "two-signers"])
def test_what_a_repository_signed_is_refused_and_not_replaced(kind: str) -> None:
    signed = {
        "repository": lambda: resigned(small_package(), envelope(small_package(), commitment="repository")),
        "none": lambda: resigned(small_package(), envelope(small_package(), commitment=None)),
        "countersigned": lambda: resigned(small_package(), countersigned(envelope(small_package()))),
        "two-signers": lambda: resigned(small_package(), envelope(small_package(), signers=2)),
    }[kind]()
    with pytest.raises(FormatError) as refusal:
        prepare(signed, existing="replace")
    assert refusal.value.code == ("bad-envelope" if kind == "two-signers" else "repository-signed")
    assert removed(signed) == small_package()


def test_nothing_is_removed_where_there_is_no_signature_or_not_in_its_place() -> None:
    for content, code in ((small_package(), "not-signed"), (BROKEN["signature-not-last"][0], "signature-not-last")):
        with pytest.raises(FormatError) as refusal:
            NuGetFormat().remove(BytesView(content))
        assert refusal.value.code == code


def test_facts_are_the_identity_of_the_package() -> None:
    assert prepare(small_package()).facts == {
        "id": "Example.Package",
        "version": "1.2.3-beta.1",
        "authors": "Example, Inc.",
        "signed_before": False,
    }


@pytest.mark.parametrize(
    ("nuspec", "wanted"),
    [
        (NUSPEC.encode("utf-16"), "Example, Inc."),
        (b"\xef\xbb\xbf" + NUSPEC.encode(), "Example, Inc."),
        (
            NUSPEC.replace(' xmlns="http://schemas.microsoft.com/packaging/2013/05/nuspec.xsd"', "").encode(),
            "Example, Inc.",
        ),
        (NUSPEC.replace("Example, Inc.", "\n  A &#x42;,\n\tGröße  ").encode(), "A B, Größe"),
        (NUSPEC.replace("Example, Inc.", "<![CDATA[A & B]]>").encode(), "A & B"),
        (NUSPEC.replace("<authors>Example, Inc.</authors>", "").encode(), None),
        (NUSPEC.replace("<dependencies>", "<files><id>other</id></files><dependencies>").encode(), "Example, Inc."),
    ],
    ids=["utf-16", "byte-order-mark", "no-namespace", "white-space", "cdata", "no-authors", "id-elsewhere"],
)
def test_a_nuspec_is_read_in_every_form_that_xml_allows(nuspec: bytes, wanted: str | None) -> None:
    facts = nuspec_facts(nuspec)
    assert facts["id"] == "Example.Package"
    assert facts.get("authors") == wanted


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200), st.integers(0, len(NUSPEC)), st.integers(0, 40))
def test_any_nuspec_is_read_or_refused(noise: bytes, at: int, cut: int) -> None:
    content = NUSPEC.encode()
    try:
        facts = nuspec_facts(content[:at] + noise + content[at + cut :])
    except FormatError:
        return
    assert set(facts) >= {"id", "version"}


def test_options_that_are_not_sound_are_refused() -> None:
    for options in ({"digest": "sha1"}, {"existing": "append"}, {"description": "x"}):
        with pytest.raises(ValidationError):
            NuGetOptions.model_validate(options)
    with pytest.raises(FormatError, match="wanted NuGetOptions"):
        NuGetFormat().prepare(BytesView(small_package()), (), FormatOptions())


def test_a_key_that_nuget_does_not_know_is_refused_before_it_is_used() -> None:
    for chain, code in ((default_pki().code_signing("p256").chain, "bad-key"), ((b"junk",), "bad-certificate")):
        with pytest.raises(FormatError) as refusal:
            NuGetFormat().prepare(BytesView(small_package()), chain, NuGetOptions())
        assert refusal.value.code == code


def test_a_package_that_would_need_64_bits_when_signed_is_refused_before_a_key_is_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    members = len(package().members)
    for name, limit in (("MAX_MEMBERS", members), ("LIMIT32", 1 << 20)):
        with monkeypatch.context() as patched:
            patched.setattr(nuget, name, limit)
            with pytest.raises(FormatError) as refusal:
                prepare(small_package())
            assert refusal.value.code == "too-large"
    monkeypatch.setattr(nuget, "MAX_MEMBERS", members + 1)
    assert sign(sign(small_package()), existing="replace")
    monkeypatch.setattr(nuget, "MAX_DIRECTORY", 10)
    with pytest.raises(FormatError) as refusal:
        prepare(small_package())
    assert refusal.value.code == "too-large"


@pytest.mark.parametrize(
    "change",
    [
        {"at": -1},
        {"at": 1 << 40},
        {"remove": 1 << 40},
        {"entry_at": 0},
        {"entry_remove": 1 << 40},
        {"plan": {}},
        {"more": 1},
    ],
)
def test_a_state_that_does_not_hold_is_refused(change: dict[str, object]) -> None:
    prepared = prepare(small_package())
    broken = prepared.model_copy(update={"state": {**prepared.state, **change}})
    with pytest.raises(FormatError) as refusal:
        NuGetFormat().embed(broken, [envelope_of(prepared.operations[0], rsa())])
    assert refusal.value.code == "bad-state"


def test_a_state_of_another_package_or_format_is_refused() -> None:
    prepared = prepare(small_package())
    one = envelope_of(prepared.operations[0], rsa())
    for update in ({"format": "pe"}, {"source_size": 7}):
        with pytest.raises(FormatError) as refusal:
            NuGetFormat().embed(prepared.model_copy(update=update), [one])
        assert refusal.value.code == "bad-state"
    for envelopes in ([], [one, one], [b"junk"], [one + b"\0"]):
        with pytest.raises(FormatError) as refusal:
            NuGetFormat().embed(prepared, envelopes)
        assert refusal.value.code == "bad-envelope"


def test_recognition_is_by_content_and_leaves_other_formats_alone() -> None:
    for shape in SHAPES.values():
        assert recognize(BytesView(shape.build())) is not None
        assert NuGetFormat().recognizes(BytesView(shape.build()))
    assert NuGetFormat().recognizes(BytesView(signed_package()))
    nuspec, types = ("a.nuspec", NUSPEC.encode()), ("[Content_Types].xml", CONTENT_TYPES.encode())
    others = [
        (nuspec,),
        (types,),
        (types, ("folder/a.nuspec", b"")),
        (nuspec, types, ("META-INF/MANIFEST.MF", b"")),
        (nuspec, types, ("AppxManifest.xml", b"")),
        (),
    ]
    for members in others:
        assert not NuGetFormat().recognizes(BytesView(Zip(members=members).build())), members
        assert not members or members[0] == nuspec or not READER.recognizes(BytesView(Zip(members=members).build()))
    for content in (b"", b"PK", b"PK\3\4", b"PK\3\4" + bytes(100), small_package()[:-1], b"MZ" + small_package()):
        assert not NuGetFormat().recognizes(BytesView(content))
        assert not READER.recognizes(BytesView(content))


@pytest.mark.parametrize("shape", ["deflated", "descriptors", "comment"])
def test_what_the_writer_takes_with_any_byte_changed_the_reader_reads(shape: str) -> None:
    """So that no key is used for a package whose signature would then be refused."""
    source, taken = SHAPES[shape].build(), 0
    inside = {at for m in open_zip(BytesView(source)).members for at in range(m.start + 2, m.start + m.packed)}
    for at in set(range(len(source))) - inside:
        changed = source[:at] + bytes([source[at] ^ 0x21]) + source[at + 1 :]
        try:
            prepare(changed)
        except FormatError:
            continue
        taken += 1
        reading = READER.read(BytesView(sign(changed)))
        assert reading.stripped_sha256 == hashlib.sha256(changed).hexdigest()
    assert taken > 50


NAMES = st.text("abcü/._- ", min_size=1, max_size=20).filter(lambda name: not name.endswith((".nuspec", "/")))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(NAMES, st.binary(max_size=400)), max_size=6, unique_by=lambda row: row[0]),
    st.booleans(),
    st.booleans(),
    st.binary(max_size=60).filter(lambda comment: b"PK" not in comment),
    st.sampled_from(["sha256", "sha512"]),
)
def test_any_package_is_signed_read_replaced_and_restored(
    more: list[tuple[str, bytes]], stored: bool, described: bool, comment: bytes, digest: str
) -> None:
    source = package(NUSPEC, *more).but(stored=stored, descriptors=described, comment=comment).build()
    once = sign(source, digest=digest)
    again = sign(once, existing="replace")
    for signed in (once, again):
        first, second = (READER.read(BytesView(signed)) for _ in range(2))
        assert first == second
        assert first.stripped_sha256 == hashlib.sha256(source).hexdigest() == by_the_book(signed)
        assert removed(signed) == source
    assert again == sign(removed(once))


def test_memory_does_not_grow_with_the_package(tmp_path: Path) -> None:
    """Peak memory of a process that prepares a package of 128 MiB, over one of 8 MiB."""
    small, large = tmp_path / "small", tmp_path / "large"
    for path, blocks in ((small, 8), (large, 128)):
        with zipfile.ZipFile(path, "w") as archive:
            for member, content in package().members:
                archive.writestr(member, content)
            with archive.open("content/big", "w") as big:
                for _ in range(blocks):
                    big.write(bytes(1 << 20))
    options = 'NuGetOptions(digest="sha512")'
    assert growth_kib(small, large, "signwright.formats.nuget", "NuGetFormat()", options) < 8 << 10
