# SPDX-License-Identifier: Apache-2.0
"""Certification requests (RFC 2986) from named parameters: what is in them, and what never gets in."""

from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from signwright.envelopes.base import SignerContext
from signwright.envelopes.certification_request import NAMES, certification_request, certification_request_info
from signwright.errors import MalformedError, SignwrightError, VerificationError
from tests.support.pki import default_pki
from tests.support.world import NOW

IDENTITIES = {kind: default_pki().code_signing(kind) for kind in ("p256", "rsa2048")}
ALL = {
    "country": "AT",
    "state": "Wien",
    "locality": "Wien",
    "organisation": "Fünf Leute GmbH",
    "unit": "Signing",
    "common-name": "Five People Software",
}


def context(kind: str = "p256") -> SignerContext:
    return SignerContext((), IDENTITIES[kind].public_key, NOW)


def made(names: dict[str, object], kind: str = "p256") -> bytes:
    signed = certification_request_info(names, context(kind))
    return certification_request(names, context(kind), IDENTITIES[kind].sign(signed))


@pytest.mark.parametrize("kind", IDENTITIES)
def test_request_holds_the_names_in_their_order_and_nothing_more(kind: str) -> None:
    request = x509.load_der_x509_csr(made(dict(ALL), kind))
    assert request.is_signature_valid
    assert [a.oid.dotted_string for a in request.subject] == [oid for _, oid in NAMES]
    assert [a.value for a in request.subject] == list(ALL.values())
    assert len(request.attributes) == 0
    assert len(request.extensions) == 0


def test_to_be_signed_bytes_are_neither_signed_attributes_nor_a_certificate() -> None:
    """A SEQUENCE that begins with INTEGER 0: CMS signs a SET, a certificate begins with [0] or its serial number."""
    content = certification_request_info(ALL, context()).content
    assert content[0] == 0x30
    start = 2 if content[1] < 0x80 else 2 + (content[1] & 0x7F)
    assert content[start : start + 3] == b"\x02\x01\x00"


@pytest.mark.parametrize(
    "names",
    [
        {},
        {"organisation": "no common name"},
        {**ALL, "email": "a@example"},
        {**ALL, "common-name": ""},
        {**ALL, "common-name": "x" * 65},
        {**ALL, "common-name": 7},
        {**ALL, "common-name": None},
        {**ALL, "common-name": "right\u202eleft"},
        {**ALL, "common-name": "two\nlines"},
        {**ALL, "country": "A"},
        {**ALL, "country": "AUT"},
        {**ALL, "country": "at"},
        {**ALL, "country": "A1"},
        {**ALL, "country": "ÄT"},
    ],
    ids=str,
)
def test_name_that_has_no_place_is_refused(names: dict[str, object]) -> None:
    with pytest.raises(MalformedError):
        certification_request_info(names, context())


@given(st.dictionaries(st.sampled_from([*(n for n, _ in NAMES), "other"]), st.text(max_size=70) | st.integers()))
def test_any_names_give_a_request_that_reads_back_or_a_refusal(names: dict[str, object]) -> None:
    try:
        content = made(names)
    except MalformedError:
        return
    found = {a.oid.dotted_string: a.value for a in x509.load_der_x509_csr(content).subject}
    assert found == {oid: names[name] for name, oid in NAMES if name in names}


def test_key_of_another_kind_makes_no_request() -> None:
    public = Ed25519PrivateKey.generate().public_key()
    spki = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    with pytest.raises(SignwrightError):
        certification_request_info(ALL, SignerContext((), spki, NOW))


def test_signature_of_another_key_or_for_other_names_is_not_put_in() -> None:
    other = default_pki().code_signing("p256", "another")
    with pytest.raises(VerificationError):
        certification_request(ALL, context(), other.sign(certification_request_info(ALL, context())))
    value = IDENTITIES["p256"].sign(certification_request_info({"common-name": "Mallory"}, context()))
    with pytest.raises(VerificationError):
        certification_request(ALL, context(), value)
