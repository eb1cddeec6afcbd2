# SPDX-License-Identifier: Apache-2.0
"""Detached CMS and raw signatures of any file, written by the formats and read back by the readers."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from signwright.envelopes.indirect_data import indirect_data
from signwright.envelopes.templates import template_named
from signwright.errors import FormatError, VerificationError
from signwright.formats.cms import CmsFormat
from signwright.formats.raw import RawFormat
from signwright.formats.registry import FORMATS, format_named, recognize
from signwright.formats.whole_file import WholeFileOptions
from signwright.model.operation import Operation
from signwright.model.view import BytesView
from signwright.readers.cms import parse
from signwright.readers.detached import CmsReader
from signwright.readers.raw import RawReader
from tests.support.pe_builder import PE32_PLUS, sign
from tests.support.pki import Identity, default_pki
from tests.support.whole_files import sign_bytes

KEYS = ("rsa3072", "p256", "p384")
CONTENT = b"any file at all\n" * 100


def identity(key_type: str = "p256") -> Identity:
    return default_pki().code_signing(key_type)


@pytest.mark.parametrize("key_type", KEYS)
@pytest.mark.parametrize("digest", ["sha256", "sha384", "sha512"])
def test_cms_signature_reads_back(key_type: str, digest: str) -> None:
    signed = sign_bytes(CmsFormat(), CONTENT, identity(key_type), digest=digest)
    reading = CmsReader().read(BytesView(signed), BytesView(CONTENT))
    (found,) = reading.signatures
    assert (found.purpose, found.content_digest.algorithm) == ("file", digest)
    assert found.content_digest.value == hashlib.new(digest, CONTENT).digest()
    assert found.signer_certificate == identity(key_type).certificate
    assert reading.stripped_sha256 == hashlib.sha256(CONTENT).hexdigest()


@pytest.mark.parametrize("key_type", KEYS)
@pytest.mark.parametrize("digest", ["sha256", "sha384", "sha512"])
def test_raw_signature_reads_back(key_type: str, digest: str) -> None:
    signer = identity(key_type)
    signed = sign_bytes(RawFormat(), CONTENT, signer, digest=digest)
    (found,) = RawReader(signer.public_key).read(BytesView(signed), BytesView(CONTENT)).signatures
    assert (found.family, found.content_digest.algorithm) == ("raw", digest)


def test_empty_file_is_signed() -> None:
    signed = sign_bytes(CmsFormat(), b"", identity())
    assert CmsReader().read(BytesView(signed), BytesView(b"")).signatures


@given(content=st.binary(max_size=2000))
def test_any_content_that_is_no_other_purpose_is_signed(content: bytes) -> None:
    assume(b"ersion:" not in content.lower() and content[:1] not in (b"\x30", b"\x31", b"\xa0"))
    prepared = CmsFormat().prepare(BytesView(content), (), WholeFileOptions())
    assert prepared.source_sha256 == hashlib.sha256(content).hexdigest()
    assert prepared.operations[0].digest == "sha256:" + prepared.source_sha256


def test_other_content_is_refused_by_the_reader() -> None:
    signed = sign_bytes(CmsFormat(), CONTENT, identity())
    with pytest.raises(VerificationError):
        CmsReader().read(BytesView(signed), BytesView(CONTENT + b"!"))
    raw = sign_bytes(RawFormat(), CONTENT, identity())
    with pytest.raises(VerificationError):
        RawReader(identity().public_key).read(BytesView(raw), BytesView(CONTENT + b"!"))


def test_raw_value_of_another_key_is_refused() -> None:
    raw = sign_bytes(RawFormat(), CONTENT, identity("p256"))
    with pytest.raises(VerificationError):
        RawReader(identity("p384").public_key).read(BytesView(raw), BytesView(CONTENT))


def test_every_flipped_byte_of_a_cms_signature_is_noticed() -> None:
    """What a signature does not cover: the chain beside the signer's certificate, which is checked by its own means."""
    signer = identity()
    signed = sign_bytes(CmsFormat(), CONTENT, signer)
    uncovered = set()
    start = signed.index(signer.chain[1])
    uncovered.update(range(start, start + len(signer.chain[1])))
    for at in range(len(signed)):
        flipped = signed[:at] + bytes([signed[at] ^ 0x01]) + signed[at + 1 :]
        try:
            reading = CmsReader().read(BytesView(flipped), BytesView(CONTENT))
        except (FormatError, VerificationError):
            continue
        same = reading.signatures[0].signer_certificate == signer.certificate
        assert at in uncovered or (not same), f"byte {at} does not matter"


@given(at=st.integers(min_value=0, max_value=2000))
def test_truncated_cms_signature_is_a_clean_error(at: int) -> None:
    signed = sign_bytes(CmsFormat(), CONTENT, identity())
    with pytest.raises((FormatError, VerificationError)):
        CmsReader().read(BytesView(signed[: at % len(signed)]), BytesView(CONTENT))


@settings(max_examples=60)
@given(garbage=st.binary(max_size=300))
def test_garbage_is_no_signature(garbage: bytes) -> None:
    with pytest.raises((FormatError, VerificationError)):
        CmsReader().read(BytesView(garbage), BytesView(CONTENT))
    with pytest.raises((FormatError, VerificationError)):
        RawReader(identity().public_key).read(BytesView(garbage), BytesView(CONTENT))


def pe_attributes() -> bytes:
    """The signed attributes of a real PE signature, as the key saw them."""
    operation = Operation(template="authenticode-pe", digest="sha256:" + "11" * 32)
    return template_named("authenticode-pe").to_be_signed(operation, identity().context()).content


def test_signed_attributes_are_refused_as_content() -> None:
    attributes = pe_attributes()
    assert attributes[0] == 0x31
    for one in (RawFormat(), CmsFormat()):
        with pytest.raises(FormatError) as problem:
            one.prepare(BytesView(attributes), (), WholeFileOptions())
        assert problem.value.code == "other-purpose"


@pytest.mark.parametrize(
    "content",
    [
        b"Signature-Version: 1.0\r\nCreated-By: x\r\n",
        b"\xef\xbb\xbfSIGNATURE-VERSION: 1.0\r\n",
        b"Version:1\n\n2.16.840.1.101.3.4.2.1-Hash:AAAA\n\n",
        b"Version:1\r\n\r\n2.16.840.1.101.3.4.2.1-Hash:AAAA\r\n\r\n",
    ],
)
def test_content_of_another_purpose_is_refused(content: bytes) -> None:
    with pytest.raises(FormatError) as problem:
        CmsFormat().prepare(BytesView(content), (), WholeFileOptions())
    assert problem.value.code == "other-purpose"


def test_indirect_data_of_a_real_pe_is_refused_as_content() -> None:
    operation = Operation(template="authenticode-pe", digest="sha256:" + "11" * 32)
    with pytest.raises(FormatError) as problem:
        CmsFormat().prepare(BytesView(indirect_data("pe", operation.content_digest)), (), WholeFileOptions())
    assert problem.value.code == "other-purpose"


def test_raw_signature_over_pe_attributes_would_be_authenticode_and_is_not_to_be_had() -> None:
    """Why a key has one family: the value that a raw key would give for these bytes is a CMS signature value."""
    signer = identity()
    attributes = pe_attributes()
    digest = "sha256:" + hashlib.sha256(attributes).hexdigest()
    as_raw = template_named("raw").to_be_signed(Operation(template="raw", digest=digest), signer.context())
    assert as_raw.prehashed
    assert as_raw.content == hashlib.sha256(attributes).digest()


def test_weak_digest_is_no_option() -> None:
    with pytest.raises(ValueError, match="sha1"):
        WholeFileOptions(digest="sha1")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="digest"):
        Operation(template="raw", digest="sha1:" + "11" * 20)


def test_content_of_no_kind_is_recognised_as_none() -> None:
    assert recognize(BytesView(b"\0" + CONTENT)) is None
    assert {"pe", "cms", "raw"} <= set(FORMATS)
    with pytest.raises(FormatError):
        format_named("exe")


def test_envelope_of_a_pe_is_not_accepted_as_a_detached_signature() -> None:
    signed = sign(PE32_PLUS.build())
    table_start = signed.rindex(b"\x00\x02\x02\x00") + 4
    with pytest.raises((FormatError, VerificationError)):
        CmsReader().read(BytesView(signed[table_start:]), BytesView(CONTENT))
    assert parse(signed[table_start : len(signed) - _padding(signed[table_start:])]).encapsulated is not None


def _padding(entry: bytes) -> int:
    length = int.from_bytes(entry[2:4], "big") + 4
    return len(entry) - length
