# SPDX-License-Identifier: Apache-2.0
"""The NuGet reader: what it finds, and what it does not take for the signature of a package."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuzz.nuget_reader import one_input
from signwright.envelopes import cms, der, id_data
from signwright.envelopes.nuget import signature_text
from signwright.errors import FormatError, SignwrightError, VerificationError
from signwright.model.digest import Digest
from signwright.model.view import BytesView
from signwright.readers.base import Stripper
from signwright.readers.nuget import NuGetReader
from tests.support.nuget_builder import SHAPES, rsa, sign, signed_package, small_package, with_member
from tests.support.nuget_vectors import BROKEN
from tests.support.package_signatures import committed_to, countersigned, envelope, named_certificate, resigned
from tests.support.pki import NOW, default_pki

READER = NuGetReader()
PLAIN = small_package()
TIME = id_data.signing_time(NOW)
LEAF = rsa().certificate
SHA1 = base64.b64encode(hashlib.sha1(PLAIN).digest()).decode()


def code_of(content: bytes) -> str:
    with pytest.raises((FormatError, VerificationError)) as refusal:
        READER.read(BytesView(content))
    assert isinstance(refusal.value, SignwrightError)
    return refusal.value.code


def with_envelope(made: bytes) -> bytes:
    return resigned(PLAIN, made)


def attributes(*given_: bytes) -> bytes:
    return envelope(PLAIN, attributes=given_)


def text(old: str, new: str) -> bytes:
    return envelope(PLAIN, text=signature_text(Digest.of(PLAIN)).decode().replace(old, new).encode())


@pytest.mark.parametrize("shape", SHAPES)
def test_a_package_without_signature_reads_as_such(shape: str) -> None:
    source = SHAPES[shape].build()
    reading = READER.read(BytesView(source))
    assert reading.signatures == reading.warnings == ()
    assert reading.stripped_sha256 == hashlib.sha256(source).hexdigest()


def test_what_was_found_is_told_with_its_type_and_doubts() -> None:
    author = READER.read(BytesView(signed_package()))
    (found,) = author.signatures
    assert (found.format, found.family, found.purpose) == ("nuget", "cms", "nuget")
    assert found.signing_time == NOW
    assert found.notes == {"type": "author"}
    # The test authority is an ECDSA key, which NuGet would not take.
    (warning,) = author.warnings
    assert "NuGet takes RSA with SHA-2 alone" in warning
    repository = READER.read(BytesView(with_envelope(envelope(PLAIN, commitment="repository"))))
    assert repository.signatures[0].notes == {"type": "repository"}
    counter = READER.read(BytesView(with_envelope(countersigned(envelope(PLAIN)))))
    assert any("countersignature" in warning for warning in counter.warnings)


@pytest.mark.parametrize("name", [name for name in BROKEN if name.startswith(("sig", "pre", "wide", "comm", "memb"))])
def test_what_others_could_read_differently_is_refused(name: str) -> None:
    assert code_of(BROKEN[name][0])


#: What a signature may say, and why it is then none of this package: its code.
OTHERS: dict[str, tuple[Callable[[], bytes], str]] = {
    "commits to nothing": (lambda: envelope(PLAIN, commitment=None), "wrong-kind"),
    "commits to something else": (lambda: envelope(PLAIN, commitment="other"), "wrong-kind"),
    "without signing time": (lambda: attributes(committed_to("author"), named_certificate(LEAF)), "wrong-kind"),
    "without certificate": (lambda: attributes(TIME, committed_to("author")), "wrong-kind"),
    "certificate without issuer": (
        lambda: attributes(TIME, committed_to("author"), id_data.signing_certificate_v2(LEAF)),
        "wrong-kind",
    ),
    "other serial number": (
        lambda: attributes(TIME, committed_to("author"), named_certificate(LEAF, serial=der.integer(1))),
        "wrong-certificate",
    ),
    "other issuer": (
        lambda: attributes(TIME, committed_to("author"), named_certificate(LEAF, issuer=der.sequence())),
        "wrong-certificate",
    ),
    "of a file": (lambda: attributes(TIME, id_data.signing_certificate_v2(LEAF)), "wrong-kind"),
    "older certificate attribute": (
        lambda: attributes(
            TIME,
            committed_to("author"),
            named_certificate(LEAF),
            cms.attribute("1.2.840.113549.1.9.16.2.12", der.sequence()),
        ),
        "wrong-kind",
    ),
    "two signers": (lambda: envelope(PLAIN, signers=2), "bad-signature"),
    "of an ECDSA key": (lambda: envelope(PLAIN, signer=default_pki().code_signing("p256")), "unknown-key"),
    "content of another type": (lambda: envelope(PLAIN, content_type="1.2.3.4"), "verification-failed"),
    "of another package": (lambda: envelope(PLAIN + b"x"), "digest-mismatch"),
    "text of version 2": (lambda: text("Version:1", "Version:2"), "wrong-kind"),
    "text with other line ends": (lambda: text("\n", "\r\n"), "wrong-kind"),
    "text with a second digest": (lambda: text("\n\n2.16", "\n\n1.2-Hash:AAAA\n2.16"), "wrong-kind"),
    "text with a third section": (
        lambda: envelope(PLAIN, text=signature_text(Digest.of(PLAIN)) + b"a:b\n"),
        "wrong-kind",
    ),
    "text with SHA-1": (
        lambda: envelope(PLAIN, text=f"Version:1\n\n1.3.14.3.2.26-Hash:{SHA1}\n\n".encode()),
        "weak-digest",
    ),
    "text with a short digest": (lambda: text("1-Hash:", "2-Hash:"), "bad-signature"),
    "text that is no base64": (lambda: text("Hash:", "Hash:AAA"), "bad-signature"),
    "no text": (lambda: envelope(PLAIN, text=b""), "wrong-kind"),
}


@pytest.mark.parametrize("what", OTHERS)
def test_a_signature_that_is_not_this_package_s_author_s_is_refused(what: str) -> None:
    make, code = OTHERS[what]
    assert code_of(with_envelope(make())) == code


@pytest.mark.parametrize("fields", [{"flags": 8}, {"flags": 2}, {"method": 8}, {"external": 1}])
def test_headers_of_the_signature_that_nuget_refuses_are_refused(fields: dict[str, int]) -> None:
    assert code_of(resigned(PLAIN, envelope(PLAIN), **fields)) in {"signature-header", "bad-signature"}


def test_more_behind_the_signature_is_refused_wherever_it_stands() -> None:
    signed = signed_package()
    start = int.from_bytes(signed[-6:-2], "little")
    gap = signed[:start] + b"gap!" + signed[start:-6] + (start + 4).to_bytes(4, "little") + signed[-2:]
    assert code_of(gap) == "signature-not-last"
    assert code_of(with_member(signed, b"more", b"x")) == "signature-not-last"
    assert code_of(signed + b"x") == "zip-end"
    comment = signed[:-2] + (2).to_bytes(2, "little") + b"no"
    assert code_of(comment) == "digest-mismatch"


def test_a_package_that_was_changed_after_it_was_signed_can_be_signed_again() -> None:
    changed = signed_package().replace(b"_rels/.rels", b"_rels/_rels")
    assert code_of(changed) == "digest-mismatch"
    again = sign(changed, existing="replace")
    assert READER.read(BytesView(again)).stripped_sha256 == READER.stripped(BytesView(changed))
    assert isinstance(READER, Stripper)


def test_content_beside_a_package_is_refused() -> None:
    with pytest.raises(FormatError):
        READER.read(BytesView(signed_package()), BytesView(b""))


@pytest.mark.parametrize("shape", ["deflated", "comment"])
def test_every_flipped_byte_outside_of_the_signature_is_refused(shape: str) -> None:
    signed = sign(SHAPES[shape].build())
    envelope_at = signed.rindex(b".signature.p7s", 0, signed.rindex(b"PK\1\2")) + 14
    directory = int.from_bytes(signed[signed.rindex(b"PK\5\6") + 16 :][:4], "little")
    record = signed.rindex(b"PK\1\2")
    # Versions and times of the signature's own headers are covered by nobody.
    free = {*range(envelope_at - 44 + 4, envelope_at - 44 + 6), *range(envelope_at - 44 + 10, envelope_at - 44 + 14)}
    free |= {*range(record + 4, record + 8), *range(record + 12, record + 16), *range(record + 36, record + 38)}
    for at in [*range(envelope_at), *range(directory, len(signed))]:
        if at not in free:
            flipped = signed[:at] + bytes([signed[at] ^ 1]) + signed[at + 1 :]
            assert code_of(flipped), at


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_no_flipped_bit_of_the_signature_changes_what_counts(data: st.DataObject) -> None:
    """It is refused, or stands where nobody signed: in an authority's certificate, whose chain is checked later, or in
    the version of the structure.
    """
    made = READER.read(BytesView(signed_package())).signatures[0].envelope
    at, bit = data.draw(st.integers(0, len(made) - 1)), data.draw(st.integers(0, 7))
    flipped = made[:at] + bytes([made[at] ^ 1 << bit]) + made[at + 1 :]
    try:
        (found,) = READER.read(BytesView(with_envelope(flipped))).signatures
    except SignwrightError:
        return
    authority = rsa().chain[1]
    in_authority = made.index(authority) <= at < made.index(authority) + len(authority)
    is_version = made[at - 2 : at + 1] == b"\x02\x01\x01" and flipped[at] in (3, 5)
    assert in_authority or is_version
    assert found.content_digest == Digest.of(PLAIN)
    assert found.signer_certificate == LEAF


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60), st.integers(0, 4000), st.integers(0, 60))
def test_any_bytes_give_a_reading_or_a_clean_refusal(noise: bytes, at: int, cut: int) -> None:
    signed = signed_package()
    try:
        one_input(signed[:at] + noise + signed[at + cut :])
    except SignwrightError:
        return
