# SPDX-License-Identifier: Apache-2.0
"""Who may sign code, at which moment, under which roots."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography.x509 import load_der_x509_certificate
from cryptography.x509.oid import ExtendedKeyUsageOID

from signwright.errors import SignwrightError, VerificationError
from signwright.readers.chain import check_code_signing
from tests.support.pki import NOT_AFTER, NOW, Pki, default_pki

CODE = (ExtendedKeyUsageOID.CODE_SIGNING,)


def check(leaf: object, *, pki: Pki | None = None, at: datetime = NOW, **more: object) -> object:
    authority = pki or default_pki()
    return check_code_signing(leaf.certificate, leaf.chain[1:], anchors=[authority.root], at=at, **more)  # type: ignore[attr-defined,arg-type]


def refused(leaf: object, **more: object) -> str:
    with pytest.raises(VerificationError) as problem:
        check(leaf, **more)
    return problem.value.code


def test_code_signing_leaf_leads_to_the_root() -> None:
    found = check(default_pki().code_signing())
    assert len(found.path) == 3  # type: ignore[attr-defined]
    assert "Example Software" in found.subject  # type: ignore[attr-defined]
    assert found.revocation_checked is False  # type: ignore[attr-defined]


def test_other_root_is_refused() -> None:
    assert refused(default_pki().code_signing(), pki=Pki("stranger")) == "certificate-chain"


def test_no_root_at_all_is_refused() -> None:
    leaf = default_pki().code_signing()
    with pytest.raises(VerificationError) as problem:
        check_code_signing(leaf.certificate, leaf.chain, anchors=[], at=NOW)
    assert problem.value.code == "no-trusted-roots"


def test_missing_intermediate_is_refused() -> None:
    leaf = default_pki().code_signing()
    with pytest.raises(VerificationError) as problem:
        check_code_signing(leaf.certificate, [], anchors=[default_pki().root], at=NOW)
    assert problem.value.code == "certificate-chain"


@pytest.mark.parametrize(
    "usages", [(), (ExtendedKeyUsageOID.TIME_STAMPING,), (ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,)]
)
def test_leaf_that_does_not_name_code_signing_is_refused(usages: tuple[object, ...]) -> None:
    assert refused(default_pki().leaf("p256", f"usages {len(usages)}", usages)) == "certificate-usage"  # type: ignore[arg-type]


def test_key_usage_without_signing_is_refused() -> None:
    leaf = default_pki().leaf("p256", "agreement", CODE, key_usage="key_agreement")
    assert refused(leaf) == "certificate-usage"


def test_expired_leaf_counts_at_the_time_of_the_timestamp_only() -> None:
    last = datetime(2026, 1, 1, tzinfo=UTC)
    leaf = default_pki().leaf("p256", "expired", CODE, not_after=last)
    assert refused(leaf) == "certificate-validity"
    check(leaf, at=last - timedelta(days=1))


def test_authority_signing_code_itself_is_refused() -> None:
    pki = default_pki()
    with pytest.raises(VerificationError):
        check_code_signing(pki.intermediate, [], anchors=[pki.root], at=NOW)


def test_revoked_before_the_signature_is_refused_and_after_it_is_not() -> None:
    pki = default_pki()
    leaf = pki.code_signing("p256", "Revoked Software")
    crl = pki.crl({leaf.certificate: NOW - timedelta(days=1)})
    assert refused(leaf, crls=[crl]) == "certificate-revoked"
    found = check(leaf, crls=[crl], at=NOW - timedelta(days=2))
    assert found.revocation_checked is True  # type: ignore[attr-defined]


def test_crl_of_somebody_else_is_refused_not_ignored() -> None:
    leaf = default_pki().code_signing("p256", "Clean Software")
    assert refused(leaf, crls=[Pki("stranger").crl({})]) == "bad-crl"


@pytest.mark.parametrize("crl", [b"", b"junk", b"\x30\x80"])
def test_crl_that_does_not_parse_is_refused(crl: bytes) -> None:
    with pytest.raises(SignwrightError) as problem:
        check(default_pki().code_signing(), crls=[crl])
    assert problem.value.code == "bad-crl"


def test_garbage_certificate_is_refused() -> None:
    with pytest.raises(VerificationError) as problem:
        check_code_signing(b"\x30\x03\x02\x01\x01", [], anchors=[default_pki().root], at=NOW)
    assert problem.value.code == "certificate-chain"
    assert NOT_AFTER > NOW


@pytest.mark.parametrize("place", [0, 1])
def test_flipped_byte_in_a_certificate_is_a_clean_refusal(place: int) -> None:
    """Leaf or intermediate: nothing may pass and nothing may crash.

    Left out is the octet that counts unused bits of the signature value: the library does not look at it, and neither
    what is signed nor the value changes.
    """
    chain = list(default_pki().code_signing("p256", "Flipped Software").chain)
    whole = chain[place]
    unused_bits = len(whole) - len(load_der_x509_certificate(whole).signature) - 1
    for at in set(range(len(whole))) - {unused_bits}:
        chain[place] = whole[:at] + bytes([whole[at] ^ 0x01]) + whole[at + 1 :]
        with pytest.raises(SignwrightError):
            check_code_signing(chain[0], chain[1:], anchors=[default_pki().root], at=NOW)
