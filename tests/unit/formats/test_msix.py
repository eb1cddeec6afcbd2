# SPDX-License-Identifier: Apache-2.0
"""The MSIX writer: what it signs, what it refuses, and what it leaves alone."""

from __future__ import annotations

import hashlib
import io
import struct
import zipfile
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from signwright.envelopes.base import check_seen
from signwright.envelopes.templates import TEMPLATES
from signwright.errors import FormatError, MalformedError
from signwright.formats import msix
from signwright.formats.authenticode import MAX_ENVELOPE
from signwright.formats.base import FormatOptions, Prepared
from signwright.formats.msix import MsixFormat, MsixOptions
from signwright.formats.msix_package import open_package
from signwright.formats.msix_publisher import publisher_of
from signwright.formats.registry import recognize
from signwright.model.patch import Patched, sealed
from signwright.model.view import BytesView
from signwright.readers.msix import MsixReader
from signwright.readers.subjects import subject_text
from tests.support.msix_builder import (
    OVERRIDE,
    PUBLISHER,
    SHAPES,
    SIGNATURE,
    Bundle,
    Msix,
    sign,
    signed_msix,
    small_bundle,
    small_msix,
)
from tests.support.msix_vectors import BROKEN, FOLDER
from tests.support.nuget_builder import small_package
from tests.support.pki import NOT_AFTER, NOT_BEFORE, default_pki, private_key
from tests.support.signed_files import envelope_of, identity, sign_view

READER = MsixReader()
CHAIN = identity("rsa2048").chain


def prepare(content: bytes, **options: object) -> Prepared:
    return MsixFormat().prepare(BytesView(content), CHAIN, MsixOptions.model_validate(options))


def code_of(content: bytes, **options: object) -> str:
    with pytest.raises(FormatError) as refusal:
        prepare(content, **options)
    return refusal.value.code


def removed(content: bytes) -> bytes:
    view = BytesView(content)
    patch = sealed(view, MsixFormat().remove(view))
    return Patched(view, patch).read(0, patch.result_size)


def stripped(content: bytes) -> str:
    return READER.read(BytesView(content)).stripped_sha256


def members(content: bytes) -> dict[str, bytes]:
    """As the standard library reads them, checksums checked."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        return {info.filename: archive.read(info) for info in archive.infolist()}


def raw_members(content: bytes) -> dict[str, bytes]:
    """Every byte from one local header to the next."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        starts = [*(info.header_offset for info in archive.infolist()), archive.start_dir]
        names = archive.namelist()
    return {name: content[a:b] for name, a, b in zip(names, starts, starts[1:], strict=False)}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_signed_package_reads_back_and_every_other_member_keeps_its_bytes(shape: str) -> None:
    source = SHAPES[shape].build()
    signed = sign(source)
    reading = READER.read(BytesView(signed))
    (found,) = reading.signatures
    assert reading.stripped_sha256 == stripped(source)
    assert found.signer_certificate == identity("rsa2048").certificate
    old, new = raw_members(source), raw_members(signed)
    assert list(new) == [*old, SIGNATURE]
    assert [name for name in old if old[name] != new[name]] == ["[Content_Types].xml"] * (shape != "declared")
    assert members(signed)[SIGNATURE] == b"PKCX" + found.envelope
    text = members(signed)["[Content_Types].xml"]
    assert text.count(OVERRIDE.encode()) == 1
    assert text.replace(OVERRIDE.encode(), b"") == members(source)["[Content_Types].xml"].replace(
        OVERRIDE.encode(), b""
    )


@pytest.mark.parametrize("shape", SHAPES)
def test_removing_gives_back_a_package_that_reads_as_the_source(shape: str) -> None:
    source = SHAPES[shape].build()
    unsigned = removed(sign(source))
    assert READER.read(BytesView(unsigned)).signatures == ()
    assert stripped(unsigned) == stripped(source)
    assert SIGNATURE not in members(unsigned)
    assert OVERRIDE.encode() not in members(unsigned)["[Content_Types].xml"]
    assert sign(unsigned, existing="refuse") == sign(unsigned)
    with pytest.raises(FormatError) as refusal:
        removed(unsigned)
    assert refusal.value.code == "not-signed"


@pytest.mark.parametrize("shape", SHAPES)
def test_signing_again_changes_nothing_but_the_signature(shape: str) -> None:
    once = sign(SHAPES[shape].build())
    twice = sign(once, existing="replace", description="Again")
    first, second = raw_members(once), raw_members(twice)
    assert [name for name in first if first[name] != second[name]] == [SIGNATURE]
    assert prepare(once, existing="replace").operations == prepare(SHAPES[shape].build()).operations
    assert stripped(once) == stripped(twice)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_good_vector_on_disk_is_what_the_builder_makes(shape: str) -> None:
    assert (FOLDER / "good" / f"{shape}.bin").read_bytes() == SHAPES[shape].build()


@pytest.mark.parametrize("name", ["signed-packager", "signed-newer-packager", "signed-sha512"])
def test_a_package_that_was_signed_long_ago_still_reads(name: str) -> None:
    content = (FOLDER / "good" / f"{name}.bin").read_bytes()
    assert READER.read(BytesView(content)).signatures
    assert prepare(content, existing="replace").facts["signed_before"] is True


@pytest.mark.parametrize("defect", BROKEN)
def test_a_broken_package_is_refused_with_its_code(defect: str) -> None:
    content, code = BROKEN[defect]
    assert (FOLDER / "broken" / f"{defect}.bin").read_bytes() == content
    assert code_of(content, existing="replace") == code


def test_what_is_signed_are_the_digests_of_the_parts_by_the_book() -> None:
    """Recomputed from the signed file in plain steps: members up to the signature, directory without its record."""
    signed = sign(SHAPES["catalog"].build())
    parts = members(signed)
    with zipfile.ZipFile(io.BytesIO(signed)) as archive:
        info, start = archive.getinfo(SIGNATURE), archive.start_dir
    wide = signed.rindex(b"PK\6\6")
    record = signed.rindex(b"PK\1\2", 0, wide)
    count = struct.unpack_from("<Q", signed, wide + 24)[0] - 1
    end = signed[wide : wide + 24] + struct.pack("<4Q", count, count, record - start, info.header_offset)
    end += signed[wide + 56 : wide + 64] + struct.pack("<Q", info.header_offset + record - start) + signed[wide + 72 :]
    digests = {
        b"AXPC": signed[: info.header_offset],
        b"AXCD": signed[start:record] + end,
        b"AXCT": parts["[Content_Types].xml"],
        b"AXBM": parts["AppxBlockMap.xml"],
        b"AXCI": parts["AppxMetadata/CodeIntegrity.cat"],
    }
    wanted = b"APPX" + b"".join(mark + hashlib.sha256(content).digest() for mark, content in digests.items())
    (content,) = prepare(SHAPES["catalog"].build()).contents
    assert content.endswith(wanted)
    assert wanted in parts[SIGNATURE]


@pytest.mark.parametrize("shape", ["packager", "catalog", "sha384", "sha512"])
def test_content_is_what_the_template_wants_to_see(shape: str) -> None:
    prepared = prepare(SHAPES[shape].build())
    (operation,), (content,) = prepared.operations, prepared.contents
    assert operation.template == "authenticode-appx"
    assert operation.digest.startswith(SHAPES[shape].algorithm)
    check_seen(TEMPLATES[operation.template], operation, content)


@given(at=st.integers(0, 400), mask=st.integers(1, 255))
@settings(max_examples=80)
def test_no_other_content_is_a_package_s_in_its_one_form(at: int, mask: int) -> None:
    prepared = prepare(small_msix())
    (operation,), (content,) = prepared.operations, prepared.contents
    check = TEMPLATES[operation.template].check_content
    assert check is not None
    wrong, at = bytearray(content), at % len(content)
    wrong[at] ^= mask
    try:
        check(operation, bytes(wrong))
    except MalformedError:
        return
    # What may differ are the digests themselves, never their marks.
    start = content.index(b"APPX") + 4
    assert at >= start
    assert (at - start) % 36 >= 4


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"AXPC", b"AXCD"),
        (b"AXBM", b"AXCI"),
        (b"APPX", b"APPY"),
        (bytes.fromhex("4bdfc50a"), bytes.fromhex("b3585f0f")),
        (b"", b"\x30\x00"),
    ],
    ids=["twice", "no-block-map", "no-mark", "half-a-bundle", "more"],
)
def test_content_with_other_marks_or_of_another_kind_is_refused(old: bytes, new: bytes) -> None:
    prepared = prepare(small_msix())
    (operation,), (content,) = prepared.operations, prepared.contents
    wrong = content.replace(old, new, 1) if old else content + new
    assert wrong != content
    for template in ("authenticode-appx", "authenticode-appx-bundle", "authenticode-pe-pages"):
        check = TEMPLATES[template].check_content
        assert check is not None
        with pytest.raises(MalformedError):
            check(operation, wrong)
    bundle = TEMPLATES["authenticode-appx-bundle"].check_content
    assert bundle is not None
    with pytest.raises(MalformedError):
        bundle(operation, content)


def test_facts_are_the_manifest_s() -> None:
    assert prepare(small_msix()).facts == {
        "name": "Example.Package",
        "publisher": PUBLISHER,
        "version": "1.2.3.0",
        "architecture": "x64",
        "signed_before": False,
    }
    neutral = Msix(manifest=Msix().manifest.replace(' ProcessorArchitecture="x64"', ""))
    assert prepare(neutral.build()).facts["architecture"] == "neutral"


def test_a_signed_package_is_refused_by_default() -> None:
    assert code_of(signed_msix()) == "already-signed"


@pytest.mark.parametrize("shape", ["packager", "sha384", "sha512"])
def test_the_block_map_says_the_digest_and_another_is_refused(shape: str) -> None:
    own = SHAPES[shape].algorithm
    for asked in ("sha256", "sha384", "sha512"):
        if asked == own:
            assert prepare(SHAPES[shape].build(), digest=asked).operations
        else:
            assert code_of(SHAPES[shape].build(), digest=asked) == "wrong-digest"


def test_a_publisher_that_is_not_the_subject_is_refused_with_both_names() -> None:
    with pytest.raises(FormatError) as refusal:
        prepare(small_msix("CN=Somebody Else"))
    assert "'CN=Somebody Else'" in refusal.value.message
    assert repr(PUBLISHER) in refusal.value.message


def test_without_a_certificate_nothing_is_signed() -> None:
    with pytest.raises(FormatError) as refusal:
        MsixFormat().prepare(BytesView(small_msix()), (), MsixOptions())
    assert refusal.value.code == "no-certificate"
    with pytest.raises(FormatError) as refusal:
        MsixFormat().prepare(BytesView(small_msix()), (b"0\x00",), MsixOptions())
    assert refusal.value.code == "bad-certificate"


def certificate_of(*names: list[tuple[str, str]]) -> bytes:
    """Self-signed; each list is one relative name."""
    key = private_key("p256", "names")
    subject = x509.Name(
        [
            x509.RelativeDistinguishedName(
                [x509.NameAttribute(x509.ObjectIdentifier(kind), text, _validate=False) for kind, text in name]
            )
            for name in names
        ]
    )
    builder = x509.CertificateBuilder(subject, subject, key.public_key(), 1, NOT_BEFORE, NOT_AFTER - timedelta(1))  # type: ignore[arg-type]
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)  # type: ignore[arg-type]


CN, O, OU, C, S, E = "2.5.4.3", "2.5.4.10", "2.5.4.11", "2.5.4.6", "2.5.4.8", "1.2.840.113549.1.9.1"
SUBJECTS = {
    "plain": ([[(C, "DE")], [(O, "Example")], [(CN, "Example")]], "CN=Example, O=Example, C=DE"),
    "comma": ([[(O, "Example, Inc.")]], 'O="Example, Inc."'),
    "quote": ([[(O, 'The "Example"')]], 'O="The ""Example"""'),
    "blanks": ([[(O, " Example ")]], 'O=" Example "'),
    "specials": ([[(O, "a+b")], [(OU, "c;d")], [(CN, "e=f")]], 'CN="e=f", OU="c;d", O="a+b"'),
    "hash-and-angles": ([[(O, "#1")], [(CN, "<x>")]], 'CN="<x>", O="#1"'),
    "apostrophe": ([[(O, "Foo's Bar & Co")]], "O=Foo's Bar & Co"),
    "several-in-one": ([[(O, "A"), (OU, "B")], [(CN, "C")]], None),
    "state": ([[(C, "US")], [(S, "Washington")], [("2.5.4.7", "Redmond")]], "L=Redmond, S=Washington, C=US"),
    "extended-validation": (
        [[("1.3.6.1.4.1.311.60.2.1.3", "US")], [("2.5.4.15", "Private Organization")], [("2.5.4.5", "123")]],
        "SERIALNUMBER=123, OID.2.5.4.15=Private Organization, OID.1.3.6.1.4.1.311.60.2.1.3=US",
    ),
    "address": (
        [[("2.5.4.9", "Road 1")], [("2.5.4.17", "12345")], [(E, "a@example.org")]],
        "E=a@example.org, PostalCode=12345, STREET=Road 1",
    ),
    "unicode": ([[(O, "Gebrüder Müßig 株式会社")]], "O=Gebrüder Müßig 株式会社"),
}


@pytest.mark.parametrize("name", SUBJECTS)
def test_a_subject_is_spelt_as_manifests_spell_it_by_writer_and_reader(name: str) -> None:
    parts, text = SUBJECTS[name]
    certificate = certificate_of(*parts)
    assert publisher_of(certificate) == subject_text(certificate)
    if text is not None:
        assert publisher_of(certificate) == text


def test_only_the_places_that_change_are_in_the_patch() -> None:
    many = Msix(files=tuple((f"content/{n}.bin", b"x" * 5000) for n in range(300)), stored=True)
    source = many.build()
    patch = sign_view(MsixFormat(), BytesView(source), identity("rsa2048"))
    directory = source.rindex(b"PK\6\6") - source.index(b"PK\1\2")
    assert len(patch.splices) == 4
    assert patch.inserted < directory + 4096


def test_a_package_that_unpacks_to_too_much_is_refused() -> None:
    assert code_of(Msix(files=(("zeros.bin", bytes(8 << 20)),)).build()) == "archive-ratio"


def test_a_package_that_would_become_a_64_bit_zip_is_refused_before_a_key_is_used() -> None:
    view = BytesView(SHAPES["narrow"].build())
    package = open_package(view)
    view.size = (1 << 32) - MAX_ENVELOPE  # only this number is looked at
    with pytest.raises(FormatError) as refusal:
        msix._check_room(view, package)
    assert refusal.value.code == "too-large"


def test_recognised_by_content_and_never_a_package_of_others() -> None:
    one = MsixFormat()
    for content in (small_msix(), signed_msix(), small_bundle()):
        found = recognize(BytesView(content))
        assert found is not None
        assert found.name == "msix"
        assert READER.recognizes(BytesView(content))
    for content in (b"", b"PK\3\4", small_package(), b"EXPH" + bytes(100), b"MZ" + bytes(300)):
        assert not one.recognizes(BytesView(content))
        assert not READER.recognizes(BytesView(content))


def test_options_are_the_format_s_own_and_strict() -> None:
    with pytest.raises(FormatError):
        MsixFormat().prepare(BytesView(small_msix()), CHAIN, FormatOptions())
    for wrong in ({"existing": "append"}, {"digest": "sha1"}, {"digest": "md5"}, {"pages": True}, {"url": "ftp://a"}):
        with pytest.raises(ValidationError):
            MsixOptions.model_validate(wrong)


def test_state_that_was_changed_on_its_way_is_refused() -> None:
    prepared = prepare(small_msix())
    envelope = envelope_of(prepared.operations[0], identity("rsa2048"), content=prepared.contents[0])
    state = prepared.state
    for wrong in (
        {},
        state | {"more": 1},
        state | {"signature": state["signature"] | {"at": -1}},
        state | {"signature": state["signature"] | {"at": 10**9}},
        state | {"signature": state["signature"] | {"entry_at": 7}},
        state | {"plan": state["plan"] | {"size": 99}},
        state | {"plan": state["plan"] | {"tail": "00" * 98}},
        state | {"types": state["types"] | {"entry_remove": 3}},
    ):
        changed = prepared.model_copy(update={"state": wrong}).beside(tables=prepared.tables)
        with pytest.raises(FormatError):
            MsixFormat().embed(changed, (envelope,))
    for tables in ((), prepared.tables[:1], (b"", b""), (prepared.tables[0][:-1], prepared.tables[1])):
        with pytest.raises(FormatError):
            MsixFormat().embed(prepared.beside(tables=tables), (envelope,))
    for envelopes in ((), (envelope, envelope), (b"x",), (b"\x30\x00",)):
        with pytest.raises(FormatError):
            MsixFormat().embed(prepared, envelopes)


@given(
    contents=st.lists(st.binary(max_size=200), max_size=6),
    large=st.integers(0, 200_000),
    wide=st.booleans(),
    described=st.booleans(),
    stored=st.booleans(),
)
@settings(max_examples=30, deadline=None)
def test_any_package_is_signed_read_signed_again_and_restored(
    contents: list[bytes], large: int, wide: bool, described: bool, stored: bool
) -> None:
    files = [(f"f{n}.bin", content) for n, content in enumerate(contents)]
    files.append(("large.bin", (hashlib.sha512(b"%d" % large).digest() * (large // 64 + 1))[:large]))
    source = Msix(files=tuple(files), wide=wide, described=described, stored=stored).build()
    signed = sign(source)
    assert stripped(signed) == stripped(source) == stripped(removed(signed))
    assert stripped(sign(signed, existing="replace")) == stripped(source)


@given(at=st.integers(0, 1 << 20), mask=st.integers(1, 255))
@settings(max_examples=150, deadline=None)
def test_a_flipped_byte_of_a_source_is_refused_or_signed_as_another_package(at: int, mask: int) -> None:
    content = bytearray(small_msix())
    content[at % len(content)] ^= mask
    try:
        signed = sign(bytes(content))
    except FormatError:
        return
    assert READER.read(BytesView(signed)).signatures


def test_a_bundle_of_signed_packages_is_signed() -> None:
    source = small_bundle()
    prepared = prepare(source)
    assert prepared.operations[0].template == "authenticode-appx-bundle"
    assert "architecture" not in prepared.facts
    signed = sign(source)
    reading = READER.read(BytesView(signed))
    assert len(reading.signatures) == 1
    assert reading.stripped_sha256 == stripped(source) == stripped(removed(signed))
    old, new = raw_members(source), raw_members(signed)
    assert [name for name in old if old[name] != new[name]] == ["[Content_Types].xml"]


def _bundle(**changes: object) -> bytes:
    given_ = {"packages": (("x64.msix", signed_msix()),)} | changes
    return Bundle(**given_).build()  # type: ignore[arg-type]


BUNDLES = {
    "unsigned": (lambda: _bundle(packages=(("x64.msix", small_msix()),)), "inner-signature"),
    "one-unsigned": (
        lambda: _bundle(packages=(("x64.msix", signed_msix()), ("arm.msix", small_msix()))),
        "inner-signature",
    ),
    "changed": (lambda: _bundle(packages=(("x64.msix", _flipped(signed_msix(), 60)),)), "inner-signature"),
    "other-publisher": (
        lambda: _bundle(packages=(("x64.msix", _of_another()),)),
        "inner-signature",
    ),
    "no-package": (lambda: _bundle(packages=(("x64.msix", b"no zip"),)), "inner-signature"),
    "bundle-in-a-bundle": (lambda: _bundle(packages=(("x64.msix", sign(small_bundle())),)), "inner-signature"),
    "packed": (lambda: _bundle(stored=False), "bad-bundle"),
    "behind-the-types": (lambda: _bundle(last=True), "bad-bundle"),
    "elsewhere": (lambda: _bundle(says=lambda text: text.replace('Offset="38"', 'Offset="39"')), "bad-bundle"),
    "smaller": (lambda: _bundle(says=lambda text: text.replace('Size="', 'Size="1')), "bad-bundle"),
    "not-listed": (lambda: _bundle(says=lambda _: ""), "bad-bundle"),
    "flat": (lambda: _bundle(says=lambda text: text.replace("x64.msix", "other.msix")), "bad-bundle"),
    "twice": (lambda: _bundle(says=lambda text: text * 2), "bad-manifest"),
    "no-offset": (lambda: _bundle(says=lambda text: text.replace("Offset=", "Other=")), "bad-manifest"),
    "publisher": (lambda: _bundle(publisher="CN=Somebody Else"), "wrong-publisher"),
}


def _flipped(content: bytes, at: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


def _of_another() -> bytes:
    other = default_pki().code_signing("rsa2048", "Somebody Else")
    return sign(small_msix("CN=Somebody Else, O=Throwaway test"), other)


@pytest.mark.parametrize("defect", BUNDLES)
def test_a_bundle_that_is_not_whole_is_refused(defect: str) -> None:
    content, code = BUNDLES[defect]
    assert code_of(content()) == code


def test_packages_behind_the_content_types_are_refused_because_they_would_move() -> None:
    with pytest.raises(FormatError, match="which grows when signed"):
        prepare(_bundle(last=True))


def test_a_part_whose_name_only_folds_to_the_signature_s_is_another() -> None:
    source = Msix(types=OVERRIDE.replace("Signature", "\u017fignature")).build()
    assert READER.read(BytesView(sign(source))).signatures
