# SPDX-License-Identifier: Apache-2.0
"""Portable Executables as trackers of other signers tell of them: legal and odd, each signed or refused knowingly."""

from __future__ import annotations

import pytest

from signwright.errors import FormatError, VerificationError
from signwright.formats.authenticode import read_certificates, write_certificates
from signwright.formats.base import Prepared
from signwright.formats.pe import PeFormat, PeOptions
from signwright.model.patch import Patch, Patched
from signwright.model.view import BytesView
from signwright.readers.pe import PeReader
from tests.support.pe_builder import (
    EFI,
    PE32_PLUS,
    SHAPES,
    Pe,
    assembly,
    clr_header,
    envelope_for,
    identity,
    sign,
    sign_view,
)

READER = PeReader()
#: An entry of a kind that is no signature.
ALIEN = (16).to_bytes(4, "little") + b"\x00\x02\xf1\x0e" + b"guid\0\0\0\0"


def prepare(content: bytes, **options: object) -> Prepared:
    return PeFormat().prepare(BytesView(content), (), PeOptions(**options))


def stripped(content: bytes) -> str:
    return READER.read(BytesView(content)).stripped_sha256


def envelope(source: Pe, key_type: str = "p256", **options: object) -> bytes:
    return envelope_for(prepare(source.build(), **options), identity(key_type))


def table_of(content: bytes) -> bytes:
    """The certificate table of a file that `Pe` built without anything between DOS header and PE header."""
    entry = 64 + 24 + (144 if content[88:90] == b"\x0b\x02" else 128)
    at, size = (int.from_bytes(content[entry + n : entry + n + 4], "little") for n in (0, 4))
    return content[at : at + size]


def places(content: bytes) -> list[str]:
    return [found.notes["place"] for found in READER.read(BytesView(content)).signatures]


def short_lengths(envelopes: list[bytes]) -> bytes:
    """Entries whose length ends with the signature, not with the padding: the other reading of the specification."""
    table = b""
    for one in envelopes:
        length = 8 + len(one)
        table += length.to_bytes(4, "little") + b"\x00\x02\x02\x00" + one + bytes(-length % 8)
    return table


@pytest.mark.parametrize("write", [write_certificates, short_lengths], ids=["padded-lengths", "short-lengths"])
def test_each_of_several_entries_is_checked_and_listed_and_appending_keeps_all(write):
    first, second = envelope(PE32_PLUS), envelope(PE32_PLUS, "rsa2048", digest="sha384")
    two = PE32_PLUS.but(table=write([first, second])).build()
    reading = READER.read(BytesView(two))
    assert places(two) == ["1", "2"]
    assert any("side by side" in warning for warning in reading.warnings)
    more = sign(two, existing="append", digest="sha512")
    assert places(more) == ["1", "2", "1.1"]
    assert read_certificates(table_of(more), 0)[1] == second
    assert stripped(more) == stripped(two) == stripped(PE32_PLUS.build())
    assert places(sign(two, existing="replace")) == ["1"]


@pytest.mark.parametrize("broken", [0, 1])
def test_one_of_several_entries_that_does_not_hold_fails_the_file(broken):
    entries = [envelope(PE32_PLUS), envelope(PE32_PLUS, "rsa2048")]
    entries[broken] = envelope(PE32_PLUS.but(overlay=b"another file"))
    with pytest.raises(VerificationError, match=f"signature {broken + 1}"):
        READER.read(BytesView(PE32_PLUS.but(table=write_certificates(entries)).build()))


def test_signature_behind_an_entry_of_another_kind_counts_for_firmware_only():
    with pytest.raises(FormatError, match="Windows looks at entry 1"):
        READER.read(BytesView(PE32_PLUS.but(table=ALIEN + write_certificates([envelope(PE32_PLUS)])).build()))
    assert places(EFI.but(table=ALIEN + write_certificates([envelope(EFI)])).build()) == ["2"]


def test_entry_of_another_kind_is_never_dropped_by_appending():
    with pytest.raises(FormatError) as refusal:
        prepare(PE32_PLUS.but(table=write_certificates([envelope(PE32_PLUS)]) + ALIEN).build(), existing="append")
    assert refusal.value.code == "bad-certificate-table"


@pytest.mark.parametrize(
    "table",
    [
        pytest.param(ALIEN, id="another-kind"),
        pytest.param(b"\xff" * 16, id="impossible-entry"),
        pytest.param(write_certificates([b"a licence, kept here by its program"]), id="no-cms"),
        pytest.param(write_certificates([bytes.fromhex("300b06092a864886f70d010701")]), id="cms-of-another-kind"),
        pytest.param(write_certificates([b"\x30\x00"]), id="empty"),
        pytest.param(b"\x08\0\0\0\x00\x02\x02\x00", id="no-content"),
        pytest.param(b"\x0c\0\0\0\x00\x01\x02\x00\x30\x80\x06\x09" + bytes(4), id="older-revision"),
    ],
)
@pytest.mark.parametrize("source", [PE32_PLUS, EFI], ids=["program", "firmware"])
def test_table_that_holds_no_signature_is_not_taken_away(source, table):
    with pytest.raises(FormatError, match="holds no signature") as refusal:
        PeFormat().remove(BytesView(source.but(table=table).build()))
    assert refusal.value.code == "not-signed"


def test_signature_behind_an_entry_of_another_kind_is_taken_away_for_firmware_only():
    """Windows does not see it, so that for a program the entry before it is what the table is for."""
    PeFormat().remove(BytesView(EFI.but(table=ALIEN + write_certificates([envelope(EFI)])).build()))
    with pytest.raises(FormatError, match="entry 1 begins with 0002f10e"):
        PeFormat().remove(BytesView(PE32_PLUS.but(table=ALIEN + write_certificates([envelope(PE32_PLUS)])).build()))


@pytest.mark.parametrize("write", [write_certificates, short_lengths], ids=["padded-lengths", "short-lengths"])
def test_damaged_signature_is_taken_away(write):
    one = bytearray(envelope(PE32_PLUS))
    one[-200:] = bytes(200)
    view = BytesView(PE32_PLUS.but(table=write([bytes(one)])).build())
    left = Patched(view, PeFormat().remove(view))
    assert READER.read(left).stripped_sha256 == stripped(PE32_PLUS.build())


def test_verifier_says_that_bytes_stand_behind_the_table():
    with pytest.raises(VerificationError, match="5 bytes stand behind the certificate table"):
        READER.read(BytesView(sign(PE32_PLUS.build()) + b"12345"))


@pytest.mark.parametrize(
    ("shape", "part"), [("gap-after-headers", b"between headers"), ("gap", b"between the"), ("overlay", b"PK inst")]
)
def test_what_belongs_to_no_section_is_covered(shape, part):
    signed = bytearray(sign(SHAPES[shape].build()))
    signed[signed.index(part)] ^= 1
    with pytest.raises(VerificationError) as failure:
        READER.read(BytesView(bytes(signed)))
    assert failure.value.code == "digest-mismatch"


def test_last_section_without_padding_is_signed_and_one_that_promises_padding_is_not():
    source = SHAPES["unpadded-last-section"].build()
    assert len(source) % 8
    assert stripped(sign(source)) == stripped(source)
    with pytest.raises(FormatError) as refusal:
        prepare(Pe(sections=(b"\xc3" * 300, b"ends here")).build()[:-1])
    assert refusal.value.code == "truncated"


@pytest.mark.parametrize("length", range(8))
def test_table_begins_at_a_multiple_of_8_whatever_the_overlay(length):
    signed = sign(Pe(overlay=b"NullsoftInst"[:length]).build())
    entry = 64 + 24 + 144
    assert int.from_bytes(signed[entry : entry + 4], "little") % 8 == 0
    assert READER.read(BytesView(signed)).warnings == ()


@pytest.mark.parametrize(
    ("header", "strong_name"),
    [
        (clr_header(), "none"),
        (clr_header(flags=9, strong_name=(0x1080, 128)), "signed"),
        (clr_header(flags=1, strong_name=(0x1080, 128)), "delay-signed"),
        (clr_header(size=40), "unreadable"),
    ],
)
def test_strong_name_of_an_assembly_is_a_fact(header, strong_name):
    source = assembly(header).build()
    assert prepare(source).facts["strong_name"] == strong_name
    assert prepare(source).facts["is_dotnet"] is True
    assert stripped(sign(source)) == stripped(source)


@pytest.mark.parametrize("clr", [(0x1000, 71), (0x9000, 72), (0xFFFFFFFF, 72), (0x11F0, 72)])
def test_header_of_an_assembly_that_lies_nowhere_is_unreadable(clr):
    assert prepare(assembly(clr_header()).but(clr=clr).build()).facts["strong_name"] == "unreadable"


def test_signing_leaves_the_strong_name_alone():
    header = clr_header(flags=9, strong_name=(0x1000 + 72, 128))
    source = assembly(header + b"strong name".ljust(128)).build()
    signed = sign(source)
    checksum, entry = 64 + 24 + 64, 64 + 24 + 128
    changed = {at for at in range(len(source)) if source[at] != signed[at]}
    assert changed <= {*range(checksum, checksum + 4), *range(entry, entry + 8)}


def test_nested_signatures_have_digests_of_their_own():
    both = sign(sign(PE32_PLUS.build()), identity("rsa2048"), existing="append", digest="sha384")
    found = READER.read(BytesView(both)).signatures
    assert [(one.notes["place"], one.content_digest.algorithm) for one in found] == [("1", "sha256"), ("1.1", "sha384")]


def test_patch_is_small_also_when_bytes_behind_the_table_move():
    view = BytesView(sign(PE32_PLUS.build()) + bytes(1 << 20))
    patch: Patch = sign_view(view, existing="replace")
    assert patch.inserted < 8 << 10
