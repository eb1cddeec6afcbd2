# SPDX-License-Identifier: Apache-2.0
"""Which revocation lists are believed: whole ones, of an authority that may sign them, that reach the moment asked."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from signwright.errors import SignwrightError
from signwright.readers.chain import check_code_signing
from tests.support.pki import NOT_AFTER, NOW, Identity, default_pki

PKI = default_pki()
DAY = timedelta(days=1)


def leaf() -> Identity:
    return PKI.code_signing("p256", "Listed Software")


def list_of(
    *,
    revoked: Iterable[x509.RevokedCertificate] = (),
    extensions: Iterable[tuple[x509.ExtensionType, bool]] = (),
    next_update: datetime = NOT_AFTER,
    signer: str = "intermediate",
    weak: bool = False,
) -> bytes:
    key = {"intermediate": PKI.intermediate_key, "root": PKI.root_key, "leaf": leaf().key}[signer]
    name = PKI.name({"leaf": "Listed Software"}.get(signer, signer))
    builder = x509.CertificateRevocationListBuilder(name, NOW - 30 * DAY, next_update)
    for entry in revoked:
        builder = builder.add_revoked_certificate(entry)
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    signed = builder.sign(key, hashes.SHA224() if weak else hashes.SHA256())
    return signed.public_bytes(serialization.Encoding.DER)


def entry(
    certificate: bytes, *, extension: x509.ExtensionType | None = None, critical: bool = False
) -> x509.RevokedCertificate:
    serial = x509.load_der_x509_certificate(certificate).serial_number
    builder = x509.RevokedCertificateBuilder(serial, NOW - DAY)
    if extension is not None:
        builder = builder.add_extension(extension, critical=critical)
    return builder.build()


def code_of(crl: bytes, *, at: datetime = NOW) -> str:
    """The refusal's code, or "checked" / "unchecked" where there is none."""
    try:
        found = check_code_signing(leaf().certificate, leaf().chain[1:], anchors=[PKI.root], at=at, crls=[crl])
    except SignwrightError as problem:
        return problem.code
    return "checked" if found.revocation_checked else "unchecked"


def test_whole_list_without_the_leaf_counts_as_checked() -> None:
    assert code_of(list_of()) == "checked"
    assert code_of(list_of(revoked=[entry(PKI.timestamping().certificate)])) == "checked"


def test_list_of_the_root_speaks_about_the_intermediate_only() -> None:
    assert code_of(list_of(signer="root")) == "unchecked"
    assert code_of(list_of(signer="root", revoked=[entry(PKI.intermediate)])) == "certificate-revoked"


def test_list_that_ended_before_the_moment_is_refused() -> None:
    ended = list_of(next_update=NOW - DAY)
    assert code_of(ended) == "bad-crl"
    assert code_of(ended, at=NOW - 2 * DAY) == "checked"


@pytest.mark.parametrize(
    "extension",
    [
        x509.DeltaCRLIndicator(1),
        x509.IssuingDistributionPoint(
            full_name=None,
            relative_name=None,
            only_contains_user_certs=False,
            only_contains_ca_certs=True,
            only_some_reasons=None,
            indirect_crl=False,
            only_contains_attribute_certs=False,
        ),
    ],
)
def test_list_of_a_part_only_is_refused(extension: x509.ExtensionType) -> None:
    assert code_of(list_of(extensions=[(extension, True)])) == "bad-crl"


def test_extension_that_is_not_critical_does_no_harm() -> None:
    assert code_of(list_of(extensions=[(x509.CRLNumber(7), False)])) == "checked"


def test_entry_of_another_issuer_is_refused() -> None:
    issuer = x509.CertificateIssuer([x509.DirectoryName(PKI.name("somebody else"))])
    assert code_of(list_of(revoked=[entry(leaf().certificate, extension=issuer, critical=True)])) == "bad-crl"


def test_reason_that_reaches_back_counts_from_the_date_it_names() -> None:
    leaked = x509.InvalidityDate(NOW - 20 * DAY)
    crl = list_of(revoked=[entry(leaf().certificate, extension=leaked)])
    assert code_of(crl, at=NOW - 10 * DAY) == "certificate-revoked"
    assert code_of(crl, at=NOW - 25 * DAY) == "checked"


def test_list_signed_with_a_weak_digest_is_refused() -> None:
    assert code_of(list_of(weak=True)) == "bad-crl"


def test_list_of_a_certificate_that_may_sign_none_is_refused() -> None:
    assert code_of(list_of(signer="leaf")) == "bad-crl"


def test_every_flipped_byte_of_a_list_is_refused() -> None:
    crl = list_of(revoked=[entry(leaf().certificate)])
    # The octet that counts unused bits of the signature value is not looked at by the library, and changes nothing.
    unused_bits = len(crl) - len(x509.load_der_x509_crl(crl).signature) - 1
    for at in set(range(len(crl))) - {unused_bits}:
        flipped = crl[:at] + bytes([crl[at] ^ 0x01]) + crl[at + 1 :]
        assert code_of(flipped) == "bad-crl", f"byte {at}"


def test_every_truncation_of_a_list_is_refused() -> None:
    crl = list_of(revoked=[entry(leaf().certificate)])
    for end in range(len(crl)):
        assert code_of(crl[:end]) == "bad-crl"
