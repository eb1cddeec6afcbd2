# SPDX-License-Identifier: Apache-2.0
"""The catalog reader: what it finds, and what it does not let pass."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signwright.envelopes import der
from signwright.errors import FormatError, SignwrightError, VerificationError
from signwright.formats.authenticode import nest
from signwright.model.view import BytesView
from signwright.readers.catalog import CatalogReader
from tests.support.catalog_builder import SHA1_NAME, Cat, Member, sign
from tests.support.catalog_vectors import BROKEN
from tests.support.signed_files import identity

READER = CatalogReader()
PLAIN = Cat().build()
SIGNED = sign(PLAIN, identity("p256"), description="Größe ✓", url="https://example.org/")
LIST_AT = SIGNED.index(Cat().list())
LIST_END = LIST_AT + len(Cat().list())
#: Defects that are no matter of the reader: it lists weak or vague members with a warning.
FINE_TO_READ = {"sha1-alone", "member-info-missing"}


def read(content: bytes) -> object:
    return READER.read(BytesView(content))


def test_members_stand_among_the_notes() -> None:
    reading = READER.read(BytesView(SIGNED))
    (found,) = reading.signatures
    first, second = Member(), Member(b"another")
    listed = {text for name, text in found.notes.items() if name.startswith("member ")}
    assert listed == {
        f"sha256:{first.digest.hex()} a.inf",
        f"sha256:{second.digest.hex()} b.dll",
        f"sha1:{SHA1_NAME.digest.hex()}",
    }
    assert (found.notes["description"], found.notes["url"]) == ("Größe ✓", "https://example.org/")
    assert (found.notes["catalog_version"], found.notes["members"]) == ("2", "3")
    assert reading.warnings == ("1 of 3 members are SHA-1 digests, which another file can be given",)


def test_an_unsigned_catalog_has_no_signatures() -> None:
    assert READER.read(BytesView(PLAIN)).signatures == ()


def test_a_file_name_cannot_steer_a_terminal() -> None:
    source = Cat(members=(Member(values=(("File", "a\x1b[2J"),)),)).build()
    (found,) = READER.read(BytesView(sign(source))).signatures
    assert found.notes["member 1"].endswith(r" 'a\x1b[2J'")


def test_a_member_that_does_not_say_what_it_is_is_a_warning() -> None:
    content, _ = BROKEN["member-info-missing"]
    assert READER.read(BytesView(content)).warnings == ("1 of 1 members do not say what kind of file they are",)


@pytest.mark.parametrize("defect", sorted(set(BROKEN) - FINE_TO_READ))
def test_a_broken_catalog_is_refused(defect: str) -> None:
    for ask in (read, lambda content: READER.stripped(BytesView(content))):
        with pytest.raises((FormatError, VerificationError)):
            ask(BROKEN[defect][0])


def test_content_beside_a_catalog_is_refused() -> None:
    with pytest.raises(FormatError):
        READER.read(BytesView(SIGNED), BytesView(b"content"))


@pytest.mark.parametrize("at", range(LIST_AT, LIST_END, 3))
def test_a_flipped_byte_of_the_list_is_refused(at: int) -> None:
    flipped = SIGNED[:at] + bytes([SIGNED[at] ^ 1]) + SIGNED[at + 1 :]
    with pytest.raises((FormatError, VerificationError)):
        read(flipped)


@given(at=st.integers(0, len(SIGNED) - 1), bit=st.integers(0, 7))
@settings(max_examples=300, deadline=None)
def test_a_flipped_bit_anywhere_is_refused_or_outside_of_what_is_signed(at: int, bit: int) -> None:
    flipped = SIGNED[:at] + bytes([SIGNED[at] ^ 1 << bit]) + SIGNED[at + 1 :]
    try:
        READER.read(BytesView(flipped))
    except SignwrightError:
        return
    # Certificates, but for the signer's identifier, are the business of who checks the chain.
    assert at > LIST_END


def test_a_signature_of_a_program_around_the_list_is_refused() -> None:
    """contentType is signed: a signature of another kind of content is none of a catalog."""
    body = der.oid("1.3.6.1.4.1.311.10.1")
    assert SIGNED.count(body) == 2
    last = SIGNED.rindex(body)
    with pytest.raises(VerificationError):
        read(SIGNED[:last] + body[:-1] + b"\2" + SIGNED[last + len(body) :])


def test_another_list_under_the_signature_is_refused() -> None:
    other = Cat(members=(Member(), Member(b"Another", values=(("File", "b.dll"),)), SHA1_NAME)).list()
    assert len(other) == LIST_END - LIST_AT
    with pytest.raises(VerificationError) as refusal:
        read(SIGNED[:LIST_AT] + other + SIGNED[LIST_END:])
    assert refusal.value.code == "digest-mismatch"


def test_a_nested_signature_is_refused() -> None:
    with pytest.raises(FormatError):
        read(nest(SIGNED, SIGNED))


def test_certificates_out_of_order_are_refused_as_windows_does() -> None:
    chain = sorted(identity("p256").chain)
    right, wrong = b"".join(chain), b"".join(reversed(chain))
    assert right in SIGNED
    with pytest.raises(FormatError) as refusal:
        read(SIGNED.replace(right, wrong))
    assert refusal.value.code == "not-der"


@given(content=st.binary(max_size=200), at=st.integers(0, len(SIGNED)), length=st.integers(0, 60))
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_read_or_refused(content: bytes, at: int, length: int) -> None:
    for changed in (content, SIGNED[:at] + content + SIGNED[at + length :]):
        try:
            READER.recognizes(BytesView(changed))
            READER.read(BytesView(changed))
        except SignwrightError:
            continue
