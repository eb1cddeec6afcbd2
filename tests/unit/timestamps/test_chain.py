# SPDX-License-Identifier: Apache-2.0
"""The path from a timestamping certificate to a pinned root, with one thing wrong in it."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from signwright.errors import VerificationError
from signwright.timestamps.chain import MAX_PATH, anchor_of, load_certificate
from signwright.timestamps.codes import Check
from tests.support.pki import NOW, PrivateKey, private_key

CA = (x509.BasicConstraints(ca=True, path_length=None), True)
NOT_CA = (x509.BasicConstraints(ca=False, path_length=None), True)
Extension = tuple[x509.ExtensionType, bool]


def make(
    subject: str,
    issuer: str,
    *extensions: Extension,
    signed_by: str | None = None,
    not_after: datetime = datetime(2045, 1, 1, tzinfo=UTC),
    digest: hashes.HashAlgorithm | None = None,
    key_type: str = "p256",
) -> bytes:
    """A certificate for ``subject`` by ``issuer`` (both common names, each with its own key)."""
    builder = (
        x509.CertificateBuilder(_name(issuer), _name(subject), _key(subject, key_type).public_key(), 1 + len(subject))
        .not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
        .not_valid_after(not_after)
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    return builder.sign(_key(signed_by or issuer), digest or hashes.SHA256()).public_bytes(Encoding.DER)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _key(label: str, key_type: str = "p256") -> PrivateKey:
    return private_key(key_type, f"chain {label}")


ROOT = make("root", "root", CA)
LEAF = make("leaf", "between", NOT_CA)


def find(*others: bytes, leaf: bytes = LEAF, root: bytes = ROOT) -> bytes:
    return anchor_of(load_certificate(leaf, "leaf"), others=others, anchors=[root], moment=NOW)


def usage(oid: x509.ObjectIdentifier) -> Extension:
    return x509.ExtendedKeyUsage([oid]), False


def key_usage(*, key_cert_sign: bool) -> Extension:
    names = ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only")
    rest = dict.fromkeys((*names, "crl_sign", "decipher_only"), False)
    return x509.KeyUsage(digital_signature=True, key_cert_sign=key_cert_sign, **rest), True


@pytest.mark.parametrize(
    "between",
    [
        make("between", "root", CA),
        make("between", "root", (x509.BasicConstraints(ca=True, path_length=0), True)),
        make("between", "root", CA, usage(ExtendedKeyUsageOID.TIME_STAMPING)),
        make("between", "root", CA, key_usage(key_cert_sign=True)),
    ],
)
def test_a_sound_path_leads_to_the_root(between: bytes) -> None:
    assert find(between) == ROOT


@pytest.mark.parametrize(
    ("between", "reason"),
    [
        (make("between", "root", NOT_CA), "not a certification authority"),
        (make("between", "root"), "not a certification authority"),
        (make("between", "root", CA, key_usage(key_cert_sign=False)), "key usage does not permit"),
        (make("between", "root", CA, usage(ExtendedKeyUsageOID.CODE_SIGNING)), "does not permit this purpose"),
        (make("between", "root", CA, (x509.NameConstraints([x509.DNSName("a")], None), True)), "not understood"),
        (make("between", "root", CA, (x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3"), b""), True)), "1.2.3"),
        (make("between", "root", CA, not_after=datetime(2025, 1, 1, tzinfo=UTC)), "not valid at"),
        (make("between", "root", CA, signed_by="stranger"), "did not sign"),
        (make("between", "unknown", CA), "no issuer named"),
        (make("elsewhere", "root", CA), "no issuer named"),
    ],
)
def test_a_path_with_a_fault_is_refused_and_the_fault_named(between: bytes, reason: str) -> None:
    with pytest.raises(VerificationError, match=reason) as refusal:
        find(between)
    assert refusal.value.code == Check.CHAIN


def test_a_weak_issuing_key_is_refused() -> None:
    weak = private_key("rsa1024", "chain weak")
    builder = x509.CertificateBuilder(_name("root"), _name("between"), weak.public_key(), 7)
    builder = builder.not_valid_before(datetime(2020, 1, 1, tzinfo=UTC)).not_valid_after(
        datetime(2045, 1, 1, tzinfo=UTC)
    )
    between = builder.add_extension(*CA).sign(_key("root"), hashes.SHA256()).public_bytes(Encoding.DER)
    with pytest.raises(VerificationError, match="1024 is not accepted"):
        find(between)


def test_a_path_length_is_kept() -> None:
    short = make("root", "root", (x509.BasicConstraints(ca=True, path_length=0), True))
    with pytest.raises(VerificationError, match="path length exceeded"):
        find(make("between", "root", CA), root=short)


def test_a_loop_of_issuers_ends() -> None:
    with pytest.raises(VerificationError) as refusal:
        find(make("between", "other", CA), make("other", "between", CA))
    assert refusal.value.code == Check.CHAIN


def test_an_endless_path_is_cut_off() -> None:
    names = ["between", *(f"ca {n}" for n in range(MAX_PATH + 2)), "root"]
    path = [make(subject, issuer, CA) for subject, issuer in itertools.pairwise(names)]
    assert find(*path[: MAX_PATH - 3], make(names[MAX_PATH - 3], "root", CA)) == ROOT
    with pytest.raises(VerificationError):
        find(*path)


def test_a_certificate_that_does_not_parse_is_refused() -> None:
    with pytest.raises(VerificationError) as refusal:
        load_certificate(LEAF[:-1], "it")
    assert refusal.value.code == Check.CHAIN
