# SPDX-License-Identifier: Apache-2.0
"""What a file signature must not cover, and what looks similar and may be signed."""

from __future__ import annotations

import hashlib

import pytest
from asn1crypto import cms as asn1_cms
from hypothesis import given
from hypothesis import strategies as st

from signwright.envelopes import der
from signwright.envelopes.cms import attribute
from signwright.envelopes.indirect_data import INDIRECT_DATA, indirect_data
from signwright.envelopes.templates import TEMPLATES
from signwright.errors import FormatError
from signwright.formats.content import refuse_other_purposes
from signwright.model.operation import Operation
from signwright.model.view import BytesView
from tests.support.pki import default_pki

AUTHENTICODE = Operation(template="authenticode-pe", digest="sha256:" + "22" * 32)
CATALOG_LIST = "1.3.6.1.4.1.311.12.1.1"


def refused(content: bytes) -> bool:
    try:
        refuse_other_purposes(BytesView(content))
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
