# SPDX-License-Identifier: Apache-2.0
"""Tokens of authorities that sign with RSASSA-PSS or name their certificate by its key identifier."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from asn1crypto import algos, cms
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from signwright.errors import VerificationError
from signwright.model.digest import Digest
from signwright.timestamps.codes import Check
from signwright.timestamps.query import timestamp_query
from signwright.timestamps.token import TimestampInfo, verify_token
from tests.support.faulty_tsa import FaultyTsa
from tests.support.pki import NOW, Identity, default_pki

NONCE = 7
IMPRINT = Digest.of(b"a signature value")
TSA = FaultyTsa(default_pki())
HASHES = {"sha256": hashes.SHA256(), "sha384": hashes.SHA384()}


@pytest.fixture(scope="module")
def identity() -> Identity:
    return default_pki().timestamping("rsa2048")


def verify(token: bytes) -> TimestampInfo:
    window = {"not_before": NOW - timedelta(minutes=1), "not_after": NOW + timedelta(minutes=1)}
    return verify_token(token, imprint=IMPRINT, nonce=NONCE, anchors=[default_pki().root], **window)


def made(identity: Identity, change: Any = lambda _: None, *, pss: dict[str, Any] | None = None) -> bytes:
    """A good token, changed in its signer info and signed again. ``pss``: parameters that are stated, and used."""
    info = cms.ContentInfo.load(TSA._token(timestamp_query(IMPRINT, NONCE), issuer=TSA.issuer_of(identity)))
    (signer,) = info["content"]["signer_infos"]
    change(signer)
    attributes = signer["signed_attrs"].untag().dump()
    key = identity.key
    assert isinstance(key, rsa.RSAPrivateKey)
    if pss is None:
        signer["signature"] = key.sign(attributes, padding.PKCS1v15(), hashes.SHA256())
        return bytes(info.dump(force=True))
    mask, length = HASHES[pss["mask"]], pss["length"]
    stated = {
        "hash_algorithm": {"algorithm": pss["hash"]},
        "mask_gen_algorithm": {"algorithm": "mgf1", "parameters": {"algorithm": pss["mask"]}},
        "salt_length": length,
    }
    signer["signature_algorithm"] = {"algorithm": "rsassa_pss", "parameters": algos.RSASSAPSSParams(stated)}
    salted = padding.PSS(mgf=padding.MGF1(mask), salt_length=max(length, 0))
    signer["signature"] = key.sign(attributes, salted, HASHES[pss["hash"]])
    return bytes(info.dump(force=True))


@pytest.mark.parametrize("length", [0, 32, 64])
def test_rsassa_pss_with_the_signers_digest_is_accepted(identity: Identity, length: int) -> None:
    assert verify(made(identity, pss={"hash": "sha256", "mask": "sha256", "length": length})).gen_time == NOW


@pytest.mark.parametrize(
    "pss",
    [
        {"hash": "sha384", "mask": "sha384", "length": 32},
        {"hash": "sha256", "mask": "sha384", "length": 32},
        {"hash": "sha256", "mask": "sha256", "length": 65},
        {"hash": "sha256", "mask": "sha256", "length": -1},
    ],
    ids=str,
)
def test_rsassa_pss_with_anything_else_is_refused(identity: Identity, pss: dict[str, Any]) -> None:
    with pytest.raises(VerificationError) as refused:
        verify(made(identity, pss=pss))
    assert refused.value.code == Check.ALGORITHM


def named(identifier: bytes) -> Any:
    def change(signer: Any) -> None:
        signer["version"] = "v3"
        signer["sid"] = cms.SignerIdentifier({"subject_key_identifier": identifier})

    return change


def test_certificate_may_be_named_by_its_key_identifier(identity: Identity) -> None:
    certificate = x509.load_der_x509_certificate(identity.certificate)
    identifier = certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    assert verify(made(identity, named(identifier))).signer_certificate == identity.certificate


def test_key_identifier_of_no_certificate_in_the_token_is_refused(identity: Identity) -> None:
    with pytest.raises(VerificationError) as refused:
        verify(made(identity, named(bytes(20))))
    assert refused.value.code == Check.NO_CERTIFICATE
