# SPDX-License-Identifier: Apache-2.0
"""Tokens of authorities that sign with RSASSA-PSS or name their certificate by its key identifier."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from typing import Any

import pytest
from asn1crypto import algos, cms
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from signwright.envelopes import der
from signwright.errors import ConfigurationError, TimestampError, VerificationError
from signwright.model.digest import Digest
from signwright.timestamps.authorities import Patience
from signwright.timestamps.codes import Check
from signwright.timestamps.query import timestamp_query
from signwright.timestamps.reply import token_of_reply
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


def general(name: x509.Name) -> asn1_x509.GeneralName:
    return asn1_x509.GeneralName("directory_name", asn1_x509.Name.load(name.public_bytes()))


def issued_by(names: list[asn1_x509.GeneralName], serial: int) -> Any:
    """The signing certificate attribute also says who issued the certificate, and under which number."""

    def change(signer: Any) -> None:
        for attribute in signer["signed_attrs"]:
            if attribute["type"].native == "signing_certificate_v2":
                entry = attribute["values"][0]["certs"][0]
                entry["issuer_serial"] = {"issuer": asn1_x509.GeneralNames(names), "serial_number": serial}
        signer["signed_attrs"] = cms.CMSAttributes(sorted(signer["signed_attrs"], key=lambda one: one.dump(force=True)))

    return change


def test_signing_certificate_may_be_named_by_issuer_and_number(identity: Identity) -> None:
    parsed = x509.load_der_x509_certificate(identity.certificate)
    assert verify(made(identity, issued_by([general(parsed.issuer)], parsed.serial_number))).gen_time == NOW


@pytest.mark.parametrize("wrong", ["name", "number", "kind of name", "two names", "no name"])
def test_signing_certificate_under_another_issuer_or_number_is_refused(identity: Identity, wrong: str) -> None:
    parsed = x509.load_der_x509_certificate(identity.certificate)
    issuer = general(parsed.issuer)
    names = {
        "name": [general(parsed.subject)],
        "kind of name": [asn1_x509.GeneralName("dns_name", "example.com")],
        "two names": [issuer, issuer],
        "no name": [],
    }.get(wrong, [issuer])
    with pytest.raises(VerificationError) as refused:
        verify(made(identity, issued_by(names, parsed.serial_number + (wrong == "number"))))
    assert refused.value.code == Check.SIGNING_CERTIFICATE


def called(identity: Identity, name: asn1_x509.GeneralName) -> bytes:
    """A token whose content gives the authority this name."""
    info = cms.ContentInfo.load(TSA._token(timestamp_query(IMPRINT, NONCE), issuer=TSA.issuer_of(identity)))
    (signer,) = info["content"]["signer_infos"]
    content = info["content"]["encap_content_info"]
    said = content["content"].parsed
    said["tsa"] = name
    content["content"] = cms.ParsableOctetString(said.dump(force=True))
    for attribute in signer["signed_attrs"]:
        if attribute["type"].native == "message_digest":
            attribute["values"] = [hashlib.sha256(said.dump()).digest()]
    signer["signed_attrs"] = cms.CMSAttributes(sorted(signer["signed_attrs"], key=lambda one: one.dump(force=True)))
    key = identity.key
    assert isinstance(key, rsa.RSAPrivateKey)
    attributes = signer["signed_attrs"].untag().dump(force=True)
    signer["signature"] = key.sign(attributes, padding.PKCS1v15(), hashes.SHA256())
    return bytes(info.dump(force=True))


def test_authority_may_say_its_name_as_its_certificate_does(identity: Identity) -> None:
    parsed = x509.load_der_x509_certificate(identity.certificate)
    assert verify(called(identity, general(parsed.subject))).gen_time == NOW
    for other in (general(parsed.issuer), asn1_x509.GeneralName("dns_name", "example.com")):
        with pytest.raises(VerificationError) as refused:
            verify(called(identity, other))
        assert refused.value.code == Check.TSA_NAME


@pytest.mark.parametrize(
    "reply", [b"\x31\x00", b"\x30\x00", b"\x30\x02\x04\x00"], ids=["a set", "nothing", "no status"]
)
def test_reply_of_another_shape_is_refused(reply: bytes) -> None:
    with pytest.raises(TimestampError) as refused:
        token_of_reply(reply)
    assert refused.value.code == Check.REPLY


def test_reply_of_three_parts_or_granted_with_a_failure_is_refused(identity: Identity) -> None:
    del identity
    body = TSA.reply("good", timestamp_query(IMPRINT, NONCE)).body
    status, token = (part.encoded for part in der.read_all(der.read_one(body, der.SEQUENCE).content))
    assert token_of_reply(der.sequence(status, token)) == token
    failing = der.sequence(der.integer(0), der.tlv(0x03, b"\x07\x80"))
    wrongs = [der.sequence(status, token, token), der.sequence(failing, token), der.sequence(status)]
    wrongs += [b"\x31" + body[1:], der.sequence(status, der.octet_string(token))]
    for wrong in wrongs:
        with pytest.raises(TimestampError) as refused:
            token_of_reply(wrong)
        assert refused.value.code == Check.REPLY


def test_patience_is_positive() -> None:
    Patience()
    for name in ("deadline", "attempt", "failures", "cool_down"):
        with pytest.raises(ConfigurationError):
            Patience(**{name: 0})  # type: ignore[arg-type]
