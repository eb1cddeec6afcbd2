# SPDX-License-Identifier: Apache-2.0
"""What a file signature must not cover, and what looks similar and may be signed."""

from __future__ import annotations

import hashlib

import pytest
from asn1crypto import cms as asn1_cms
from hypothesis import given, settings
from hypothesis import strategies as st

from signwright.envelopes import der
from signwright.envelopes.cms import attribute
from signwright.envelopes.indirect_data import INDIRECT_DATA, indirect_data
from signwright.envelopes.templates import TEMPLATES
from signwright.errors import FormatError
from signwright.formats.whole_file import WholeFileOptions, prepare_whole_file
from signwright.model.operation import Operation
from signwright.model.view import BytesView
from tests.support.pki import default_pki

AUTHENTICODE = Operation(template="authenticode-pe", digest="sha256:" + "22" * 32)
CATALOG_LIST = "1.3.6.1.4.1.311.12.1.1"


def refused(content: bytes) -> bool:
    try:
        prepare_whole_file(BytesView(content), WholeFileOptions(), name="cms", template="cms-detached")
    except FormatError as problem:
        return problem.code == "other-purpose"
    return False


def attributes_of(template: str, digest: str = "sha256") -> bytes:
    operation = Operation(
        template=template,
        digest=f"{digest}:" + hashlib.new(digest, b"x").hexdigest(),
    )
    return TEMPLATES[template].to_be_signed(operation, default_pki().code_signing("p256").context()).content


@pytest.mark.parametrize("template", ["authenticode-pe", "cms-detached"])
@pytest.mark.parametrize("digest", ["sha256", "sha512"])
def test_attributes_of_our_own_signatures_are_refused(template: str, digest: str) -> None:
    signed = attributes_of(template, digest)
    assert refused(signed)
    assert refused(b"\xa0" + signed[1:])


def test_attributes_of_another_writer_are_refused() -> None:
    written = asn1_cms.CMSAttributes(
        [{"type": "signing_time", "values": [asn1_cms.Time({"utc_time": "261121093000Z"})]}]
    )
    assert refused(written.dump())


@pytest.mark.parametrize("size", [10, 200, 70_000, 200_000])
def test_attributes_behind_a_large_first_one_are_refused(size: int) -> None:
    """A verifier that takes unsorted attributes must not be served by a signature of 'any file'."""
    first = attribute("1.2.3.4", der.octet_string(bytes(size)))
    rest = der.read_one(attributes_of("cms-detached"), der.SET).content
    assert refused(der.tlv(der.SET, first + rest))


def test_attributes_with_lengths_in_another_form_are_refused() -> None:
    inside = der.read_one(attributes_of("cms-detached"), der.SET).content
    assert refused(b"\x31\x80" + inside + b"\x00\x00")
    assert refused(b"\x31\x84" + len(inside).to_bytes(4, "big") + inside)


@given(cut=st.integers(min_value=40, max_value=120))
def test_cut_attributes_are_refused_as_well(cut: int) -> None:
    assert refused(attributes_of("cms-detached")[:cut])


def test_indirect_data_is_refused_with_and_without_its_own_header() -> None:
    whole = indirect_data("pe", AUTHENTICODE.content_digest)
    assert refused(whole)
    assert refused(der.read_one(whole, der.SEQUENCE).content)


@pytest.mark.parametrize("version", [b"", der.integer(1)])
def test_catalog_list_is_refused_with_and_without_its_own_header(version: bytes) -> None:
    usage = der.sequence(der.oid(CATALOG_LIST))
    body = version + usage + der.octet_string(bytes(16)) + der.tlv(der.UTC_TIME, b"261121093000Z")
    assert refused(der.tlv(der.SEQUENCE, body))
    if not version:
        assert refused(body)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"1",
        b"10: a text that begins like a SET",
        b"0",
        b"0\x80",
        b"\x31\x84\xff\xff\xff\xff",
        b"\xa0\x80",
        b"Version:1\n\nName: x",
        b"Signed-Version: 1.0",
        der.sequence(der.oid("1.2.840.113549.1.7.2")),
        der.set_of([der.integer(1)]),
        der.set_of([der.sequence(der.oid("1.2.3"), der.integer(1))]),
    ],
)
def test_ordinary_content_is_not_refused(content: bytes) -> None:
    assert not refused(content)


def test_complete_signatures_and_certificates_may_be_signed_again() -> None:
    """A PKCS #7 file around indirect data is a file like any other: what it signs is inside, not what is signed now."""
    signer = default_pki().code_signing("p256")
    context = signer.context()
    template = TEMPLATES["authenticode-pe"]
    envelope = template.envelope(AUTHENTICODE, context, signer.sign(template.to_be_signed(AUTHENTICODE, context)), None)
    assert der.oid(INDIRECT_DATA) in envelope[:80]
    assert not refused(envelope)
    assert not refused(signer.certificate)


@given(content=st.binary(max_size=200))
def test_nothing_but_the_stated_error_is_raised(content: bytes) -> None:
    for prefix in (b"", b"\x31", b"\x30", b"\xa0", b"\x31\x82\x01\x00\x30", b"\x30\x80\x02\x01"):
        refused(prefix + content)


ENTRY = b"Name: Evil.class\r\nSHA-256-Digest: AAAA\r\n\r\n"
MAIN = b"Signature-Version: 1.0\r\nSHA-256-Digest-Manifest: AAAA\r\n"
#: What jarsigner takes for a signature file, however it begins (tests/interop/test_file_is_no_jar.py).
SIGNATURE_FILES = {
    "plain": MAIN + b"\r\n" + ENTRY,
    "second-line": b"Created-By: notes\r\n" + MAIN + b"\r\n" + ENTRY,
    "named-first": b"Name: x\r\n" + MAIN + b"\r\n" + ENTRY,
    "lf": (b"X: y\n" + MAIN.replace(b"\r", b"") + b"\n" + ENTRY.replace(b"\r", b"")),
    "cr": (b"X: y\r" + MAIN.replace(b"\n", b"") + b"\r" + ENTRY.replace(b"\n", b"")),
    "continued": b"X: y\r\n  z\r\n" + MAIN + b"\r\n" + ENTRY,
    "small-letters": b"X: y\r\n" + MAIN.lower() + b"\r\n" + ENTRY,
    "5-kb-behind": b"".join(b"X-%04d: padding padding\r\n" % n for n in range(200)) + MAIN + b"\r\n" + ENTRY,
    "1-mb-behind": b"".join(b"X-%06d: padding padding\r\n" % n for n in range(40_000)) + MAIN + b"\r\n" + ENTRY,
}


@pytest.mark.parametrize("name", sorted(SIGNATURE_FILES))
def test_signature_file_of_a_jar_is_no_file_however_it_begins(name: str) -> None:
    assert refused(SIGNATURE_FILES[name])


@pytest.mark.parametrize("blank", [b"", b"\xef\xbb\xbf", b"\r\n\r\n", b" \t", b"\f"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_package_text_is_no_file_whatever_stands_around_its_properties(blank: bytes, end: bytes) -> None:
    text = b"A:1" + end + b"Version:1" + end * 2 + b"B:2" + end + b"2.16.840.1.101.3.4.2.1-Hash:AAAA" + end * 2
    assert refused(blank + text)


@given(before=st.integers(0, 3 << 20), overlap=st.integers(0, 40))
@settings(max_examples=30, deadline=None)
def test_a_line_is_found_where_two_blocks_meet(before: int, overlap: int) -> None:
    start = max((before >> 20 << 20) - overlap, 0)
    assert refused(b"x" * start + b"\r\n" + MAIN + b"\r\n")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"Hello\n\nSignature-Version: 1.0\n",
        b"# about Signature-Version: 1.0\n",
        b"my-signature-version: 1.0\n",
        b"Version: 7\n\nno hash here\n",
        b"Version: 7\nCommit-Hash: abc\n\nnothing\n",
        bytes(100_000),
        bytes(range(256)) * 5000,
    ],
    ids=["empty", "later-section", "within-a-line", "other-name", "version", "one-section", "zeros", "binary"],
)
def test_what_only_looks_a_little_like_it_is_a_file(content: bytes) -> None:
    assert not refused(content)
