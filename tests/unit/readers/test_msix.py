# SPDX-License-Identifier: Apache-2.0
"""The MSIX reader: what it finds, and what it does not take for the signature of a package."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuzz.msix_reader import one_input
from signwright.envelopes import authenticode
from signwright.envelopes.authenticode import Authenticode
from signwright.errors import FormatError, VerificationError
from signwright.formats import msix
from signwright.formats.msix import MsixFormat
from signwright.model.digest import Digest
from signwright.model.operation import Operation
from signwright.model.view import BytesView
from signwright.readers.cms import MAX_ENVELOPE
from signwright.readers.msix import MsixReader
from tests.support.msix_builder import (
    OVERRIDE,
    PUBLISHER,
    SHAPES,
    TYPES,
    Bundle,
    Msix,
    Row,
    sign,
    signed_msix,
    small_bundle,
    small_msix,
)
from tests.support.msix_vectors import BROKEN
from tests.support.pki import default_pki
from tests.support.signed_files import envelope_of, identity

READER = MsixReader()
SIGNER = identity("rsa2048")


def code_of(content: bytes) -> str:
    with pytest.raises((FormatError, VerificationError)) as refusal:
        READER.read(BytesView(content))
    return refusal.value.code  # type: ignore[no-any-return]


def with_envelope(source: bytes, made: bytes, mark: bytes = b"PKCX") -> bytes:
    """The source, signed, with something else at the place of the signature."""
    return _replaced(sign(source), mark + made)


def _replaced(signed: bytes, content: bytes) -> bytes:
    """The last member with another content, stored; directory and end records follow."""
    start = signed.rindex(b"PK\3\4", 0, signed.index(b"PK\1\2"))
    first, record = signed.index(b"PK\1\2"), signed.rindex(b"PK\1\2")
    wide = signed.rindex(b"PK\6\6")
    numbers = struct.pack("<3L", zlib.crc32(content), len(content), len(content))
    local = signed[start : start + 8] + b"\0\0" + signed[start + 10 : start + 14] + numbers + signed[start + 26 :][:21]
    entry = signed[record : record + 10] + b"\0\0" + signed[record + 12 : record + 16] + numbers
    entry += signed[record + 28 : wide]
    directory = signed[first:record] + entry
    at = start + len(local) + len(content)
    end = signed[wide : wide + 40] + struct.pack("<2Q", len(directory), at)
    end += signed[wide + 56 : wide + 64] + struct.pack("<Q", at + len(directory)) + signed[wide + 72 :]
    return signed[:start] + local + content + directory + end


@pytest.mark.parametrize("shape", SHAPES)
def test_a_package_without_signature_reads_as_such(shape: str) -> None:
    reading = READER.read(BytesView(SHAPES[shape].build()))
    assert reading.signatures == reading.warnings == ()


def test_what_was_found_is_told() -> None:
    signed = sign(small_msix(), description="Example", url="https://example.org/")
    (found,) = READER.read(BytesView(signed)).signatures
    assert (found.format, found.family, found.purpose) == ("msix", "cms", "authenticode")
    assert found.notes == {
        "name": "Example.Package",
        "publisher": PUBLISHER,
        "version": "1.2.3.0",
        "description": "Example",
        "url": "https://example.org/",
    }
    format_ = MsixFormat()
    prepared = format_.prepare(BytesView(small_msix()), SIGNER.chain, format_.options())
    assert str(found.content_digest) == prepared.operations[0].digest


@pytest.mark.parametrize("name", [n for n in BROKEN if n.startswith(("zip", "rec", "gap", "ext", "wid", "sig", "mem"))])
def test_what_others_could_read_differently_is_refused(name: str) -> None:
    assert code_of(BROKEN[name][0])


@given(at=st.integers(0, 1 << 20), mask=st.integers(1, 255))
@settings(max_examples=250, deadline=None)
def test_every_flipped_byte_is_refused_or_stands_in_the_signature_s_own_headers(at: int, mask: int) -> None:
    signed = signed_msix()
    at %= len(signed)
    wrong = bytearray(signed)
    wrong[at] ^= mask
    try:
        reading = READER.read(BytesView(bytes(wrong)))
    except (FormatError, VerificationError):
        return
    start, record = signed.rindex(b"PK\3\4", 0, signed.index(b"PK\1\2")), signed.rindex(b"PK\1\2")
    own = (start, start + 14), (record, record + 16), (record + 34, record + 42)
    assert any(first <= at < last for first, last in own)
    assert reading.stripped_sha256 == READER.read(BytesView(signed)).stripped_sha256


def _of_kind(kind: str) -> bytes:
    """A sound signature over one digest, as other kinds of file have it."""
    one = Operation(template=f"authenticode-{kind}", digest=str(Digest.of(b"content", "sha256")))
    template, context = Authenticode(kind), SIGNER.context()
    return template.envelope(one, context, SIGNER.sign(template.to_be_signed(one, context)), None)


def _cms() -> bytes:
    one = Operation(template="cms-detached", digest=str(Digest.of(b"content", "sha256")))
    return envelope_of(one, SIGNER)


ENVELOPES: dict[str, tuple[Callable[[], bytes], str]] = {
    "of-a-pe": (lambda: _of_kind("pe"), "wrong-kind"),
    "of-an-installer": (lambda: _of_kind("msi"), "wrong-kind"),
    "of-a-file": (_cms, "verification-failed"),
    "nothing": (lambda: b"", "bad-artifact"),
    "no-cms": (lambda: b"\x30\x03\x02\x01\x01", "bad-artifact"),
    "too-large": (lambda: bytes(MAX_ENVELOPE), "too-large"),
}


@pytest.mark.parametrize("name", ENVELOPES)
def test_what_is_no_signature_of_a_package_is_refused(name: str) -> None:
    made, code = ENVELOPES[name]
    assert code_of(with_envelope(small_msix(), made())) == code


def test_a_signature_without_its_mark_is_refused() -> None:
    assert code_of(with_envelope(small_msix(), _of_kind("pe"), mark=b"PKCY")) == "bad-envelope"


def test_a_signature_of_another_package_is_refused() -> None:
    other = sign(Msix(files=(("app.exe", b"other"),)).build())
    (found,) = READER.read(BytesView(other)).signatures
    assert code_of(with_envelope(small_msix(), found.envelope)) == "digest-mismatch"


def _signed_anyway(monkeypatch: pytest.MonkeyPatch, source: bytes, *skipped: str) -> bytes:
    """Signed by a writer that does not look at everything it should."""
    for name in skipped:
        monkeypatch.setattr(msix, name, lambda *_: None)
    return sign(source)


def test_a_package_of_another_publisher_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    signed = _signed_anyway(monkeypatch, small_msix("CN=Somebody Else"), "_check_publisher")
    with pytest.raises(VerificationError, match="CN=Somebody Else") as refusal:
        READER.read(BytesView(signed))
    assert refusal.value.code == "wrong-publisher"
    assert PUBLISHER in refusal.value.message


def test_a_signature_that_windows_would_not_look_at_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(msix, "with_signature", lambda content: content)
    with pytest.raises(VerificationError, match="does not name the signature"):
        READER.read(BytesView(sign(small_msix())))


@pytest.mark.parametrize("wrong", [OVERRIDE * 2, OVERRIDE.replace("appx.signature", "other")])
def test_a_signature_that_is_named_twice_or_otherwise_is_refused(monkeypatch: pytest.MonkeyPatch, wrong: str) -> None:
    monkeypatch.setattr(msix, "with_signature", lambda content: content)
    with pytest.raises(VerificationError, match="does not name the signature"):
        READER.read(BytesView(sign(Msix(types=wrong).build())))


def test_a_digest_that_is_not_the_block_map_s_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    real = msix.mapped_files

    def other(*given_: object) -> object:
        found, expected = real(*given_)  # type: ignore[arg-type]
        return replace(found, algorithm="sha512"), expected[:0]

    monkeypatch.setattr(msix, "mapped_files", other)
    assert code_of(sign(small_msix())) == "wrong-digest"


@pytest.mark.parametrize("mark", [b"AXPC", b"AXCD", b"AXCT", b"AXBM", b"AXCI"])
def test_each_digest_is_compared(monkeypatch: pytest.MonkeyPatch, mark: bytes) -> None:
    real = msix.indirect_data_of_package

    def other(kind: str, algorithm: str, digests: bytes) -> bytes:
        at = digests.index(mark) + 4
        return real(kind, algorithm, digests[:at] + bytes([digests[at] ^ 1]) + digests[at + 1 :])

    monkeypatch.setattr(msix, "indirect_data_of_package", other)
    assert code_of(sign(SHAPES["catalog"].build())) == "digest-mismatch"


def test_a_catalog_that_the_signature_does_not_speak_of_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(msix, "CATALOG", "nothing of this name")
    assert code_of(sign(SHAPES["catalog"].build())) == "digest-mismatch"


@pytest.mark.parametrize(
    "digests", [b"", b"APPX", b"APPX" + bytes(35), b"APPY" + bytes(144), b"APPX" + (b"AXPC" + bytes(32)) * 4]
)
def test_digests_that_are_none_of_a_package_are_refused(monkeypatch: pytest.MonkeyPatch, digests: bytes) -> None:
    real = msix.indirect_data_of_package
    monkeypatch.setattr(msix, "indirect_data_of_package", lambda kind, algorithm, _: real(kind, algorithm, digests))
    monkeypatch.setattr(authenticode.AuthenticodePackage, "check_content", lambda *_: None)
    assert code_of(sign(small_msix()))


def test_a_bundle_s_packages_are_read_as_well() -> None:
    signed = sign(small_bundle())
    assert len(READER.read(BytesView(signed)).signatures) == 1
    assert READER.recognizes(BytesView(signed))


@pytest.mark.parametrize("defect", ["unsigned", "other-publisher", "bundle"])
def test_a_bundle_with_a_package_that_does_not_hold_is_refused(monkeypatch: pytest.MonkeyPatch, defect: str) -> None:
    other = default_pki().code_signing("rsa2048", "Somebody Else")
    inner = {
        "unsigned": small_msix,
        "other-publisher": lambda: sign(small_msix("CN=Somebody Else, O=Throwaway test"), other),
        "bundle": lambda: sign(small_bundle()),
    }[defect]()
    monkeypatch.setattr(msix, "check_bundled", lambda *_: {"x64.msix"})
    assert code_of(sign(Bundle((("x64.msix", inner),)).build())) == "inner-signature"


@pytest.mark.parametrize(
    "says",
    [
        lambda text: text.replace('Offset="38"', 'Offset="39"'),
        lambda text: text.replace('Size="', 'Size="1'),
        lambda _: "",
        lambda text: text * 2,
        lambda text: text.replace("x64.msix", "other.msix"),
    ],
    ids=["offset", "size", "none", "twice", "another"],
)
def test_a_bundle_whose_packages_are_elsewhere_is_refused(
    monkeypatch: pytest.MonkeyPatch, says: Callable[[str], str]
) -> None:
    monkeypatch.setattr(msix, "check_bundled", lambda *_: {"x64.msix"})
    assert code_of(sign(Bundle((("x64.msix", signed_msix()),), says=says).build())) == "bad-bundle"


def test_the_strip_test_sees_every_other_change() -> None:
    plain = READER.stripped(BytesView(small_msix()))
    others = [
        Msix(files=(("app.exe", b"other"),)),
        Msix(wide=False),
        Msix(described=False),
        Msix(types_text=TYPES.replace("x-msdownload", "x-other")),
        Msix(publisher="CN=Somebody Else"),
        Msix(rows_of=_renamed),
    ]
    assert len({plain, *(READER.stripped(BytesView(one.build())) for one in others)}) == len(others) + 1


def _renamed(rows: list[Row]) -> list[Row]:
    return [replace(rows[0], name="APP.exe"), *rows[1:]]


def test_content_beside_a_package_is_refused() -> None:
    with pytest.raises(FormatError):
        READER.read(BytesView(signed_msix()), BytesView(b""))


@given(content=st.binary(max_size=300), at=st.integers(0, 6000), size=st.integers(0, 40))
@settings(max_examples=150, deadline=None)
def test_anything_ends_in_a_reading_or_one_of_our_errors(content: bytes, at: int, size: int) -> None:
    signed = signed_msix()
    for data in (content, signed[:at] + content + signed[at + size :]):
        try:
            one_input(data)
        except (FormatError, VerificationError):
            continue
