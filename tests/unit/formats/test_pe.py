# SPDX-License-Identifier: Apache-2.0
"""The PE writer: what it signs, what it refuses, and what it leaves alone."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from signwright.errors import FormatError, VerificationError
from signwright.formats.authenticode import write_certificates
from signwright.formats.base import FormatOptions, Prepared
from signwright.formats.pe import PeFormat, PeOptions
from signwright.model.patch import Patched, sealed
from signwright.model.view import BLOCK, BytesView, FileView
from signwright.readers.pe import PeReader
from tests.support.large_files import SizedView, growth_kib
from tests.support.pe_builder import (
    EFI,
    PE32,
    PE32_PLUS,
    SHAPES,
    Pe,
    distlib_launcher,
    envelope_for,
    identity,
    sign,
    sign_view,
)
from tests.support.pe_vectors import BROKEN, FOLDER

READER = PeReader()


def prepare(content: bytes, **options: object) -> Prepared:
    return PeFormat().prepare(BytesView(content), (), PeOptions(**options))


def stripped(content: bytes) -> str:
    return READER.read(BytesView(content)).stripped_sha256


def image_digest_by_the_book(content: bytes, plus: bool, algorithm: str = "sha256") -> str:
    """The specification in its plainest form, for an unsigned file whose PE header follows the DOS header."""
    checksum = 64 + 24 + 64
    entry = 64 + 24 + (144 if plus else 128)
    kept = content[:checksum] + content[checksum + 4 : entry] + content[entry + 8 :]
    return hashlib.new(algorithm, kept + bytes(-len(content) % 8)).hexdigest()


@pytest.mark.parametrize("algorithm", ["sha256", "sha384", "sha512"])
@pytest.mark.parametrize("plus", [True, False])
def test_the_operation_carries_the_image_digest_of_the_specification(plus, algorithm):
    content = Pe(plus=plus, overlay=b"12345").build()
    prepared = prepare(content, digest=algorithm)
    (operation,) = prepared.operations
    assert operation.digest == f"{algorithm}:{image_digest_by_the_book(content, plus, algorithm)}"
    assert operation.template == "authenticode-pe"
    assert prepared.source_sha256 == hashlib.sha256(content).hexdigest()
    assert prepared.source_size == len(content)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_signed_file_reads_back_and_strips_to_its_source(shape):
    source = SHAPES[shape].build()
    result = sign(source)
    reading = READER.read(BytesView(result))
    (found,) = reading.signatures
    assert reading.warnings == ()
    assert reading.stripped_sha256 == stripped(source)
    assert str(found.content_digest) == prepare(source).operations[0].digest
    assert found.signer_certificate == identity().certificate


@pytest.mark.parametrize("shape", SHAPES)
def test_the_good_vector_on_disk_is_what_the_builder_makes(shape):
    assert (FOLDER / "good" / f"{shape}.bin").read_bytes() == SHAPES[shape].build()


@pytest.mark.parametrize("defect", BROKEN)
def test_a_broken_file_is_refused_with_its_code(defect):
    content, code = BROKEN[defect]
    assert (FOLDER / "broken" / f"{defect}.bin").read_bytes() == content
    with pytest.raises(FormatError) as refusal:
        prepare(content, existing="append")
    assert refusal.value.code == code


def test_only_headers_checksum_and_the_end_change():
    source = SHAPES["odd-end"].build()
    patch = sign_view(BytesView(source))
    assert [(s.remove, len(s.insert)) for s in patch.splices[:2]] == [(4, 4), (8, 8)]
    assert patch.splices[2].offset == len(source)
    assert patch.inserted < 4096
    result = Patched(BytesView(source), patch)
    assert result.size % 8 == 0


def test_options_reach_the_signature():
    result = sign(PE32.build(), description="Größe ✓", url="https://example.org/a?b=c")
    (found,) = READER.read(BytesView(result)).signatures
    assert found.notes["description"] == "Größe ✓"
    assert found.notes["url"] == "https://example.org/a?b=c"


@pytest.mark.parametrize(
    "options",
    [
        {"description": "x" * 257},
        {"description": ""},
        {"description": "a\x1b[31m"},
        {"description": "abc\u202edef"},
        {"description": "\U0001f600"},
        {"url": "javascript:alert(1)"},
        {"url": "https://example.org/\n"},
        {"url": "file:///etc/passwd"},
        {"digest": "sha1"},
        {"existing": "keep"},
        {"page_hashes": 1},
        {"page_hashes": "yes"},
    ],
)
def test_an_option_that_is_not_sound_is_refused(options):
    with pytest.raises(ValidationError):
        PeOptions(**options)


def test_options_of_another_format_are_refused():
    with pytest.raises(FormatError, match="wanted PeOptions"):
        PeFormat().prepare(BytesView(PE32.build()), (), FormatOptions())


def test_a_signed_file_is_refused_by_default():
    with pytest.raises(FormatError) as refusal:
        prepare(sign(PE32.build()))
    assert refusal.value.code == "already-signed"


@pytest.mark.parametrize("shape", ["pe32", "odd-end", "overlay", "efi"])
def test_replacing_gives_the_same_content_and_one_signature(shape):
    source, rsa = SHAPES[shape].build(), identity("rsa2048")  # whose signatures, unlike ECDSA's, all have one length
    once = sign(source, rsa)
    again = sign(once, existing="replace")
    reading = READER.read(BytesView(again))
    assert len(reading.signatures) == 1
    assert reading.signatures[0].signer_certificate == identity().certificate
    assert reading.stripped_sha256 == stripped(source) == stripped(once)
    assert len(sign(again, rsa, existing="replace")) == len(once)


def test_appending_nests_and_leaves_the_first_signature_as_it_was():
    source = SHAPES["odd-end"].build()
    once = sign(source, description="first")
    thrice = sign(sign(once, existing="append", digest="sha512"), identity("rsa2048"), existing="append")
    before, after = READER.read(BytesView(once)), READER.read(BytesView(thrice))
    assert [s.notes["place"] for s in after.signatures] == ["1", "1.1", "1.2"]
    assert after.signatures[0].signature_value == before.signatures[0].signature_value
    assert {s.content_digest.algorithm for s in after.signatures} == {"sha256", "sha512"}
    assert after.stripped_sha256 == stripped(source)
    assert after.warnings == ()


def test_an_efi_image_gets_a_second_table_entry_instead_of_a_nested_signature():
    twice = sign(sign(EFI.build()), existing="append")
    assert [s.notes["place"] for s in READER.read(BytesView(twice)).signatures] == ["1", "2"]


def test_a_signature_of_another_tool_is_kept():
    other = (FOLDER / "good" / "signed-by-osslsigncode.bin").read_bytes()
    reading = READER.read(BytesView(sign(other, existing="append")))
    assert [s.notes["place"] for s in reading.signatures] == ["1", "1.1"]
    assert reading.signatures[0].notes["description"] == "by another tool"


@pytest.mark.parametrize("shape", ["pe32", "odd-end", "efi"])
@pytest.mark.parametrize("behind", [b"\0", b"1234567", bytes(8), b"payload 9", b"x" * (3 * BLOCK + 1)])
def test_bytes_behind_the_certificate_table_are_kept_named_and_covered(shape, behind):
    source = SHAPES[shape].build()
    signed = sign(source) + behind
    prepared = prepare(signed, existing="replace")
    assert prepared.facts["bytes_behind_table"] == len(behind)
    result = sign(signed, existing="replace")
    reading = READER.read(BytesView(result))
    assert reading.warnings == ()  # CheckSum too
    assert len(reading.signatures) == 1
    at = len(source) + -len(source) % 8
    assert result[at : at + len(behind)] == behind
    with pytest.raises(VerificationError):
        READER.read(BytesView(result[:at] + bytes([result[at] ^ 1]) + result[at + 1 :]))
    with pytest.raises(FormatError) as refusal:
        prepare(signed, existing="append")
    assert refusal.value.code == "data-after-signature"
    assert prepare(result, existing="append").facts["bytes_behind_table"] == 0


@given(st.binary(max_size=40), st.binary(max_size=40), st.booleans())
def test_replacing_a_table_of_any_size_keeps_what_stands_behind_it(overlay, behind, plus):
    table = write_certificates([envelope_for(prepare(PE32.build()), identity())])
    source = Pe(plus=plus, overlay=overlay, table=table).build() + behind
    result = sign(source, existing="replace")
    reading = READER.read(BytesView(result))
    assert reading.warnings == ()
    assert len(reading.signatures) == 1
    without = Pe(plus=plus, overlay=overlay).build()
    assert reading.stripped_sha256 == stripped(without + bytes(-len(without) % 8) + behind if behind else without)


@pytest.mark.parametrize("size", [1 << 32, (1 << 32) + 1, (1 << 32) - 4096])
def test_a_file_that_would_reach_4_gib_is_refused_before_it_is_read(size):
    with pytest.raises(FormatError) as refusal:
        PeFormat().prepare(SizedView(PE32.build(), size), (), PeOptions())
    assert refusal.value.code == "too-large"


def test_an_envelope_that_is_not_cms_is_not_embedded():
    prepared = prepare(PE32.build())
    good = envelope_for(prepared, identity())
    for envelopes in ([], [good, good], [b""], [b"\x30\x00"], [good[:-1]], [good + b"\0"], [b"\x30" * (1 << 21)]):
        with pytest.raises(FormatError):
            PeFormat().embed(prepared, envelopes)


@given(
    st.dictionaries(
        st.sampled_from(
            ["content_end", "moved", "checksum_offset", "security_offset", "word_sum", "kept", "is_efi", "more"]
        ),
        st.one_of(st.integers(-1, 1 << 33), st.text(max_size=4), st.lists(st.text(max_size=4), max_size=3)),
    )
)
def test_a_state_that_was_tampered_with_is_a_format_error_or_a_patch_that_fits(changes):
    prepared = prepare(PE32.build())
    envelope = envelope_for(prepared, identity())
    bent = prepared.model_copy(update={"state": {**prepared.state, **changes}})
    try:
        patch = PeFormat().embed(bent, [envelope])
    except FormatError:
        return
    assert Patched(BytesView(PE32.build()), patch).size == patch.result_size


def test_every_truncation_is_refused_or_signed_correctly():
    source = SHAPES["overlay"].but(overlay=b"tail" * 9).build()
    signer = identity()
    for length in range(len(source)):
        cut = source[:length]
        try:
            result = sign(cut, signer)
        except FormatError:
            continue
        assert READER.read(BytesView(result)).stripped_sha256 == stripped(cut)
        assert length >= 1536  # everything that a section header promises is there


@given(st.binary(max_size=600), st.integers(0, 400), st.binary(min_size=1, max_size=12))
def test_bent_headers_give_a_format_error_or_a_signature_that_holds(overlay, at, junk):
    content = PE32_PLUS.but(overlay=overlay).build()
    content = content[:at] + junk + content[at + len(junk) :]
    try:
        result = sign(content, existing="replace")
    except FormatError:
        return
    assert len(READER.read(BytesView(result)).signatures) == 1
    assert stripped(result) == stripped(content)


@given(st.binary(max_size=300))
def test_any_bytes_give_a_format_error_at_worst(content):
    for candidate in (content, b"MZ" + content, b"MZ" + bytes(58) + b"\x40\0\0\0PE\0\0" + content):
        PeFormat().recognizes(BytesView(candidate))
        try:
            prepare(candidate, existing="append")
        except FormatError:
            pass


@given(
    st.lists(st.binary(max_size=1500), max_size=4),
    st.binary(max_size=40),
    st.binary(max_size=40),
    st.booleans(),
)
@settings(max_examples=25)
def test_any_sections_gaps_and_overlays_survive(sections, gap, overlay, plus):
    source = Pe(plus=plus, sections=tuple(sections), gap=gap, overlay=overlay).build()
    result = sign(source)
    assert READER.read(BytesView(result)).warnings == ()
    assert stripped(result) == stripped(source)


def test_threads_and_block_borders_do_not_change_the_digest(tmp_path):
    source = PE32_PLUS.but(overlay=bytes(range(256)) * (5 * BLOCK // 256) + b"odd").build()
    path = tmp_path / "large"
    path.write_bytes(source)
    with path.open("rb") as file:
        view = FileView(file)
        prepared = PeFormat().prepare(view, (), PeOptions())
        assert prepared.operations[0].digest == "sha256:" + image_digest_by_the_book(source, plus=True)
        assert prepared.source_sha256 == hashlib.sha256(source).hexdigest()
        patch = sealed(view, sign_view(view))
        assert READER.read(Patched(view, patch)).warnings == ()


def test_a_file_that_shrinks_while_it_is_read_is_a_format_error(tmp_path):
    path = tmp_path / "shrinking"
    path.write_bytes(PE32_PLUS.but(overlay=bytes(6 * BLOCK)).build())
    with path.open("r+b") as file:
        view = FileView(file)
        file.truncate(5 * BLOCK)
        with pytest.raises(FormatError, match="shorter"):
            PeFormat().prepare(view, (), PeOptions())


def test_memory_does_not_grow_with_the_file(tmp_path):
    small, large = tmp_path / "small", tmp_path / "large"
    for path, size in ((small, 8 * BLOCK), (large, 128 * BLOCK)):
        path.write_bytes(PE32_PLUS.build())
        with path.open("r+b") as file:
            file.truncate(size)
    assert growth_kib(small, large, "signwright.formats.pe", "PeFormat()", "PeOptions()") < 8 << 10


def test_facts_say_what_the_file_is():
    assert prepare(PE32.build()).facts == {
        "machine": "x86",
        "subsystem": "windows-console",
        "is_dll": False,
        "is_driver": False,
        "is_efi": False,
        "is_dotnet": False,
        "signed_before": False,
        "bytes_behind_table": 0,
    }
    assert prepare(SHAPES["dll"].build()).facts["is_dll"] is True
    assert prepare(SHAPES["driver"].build()).facts["is_driver"] is True
    assert prepare(EFI.build()).facts["is_efi"] is True
    assert prepare(SHAPES["arm64"].build()).facts["machine"] == "arm64"
    assert prepare(SHAPES["dotnet"].build()).facts["is_dotnet"] is True
    assert prepare(Pe(machine=0x1234, subsystem=99).build()).facts["machine"] == "0x1234"


def test_a_real_program_is_recognised():
    content = distlib_launcher().read_bytes()
    assert PeFormat().recognizes(BytesView(content))
    # Its version resource has number 102, and Windows asks for number 1: Windows shows no product name either.
    assert prepare(content).facts["version_info"] == "unreadable"
    assert "product_name" not in prepare(content).facts


def test_recognition_is_by_content():
    assert not any(PeFormat().recognizes(BytesView(c)) for c in (b"", b"MZ", b"MZ" + bytes(100), b"\x7fELF" * 40))
    assert all(PeFormat().recognizes(BytesView(pe.build())) for pe in SHAPES.values())


@pytest.mark.parametrize("shape", SHAPES)
def test_removing_leaves_the_content_without_signature_or_warning(shape):
    source = SHAPES[shape].build()
    view = BytesView(sign(source))
    patch = sealed(view, PeFormat().remove(view))
    left = Patched(view, patch).read(0, patch.result_size)
    reading = READER.read(BytesView(left))
    assert reading.signatures == reading.warnings == ()
    assert reading.stripped_sha256 == stripped(source)
    with pytest.raises(FormatError) as refusal:
        PeFormat().remove(BytesView(left))
    assert refusal.value.code == "not-signed"


def test_nothing_is_removed_from_a_file_with_data_behind_its_signature():
    with pytest.raises(FormatError) as refusal:
        PeFormat().remove(BytesView(sign(PE32.build()) + b"more"))
    assert refusal.value.code == "data-after-signature"
