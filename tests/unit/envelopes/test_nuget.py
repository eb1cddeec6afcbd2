# SPDX-License-Identifier: Apache-2.0
"""The NuGet template: text that it builds itself, the attributes that NuGet demands, RSA keys alone."""

from __future__ import annotations

import base64
import hashlib

import pytest
from asn1crypto import cms as asn1_cms
from asn1crypto import tsp, x509

from signwright.envelopes import cms, der
from signwright.envelopes.nuget import NuGet, signature_text
from signwright.errors import MalformedError
from signwright.model.digest import Digest
from signwright.model.operation import Operation
from tests.support.pki import NOW, default_pki
from tests.support.signed_files import envelope_of

RSA = default_pki().code_signing("rsa2048")
OIDS = {"sha256": "2.16.840.1.101.3.4.2.1", "sha384": "2.16.840.1.101.3.4.2.2", "sha512": "2.16.840.1.101.3.4.2.3"}


def operation(algorithm: str = "sha256") -> Operation:
    return Operation(template="nuget", digest=str(Digest.of(b"a package", algorithm)))


@pytest.mark.parametrize("algorithm", OIDS)
def test_the_text_names_version_algorithm_and_digest_and_nothing_else(algorithm: str) -> None:
    value = base64.b64encode(hashlib.new(algorithm, b"a package").digest()).decode()
    wanted = f"Version:1\n\n{OIDS[algorithm]}-Hash:{value}\n\n".encode()
    assert signature_text(Digest.of(b"a package", algorithm)) == wanted
    signed = asn1_cms.ContentInfo.load(envelope_of(operation(algorithm), RSA), strict=True)["content"]
    assert signed["encap_content_info"]["content_type"].native == "data"
    assert signed["encap_content_info"]["content"].native == wanted
    (info,) = signed["signer_infos"]
    attributes = {attribute["type"].dotted: attribute["values"] for attribute in info["signed_attrs"]}
    assert attributes["1.2.840.113549.1.9.4"][0].native == hashlib.new(algorithm, wanted).digest()
    assert info["digest_algorithm"]["algorithm"].dotted == OIDS[algorithm]


def test_signed_attributes_are_those_of_an_author() -> None:
    signed = asn1_cms.ContentInfo.load(envelope_of(operation(), RSA))["content"]
    (info,) = signed["signer_infos"]
    attributes = {attribute["type"].dotted: attribute["values"] for attribute in info["signed_attrs"]}
    assert set(attributes) == {
        *("1.2.840.113549.1.9.3", "1.2.840.113549.1.9.4", "1.2.840.113549.1.9.5"),
        *("1.2.840.113549.1.9.16.2.16", "1.2.840.113549.1.9.16.2.47"),
    }
    assert attributes["1.2.840.113549.1.9.5"][0].native == NOW
    # CommitmentTypeIndication { proof of origin }, RFC 5126 5.11.1 and 5.11.2
    assert attributes["1.2.840.113549.1.9.16.2.16"][0].dump().hex() == "300d060b2a864886f70d0109100601"
    (named,) = tsp.SigningCertificateV2.load(attributes["1.2.840.113549.1.9.16.2.47"][0].dump(), strict=True)["certs"]
    certificate = x509.Certificate.load(RSA.certificate)
    assert named["cert_hash"].native == hashlib.sha256(RSA.certificate).digest()
    assert named["issuer_serial"]["serial_number"].native == certificate.serial_number
    (issuer,) = named["issuer_serial"]["issuer"]
    assert issuer.chosen.untag().dump() == certificate.issuer.dump()
    assert [c.chosen.dump() for c in signed["certificates"]] == sorted(RSA.chain)


@pytest.mark.parametrize("key_type", ["p256", "p384", "ed25519"])
def test_keys_that_nuget_does_not_know_are_refused(key_type: str) -> None:
    with pytest.raises(MalformedError) as refusal:
        NuGet().to_be_signed(operation("sha512"), default_pki().code_signing(key_type).context())
    assert refusal.value.code == "bad-key"


def test_a_timestamp_token_stands_among_the_unsigned_attributes() -> None:
    token = der.sequence(der.oid(cms.DATA), der.explicit(0, der.octet_string(b"token")))
    (info,) = asn1_cms.ContentInfo.load(envelope_of(operation(), RSA, token))["content"]["signer_infos"]
    (attribute,) = info["unsigned_attrs"]
    assert attribute["type"].dotted == "1.2.840.113549.1.9.16.2.14"
    assert token in attribute.dump()
