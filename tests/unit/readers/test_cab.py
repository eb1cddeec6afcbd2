# SPDX-License-Identifier: Apache-2.0
"""The cabinet reader: what holds, what does not, and which bytes no signature covers."""

from __future__ import annotations

import hashlib
import struct
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signwright.envelopes import der
from signwright.errors import FormatError, VerificationError
from signwright.formats.authenticode import nest
from signwright.formats.cab import CabFormat, CabOptions
from signwright.model.view import BytesView
from signwright.readers import cms
from signwright.readers.authenticode import MAX_DEPTH
from signwright.readers.base import Reading
from signwright.readers.cab import CabReader
from tests.support import pe_builder
from tests.support.cab_builder import SHAPES, sign
from tests.support.cab_vectors import BROKEN, FOLDER
from tests.support.signed_files import envelope_of, identity


def read(content: bytes) -> Reading:
    return CabReader().read(BytesView(content))


@cache
def signed() -> bytes:
    """A small signed cabinet with everything in it: two folders, names of neighbours, opus info."""
    source = SHAPES["two-folders"].but(previous=("1.cab", "Disk 1"), following=("3.cab", "Disk 3"), index=1).build()
    return sign(source, description="x", url="https://example.org/")


def split(content: bytes) -> tuple[bytes, bytes]:
    """The cabinet, and the signature behind it."""
    end = int.from_bytes(content[8:12], "little")
    return content[:end], content[end:]


def with_signature(content: bytes, signature: bytes) -> bytes:
    """``content`` (signed) with another structure behind the cabinet."""
    cabinet, _ = split(content)
    return cabinet[:48] + struct.pack("<I", len(signature)) + cabinet[52:] + signature


def envelope_for(content: bytes, **options: object) -> bytes:
    (operation,) = CabFormat().prepare(BytesView(content), (), CabOptions(**options)).operations
    return envelope_of(operation, identity())


@pytest.mark.parametrize(
    ("name", "places"),
    [
        ("signed", ["1"]),
        ("signed-nested", ["1", "1.1"]),
        ("signed-second-of-a-set", ["1"]),
        ("signed-by-osslsigncode", ["1"]),
        ("signed-by-jsign-second-of-a-set", ["1"]),
    ],
)
def test_a_stored_signature_still_holds(name, places):
    reading = read((FOLDER / "good" / f"{name}.bin").read_bytes())
    assert [found.notes["place"] for found in reading.signatures] == places
    assert reading.warnings == ()
    assert {found.purpose for found in reading.signatures} == {"authenticode"}


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("signed", "two-folders"),
        ("signed-nested", "two-folders"),
        ("signed-by-osslsigncode", "two-folders"),
        ("signed-second-of-a-set", "second-of-a-set"),
        ("signed-by-jsign-second-of-a-set", "second-of-a-set"),
    ],
)
def test_the_strip_test_gives_the_unsigned_vector(name, source):
    plain = (FOLDER / "good" / f"{source}.bin").read_bytes()
    assert read((FOLDER / "good" / f"{name}.bin").read_bytes()).stripped_sha256 == read(plain).stripped_sha256


@pytest.mark.parametrize("shape", SHAPES)
def test_the_strip_digest_is_the_cabinet_without_a_reserve(shape):
    plain = SHAPES[shape].but(reserves=None).build()
    assert read(SHAPES[shape].build()).stripped_sha256 == hashlib.sha256(plain).hexdigest()
    assert read(sign(SHAPES[shape].build())).stripped_sha256 == hashlib.sha256(plain).hexdigest()


@pytest.mark.parametrize("defect", BROKEN)
def test_no_signature_is_ever_found_in_a_broken_file(defect):
    with pytest.raises((FormatError, VerificationError)):
        read(BROKEN[defect][0])


@pytest.mark.parametrize("shape", SHAPES)
def test_an_unsigned_file_is_read_without_signatures(shape):
    reading = read(SHAPES[shape].build())
    assert (reading.signatures, reading.warnings) == ((), ())


def test_only_a_cabinet_is_recognised():
    reader = CabReader()
    assert all(reader.recognizes(BytesView(cab.build())) for cab in SHAPES.values())
    assert not any(reader.recognizes(BytesView(c)) for c in (b"", b"MSCF", b"MZ" + bytes(100), b"PK\3\4" * 30))


def test_content_beside_a_cabinet_is_refused():
    with pytest.raises(FormatError, match="inside"):
        CabReader().read(BytesView(signed()), BytesView(b"content"))


def test_the_notes_show_description_and_url():
    (found,) = read(signed()).signatures
    assert found.notes == {"place": "1", "description": "x", "url": "https://example.org/"}


def _outside_the_signature(content: bytes) -> set[int]:
    """Offsets of bytes whose change no signature in ``content`` can notice: the version numbers of SignedData and
    SignerInfo, and the certificates, of which only key, issuer and serial number are used here.
    """
    cabinet, signature = split(content)
    start = len(cabinet)
    certificates = b"".join(sorted(cms.parse(signature, padding=True).certificates))
    first = content.index(certificates, start)
    free = set(range(first, first + len(certificates)))
    free.add(content.index(b"\x02\x01\x01\x31", start) + 2)  # version of SignedData, before the digest algorithms
    free.add(content.index(b"\x02\x01\x01\x30", first + len(certificates)) + 2)  # version of SignerInfo
    return free


@pytest.mark.parametrize("mask", [0x01, 0x02, 0x80])
def test_every_flipped_byte_is_noticed_except_the_named_ones(mask):
    content = signed()
    tolerated = set()
    for at in range(len(content)):
        bent = bytearray(content)
        bent[at] ^= mask
        try:
            read(bytes(bent))
        except (FormatError, VerificationError):
            continue
        tolerated.add(at)
    assert tolerated <= _outside_the_signature(content)


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
    for candidate in (content, b"MSCF" + content, SHAPES["mszip"].build()[:36] + content):
        CabReader().recognizes(BytesView(candidate))
        try:
            read(candidate)
        except FormatError:
            pass


@pytest.mark.parametrize("behind", [b"\0", b"payload", bytes(8)])
def test_bytes_behind_the_signature_are_refused(behind):
    with pytest.raises(FormatError) as failure:
        read(signed() + behind)
    assert failure.value.code == "data-after-cabinet"


@pytest.mark.parametrize(("padding", "holds"), [(0, True), (3, True), (7, True), (8, False), (64, False)])
def test_padding_of_the_signature_is_less_than_8_zeros(padding, holds):
    bare = envelope_for(signed(), existing="replace")
    content = with_signature(signed(), bare + bytes(padding))
    if holds:
        assert len(read(content).signatures) == 1
        return
    with pytest.raises(FormatError):
        read(content)


def test_a_signature_of_another_cabinet_is_refused():
    _, signature = split(signed())
    with pytest.raises(VerificationError) as failure:
        read(with_signature(sign(SHAPES["mszip"].build()), signature))
    assert failure.value.code == "digest-mismatch"


def test_a_signature_of_another_kind_of_file_is_refused():
    image = pe_builder.PE32.build()
    (operation,) = pe_builder.PeFormat().prepare(BytesView(image), (), pe_builder.PeFormat.options()).operations
    with pytest.raises(VerificationError) as failure:
        read(with_signature(signed(), envelope_of(operation, identity())))
    assert failure.value.code == "wrong-kind"


def test_a_nested_signature_of_another_cabinet_is_refused():
    source = SHAPES["mszip"].build()
    bent = with_signature(sign(source), nest(envelope_for(source), envelope_for(SHAPES["stored"].build())))
    with pytest.raises(VerificationError, match=r"signature 1\.1"):
        read(bent)


def test_signatures_nested_too_deep_are_refused():
    source = SHAPES["mszip"].build()
    good = deep = envelope_for(source)
    for _ in range(MAX_DEPTH):
        deep = nest(good, deep)
    with pytest.raises(FormatError, match="deeper"):
        read(with_signature(sign(source), deep))


def _with_sha1_digest(envelope: bytes) -> bytes:
    """The envelope claims SHA-1 for the cabinet's digest; its own signature no longer holds, which must not matter."""
    signed_data = cms.parse(envelope)
    assert signed_data.encapsulated is not None
    kind = der.read_all(der.read_one(signed_data.encapsulated, der.SEQUENCE).content)[0].encoded
    digest_info = der.sequence(der.sequence(der.oid("1.3.14.3.2.26"), der.NULL), der.octet_string(bytes(20)))
    outer = der.read_all(der.read_one(envelope, der.SEQUENCE).content)
    fields = der.read_all(der.read_all(outer[1].content)[0].content)
    old = der.read_all(fields[2].content)[0].encoded
    content = der.sequence(old, der.explicit(0, der.sequence(kind, digest_info)))
    body = der.sequence(*(f.encoded for f in fields[:2]), content, *(f.encoded for f in fields[3:]))
    return der.sequence(outer[0].encoded, der.explicit(0, body))


def test_sha1_beside_a_good_signature_is_a_warning_and_alone_a_failure():
    source = SHAPES["mszip"].build()
    good = envelope_for(source)
    old = _with_sha1_digest(good)
    with pytest.raises(VerificationError) as failure:
        read(with_signature(sign(source), old))
    assert failure.value.code == "weak-digest"
    assert CabReader().stripped(BytesView(with_signature(sign(source), old))) == read(source).stripped_sha256
    reading = read(with_signature(sign(source), nest(old, good)))
    assert [found.notes["place"] for found in reading.signatures] == ["1.1"]
    assert any("uses sha1" in warning for warning in reading.warnings)
