# SPDX-License-Identifier: Apache-2.0
"""The PE reader: what holds, what does not, and which bytes no signature covers."""

from __future__ import annotations

import hashlib
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signwright.envelopes import der
from signwright.errors import FormatError, VerificationError
from signwright.formats.authenticode import nest, write_certificates
from signwright.formats.pe import PeFormat, PeOptions
from signwright.model.view import BytesView
from signwright.readers import cms
from signwright.readers.authenticode import MAX_DEPTH, shown
from signwright.readers.base import Reading
from signwright.readers.pe import PeReader
from tests.support.pe_builder import EFI, PE32, PE32_PLUS, SHAPES, envelope_for, identity, sign
from tests.support.pe_vectors import BROKEN, FOLDER

CHECKSUM = 64 + 24 + 64
ENTRY = 64 + 24 + 144


def read(content: bytes) -> Reading:
    return PeReader().read(BytesView(content))


@cache
def signed() -> bytes:
    """A small signed PE32+ with everything in it: overlay, opus info."""
    return sign(SHAPES["odd-end"].build(), description="x", url="https://example.org/")


def table_of(content: bytes) -> tuple[int, int]:
    return int.from_bytes(content[ENTRY : ENTRY + 4], "little"), int.from_bytes(
        content[ENTRY + 4 : ENTRY + 8], "little"
    )


def with_table(content: bytes, table: bytes) -> bytes:
    """``content`` (signed) with another certificate table; CheckSum is left wrong."""
    at, _ = table_of(content)
    entry = at.to_bytes(4, "little") + len(table).to_bytes(4, "little")
    return content[:ENTRY] + entry + content[ENTRY + 8 : at] + table


@pytest.mark.parametrize(
    ("name", "places"),
    [
        ("signed", ["1"]),
        ("signed-nested", ["1", "1.1"]),
        ("signed-efi-two-entries", ["1", "2"]),
        ("signed-by-osslsigncode", ["1"]),
    ],
)
def test_a_stored_signature_still_holds(name, places):
    reading = read((FOLDER / "good" / f"{name}.bin").read_bytes())
    assert [found.notes["place"] for found in reading.signatures] == places
    assert reading.warnings == ()
    assert {found.purpose for found in reading.signatures} == {"authenticode"}


def test_stored_signatures_side_by_side_still_hold():
    reading = read((FOLDER / "good" / "signed-two-entries.bin").read_bytes())
    assert [found.notes["place"] for found in reading.signatures] == ["1", "2"]
    assert reading.warnings[0].startswith("2 signatures side by side")


@pytest.mark.parametrize("name", ["signed", "signed-nested", "signed-by-osslsigncode"])
def test_the_strip_test_gives_the_unsigned_vector(name):
    source = (FOLDER / "good" / "odd-end.bin").read_bytes()
    assert read((FOLDER / "good" / f"{name}.bin").read_bytes()).stripped_sha256 == read(source).stripped_sha256


def test_the_strip_digest_is_the_content_with_neutral_fields_and_padding():
    source = SHAPES["with-checksum"].but(overlay=b"abc").build()
    neutral = bytearray(source + bytes(-len(source) % 8))
    neutral[CHECKSUM : CHECKSUM + 4] = bytes(4)
    neutral[ENTRY : ENTRY + 8] = bytes(8)
    assert read(source).stripped_sha256 == hashlib.sha256(neutral).hexdigest()


@pytest.mark.parametrize("defect", BROKEN)
def test_no_signature_is_ever_found_in_a_broken_file(defect):
    try:
        reading = read(BROKEN[defect][0])
    except (FormatError, VerificationError):
        return
    assert reading.signatures == ()


def test_an_unsigned_file_is_read_without_signatures():
    assert read(PE32.build()) == Reading("pe", (), read(PE32.build()).stripped_sha256, ())


def test_only_a_pe_is_recognised():
    reader = PeReader()
    assert all(reader.recognizes(BytesView(pe.build())) for pe in SHAPES.values())
    assert not any(reader.recognizes(BytesView(c)) for c in (b"", b"MZ", b"MZ" + bytes(100), b"PK\3\4" * 30))


def test_content_beside_a_pe_is_refused():
    with pytest.raises(FormatError, match="inside"):
        PeReader().read(BytesView(signed()), BytesView(b"content"))


def test_the_notes_show_description_and_url():
    (found,) = read(signed()).signatures
    assert found.notes == {"place": "1", "description": "x", "url": "https://example.org/"}


def _outside_the_signature(content: bytes) -> set[int]:
    """Offsets of bytes whose change no signature in ``content`` can notice.

    CheckSum (reported as a warning); the version numbers of SignedData and SignerInfo; the certificates, of which only
    key, issuer and serial number are used here.
    """
    at, size = table_of(content)
    envelope = cms.parse(content[at + 8 : at + size], padding=True)
    start = at + 8
    certificates = b"".join(sorted(envelope.certificates))
    first = content.index(certificates, start)
    covered = set(range(CHECKSUM, CHECKSUM + 4)) | set(range(first, first + len(certificates)))
    covered.add(content.index(b"\x02\x01\x01\x31", start) + 2)  # version of SignedData, before the digest algorithms
    covered.add(content.index(b"\x02\x01\x01\x30", first + len(certificates)) + 2)  # version of SignerInfo
    return covered


def test_every_flipped_byte_is_noticed_except_the_named_ones():
    content = signed()
    named = _outside_the_signature(content)
    tolerated = set()
    for at in range(len(content)):
        bent = bytearray(content)
        bent[at] ^= 0x02
        try:
            reading = read(bytes(bent))
        except (FormatError, VerificationError):
            continue
        if not reading.signatures:
            continue  # the entry became one of another kind: nothing is said to hold
        tolerated.add(at)
        if at not in range(CHECKSUM, CHECKSUM + 4):
            assert any("CheckSum" in warning for warning in reading.warnings)
    assert tolerated <= named
    assert set(range(CHECKSUM, CHECKSUM + 4)) <= tolerated


def test_a_wrong_checksum_is_a_warning_and_no_failure():
    bent = bytearray(signed())
    bent[CHECKSUM] ^= 1
    reading = read(bytes(bent))
    assert len(reading.signatures) == 1
    assert "CheckSum" in reading.warnings[0]


def test_no_truncation_of_a_signed_file_holds():
    content = signed()
    for length in range(len(content)):
        with pytest.raises((FormatError, VerificationError)):
            read(content[:length])


@given(st.integers(0, 3000), st.binary(min_size=1, max_size=8))
def test_junk_never_gives_another_error(at, junk):
    content = signed()
    try:
        read(content[:at] + junk + content[at + len(junk) :])
    except (FormatError, VerificationError):
        pass


@given(st.binary(max_size=300))
def test_any_bytes_give_a_format_error_at_worst(content):
    for candidate in (content, b"MZ" + content, b"MZ" + bytes(58) + b"\x40\0\0\0PE\0\0" + content):
        PeReader().recognizes(BytesView(candidate))
        try:
            read(candidate)
        except FormatError:
            pass


@pytest.mark.parametrize("behind", [b"\0", b"payload", bytes(8)])
def test_bytes_behind_the_table_break_the_digest(behind):
    with pytest.raises(VerificationError) as failure:
        read(signed() + behind)
    assert failure.value.code == "digest-mismatch"


def test_bytes_behind_the_signature_inside_its_entry_are_refused():
    at, size = table_of(signed())
    table = signed()[at : at + size]
    longer = (len(table) + 8).to_bytes(4, "little") + table[4:] + b"smuggled"
    with pytest.raises(FormatError):
        read(with_table(signed(), longer))


def test_a_signature_of_another_file_is_refused():
    at, size = table_of(signed())
    other = sign(PE32_PLUS.build())
    with pytest.raises(VerificationError) as failure:
        read(with_table(other, signed()[at : at + size]))
    assert failure.value.code == "digest-mismatch"


def test_a_nested_signature_of_another_file_is_refused():
    source, other = PE32_PLUS.build(), PE32_PLUS.but(overlay=b"12345678").build()
    good, alien = (
        envelope_for(PeFormat().prepare(BytesView(content), (), PeOptions()), identity()) for content in (source, other)
    )
    bent = with_table(sign(source), write_certificates([nest(good, alien)]))
    with pytest.raises(VerificationError, match=r"signature 1\.1"):
        read(bent)


def test_an_entry_of_another_kind_is_named_and_not_counted():
    image = sign(EFI.build())
    at, size = table_of(image)
    alien = (16).to_bytes(4, "little") + b"\x00\x02\xf1\x0e" + b"guid\0\0\0\0"
    reading = read(with_table(image, image[at : at + size] + alien))
    assert len(reading.signatures) == 1
    assert any("another kind (0002f10e)" in warning for warning in reading.warnings)


def test_signatures_nested_too_deep_are_refused():
    source = PE32_PLUS.build()
    good = envelope_for(PeFormat().prepare(BytesView(source), (), PeOptions()), identity())
    deep = good
    for _ in range(MAX_DEPTH):
        deep = nest(good, deep)
    with pytest.raises(FormatError, match="deeper"):
        read(with_table(sign(source), write_certificates([deep])))


def _with_sha1_digest(envelope: bytes) -> bytes:
    """The envelope claims SHA-1 for the image digest; its own signature no longer holds, which must not matter."""
    signed_data = cms.parse(envelope)
    assert signed_data.encapsulated is not None
    image_data = der.read_all(der.read_one(signed_data.encapsulated, der.SEQUENCE).content)[0].encoded
    digest_info = der.sequence(der.sequence(der.oid("1.3.14.3.2.26"), der.NULL), der.octet_string(bytes(20)))
    shorter = der.sequence(image_data, digest_info)
    outer = der.read_all(der.read_one(envelope, der.SEQUENCE).content)
    fields = der.read_all(der.read_all(outer[1].content)[0].content)
    content = der.sequence(der.read_all(fields[2].content)[0].encoded, der.explicit(0, shorter))
    body = der.sequence(*(f.encoded for f in fields[:2]), content, *(f.encoded for f in fields[3:]))
    return der.sequence(outer[0].encoded, der.explicit(0, body))


def test_sha1_beside_a_good_signature_is_a_warning_and_alone_a_failure():
    source = PE32_PLUS.build()
    good = envelope_for(PeFormat().prepare(BytesView(source), (), PeOptions()), identity())
    old = _with_sha1_digest(good)
    with pytest.raises(VerificationError) as failure:
        read(with_table(sign(source), write_certificates([old])))
    assert failure.value.code == "weak-digest"
    reading = read(with_table(sign(source), write_certificates([nest(old, good)])))
    assert [found.notes["place"] for found in reading.signatures] == ["1.1"]
    assert any("uses sha1" in warning for warning in reading.warnings)


def test_a_description_that_reorders_the_line_is_escaped():
    assert shown("abc\u202ed") == "'abc\\u202ed'"
    assert shown("Größe") == "Größe"
