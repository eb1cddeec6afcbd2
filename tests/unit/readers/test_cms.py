# SPDX-License-Identifier: Apache-2.0
"""What the reader of SignedData refuses: structures built here by hand, each wrong in one place."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signwright.envelopes import cms as writer
from signwright.envelopes import der, id_data
from signwright.envelopes.base import ToBeSigned
from signwright.envelopes.templates import TEMPLATES
from signwright.errors import FormatError, SignwrightError, VerificationError
from signwright.model.operation import Operation
from signwright.model.view import BytesView
from signwright.readers import cms
from signwright.readers.detached import CmsReader
from tests.support.pki import NOW, Identity, default_pki

CONTENT = b"content\n"
TOKEN = der.sequence(der.integer(1))
SHA1 = der.sequence(der.oid("1.3.14.3.2.26"), der.NULL)


def signer(key_type: str = "p256") -> Identity:
    return default_pki().code_signing(key_type)


def attributes(identity: Identity, *, digest: str = "sha256") -> list[bytes]:
    return [
        writer.attribute(cms.CONTENT_TYPE, der.oid(cms.DATA)),
        writer.attribute(cms.MESSAGE_DIGEST, der.octet_string(hashlib.new(digest, CONTENT).digest())),
        id_data.signing_time(NOW),
        id_data.signing_certificate_v2(identity.certificate),
    ]


def signer_info(
    identity: Identity,
    *,
    signed: list[bytes] | None = None,
    algorithm: bytes | None = None,
    signature_algorithm: bytes | None = None,
    unsigned: list[bytes] | None = None,
    sort: bool = True,
) -> bytes:
    signed = attributes(identity) if signed is None else signed
    body = b"".join(sorted(signed) if sort else signed)
    value = identity.sign(ToBeSigned(der.tlv(der.SET, body), "sha256"))
    leaf = der.split_certificate(identity.certificate)
    return der.sequence(
        der.integer(1),
        der.sequence(leaf.issuer, leaf.serial),
        algorithm or writer.digest_algorithm("sha256", null=False),
        der.tlv(0xA0, body) if signed else b"",
        signature_algorithm or writer.signature_algorithm(identity.public_key, "sha256"),
        der.octet_string(value),
        der.set_of(unsigned, tag=0xA1) if unsigned else b"",
    )


def signed_data(
    *infos: bytes,
    identity: Identity | None = None,
    listed: bytes | None = None,
    content: bytes = b"",
    certificates: tuple[bytes, ...] | None = None,
) -> bytes:
    certificates = (identity or signer()).chain if certificates is None else certificates
    body = der.sequence(
        der.integer(1),
        der.set_of([listed or writer.digest_algorithm("sha256", null=False)]),
        der.sequence(der.oid(cms.DATA), content),
        der.set_of(certificates, tag=0xA0) if certificates else b"",
        der.set_of(infos),
    )
    return der.sequence(der.oid(cms.SIGNED_DATA), der.explicit(0, body))


def read(envelope: bytes) -> list[str]:
    """Subjects' digests of the signatures that hold."""
    reading = CmsReader().read(BytesView(envelope), BytesView(CONTENT))
    return [str(found.content_digest) for found in reading.signatures]


def refused(envelope: bytes) -> None:
    with pytest.raises((FormatError, VerificationError)):
        read(envelope)


def test_structure_built_here_holds_as_it_is() -> None:
    assert read(signed_data(signer_info(signer()))) == ["sha256:" + hashlib.sha256(CONTENT).hexdigest()]


def test_attributes_in_another_order_are_checked_as_they_stand() -> None:
    turned = sorted(attributes(signer()), reverse=True)
    assert read(signed_data(signer_info(signer(), signed=turned, sort=False)))


def test_two_signers_are_two_findings_and_one_that_fails_fails_all() -> None:
    other = default_pki().code_signing("p256", "Second Software")
    chain = (*signer().chain, other.certificate)
    assert len(read(signed_data(signer_info(signer()), signer_info(other), certificates=chain))) == 2
    bad = [*attributes(other)[:1], writer.attribute(cms.MESSAGE_DIGEST, der.octet_string(bytes(32)))]
    refused(signed_data(signer_info(signer()), signer_info(other, signed=bad), certificates=chain))


@pytest.mark.parametrize("missing", range(2))
def test_content_type_and_message_digest_are_demanded(missing: int) -> None:
    kept = attributes(signer())
    del kept[missing]
    refused(signed_data(signer_info(signer(), signed=kept)))


def test_signature_without_attributes_is_refused() -> None:
    refused(signed_data(signer_info(signer(), signed=[])))


@pytest.mark.parametrize("which", range(4))
def test_attribute_that_stands_twice_is_refused(which: int) -> None:
    twice = attributes(signer())
    refused(signed_data(signer_info(signer(), signed=[*twice, twice[which]])))


def test_attribute_with_two_values_or_none_is_refused() -> None:
    digest = der.octet_string(hashlib.sha256(CONTENT).digest())
    for values in ((digest, der.octet_string(bytes(32))), ()):
        kept = [*attributes(signer())[:1], writer.attribute(cms.MESSAGE_DIGEST, *values)]
        refused(signed_data(signer_info(signer(), signed=kept)))


def test_content_type_of_another_content_is_refused() -> None:
    kept = [writer.attribute(cms.CONTENT_TYPE, der.oid("1.3.6.1.4.1.311.2.1.4")), *attributes(signer())[1:]]
    refused(signed_data(signer_info(signer(), signed=kept)))


def test_signing_certificate_of_another_certificate_is_refused() -> None:
    kept = [*attributes(signer())[:3], id_data.signing_certificate_v2(default_pki().intermediate)]
    with pytest.raises(VerificationError) as problem:
        read(signed_data(signer_info(signer(), signed=kept)))
    assert problem.value.code == "wrong-certificate"


def test_same_key_in_another_certificate_does_not_take_the_signature_over() -> None:
    """Why signingCertificateV2 is there: only the issuer and serial outside the signed part were exchanged."""
    twin = default_pki().leaf("p256", "Example Software", (), key_usage="content_commitment")
    assert twin.public_key == signer().public_key
    assert twin.certificate != signer().certificate
    info = signer_info(signer())
    was, now = (der.split_certificate(c.certificate) for c in (signer(), twin))
    envelope = signed_data(info.replace(was.serial, now.serial), certificates=twin.chain)
    refused(envelope)


def test_weak_digest_is_refused_by_name() -> None:
    kept = [
        *attributes(signer())[:1],
        writer.attribute(cms.MESSAGE_DIGEST, der.octet_string(hashlib.sha1(CONTENT).digest())),
    ]
    with pytest.raises(VerificationError) as problem:
        read(signed_data(signer_info(signer(), signed=kept, algorithm=SHA1), listed=SHA1))
    assert problem.value.code == "weak-digest"


def test_digest_that_is_not_listed_is_refused() -> None:
    refused(signed_data(signer_info(signer()), listed=writer.digest_algorithm("sha512", null=False)))


@pytest.mark.parametrize("oid", ["1.2.840.10045.4.3.3", "1.2.840.113549.1.1.11", "1.3.101.112", "1.2.3"])
def test_signature_algorithm_of_another_digest_or_key_is_refused(oid: str) -> None:
    refused(signed_data(signer_info(signer(), signature_algorithm=der.sequence(der.oid(oid)))))


def test_signer_without_its_certificate_is_refused() -> None:
    refused(signed_data(signer_info(signer()), certificates=(default_pki().intermediate,)))
    refused(signed_data(signer_info(signer()), certificates=()))


def test_signature_with_content_inside_is_not_a_detached_one() -> None:
    envelope = signed_data(signer_info(signer()), content=der.explicit(0, der.octet_string(CONTENT)))
    parsed = cms.parse(envelope)
    cms.check_embedded(parsed, parsed.only_signer)
    assert not CmsReader().recognizes(BytesView(envelope))
    refused(envelope)


def test_structure_without_signers_is_refused() -> None:
    refused(signed_data())


@pytest.mark.parametrize("place", [cms.CMS_TIMESTAMP, cms.AUTHENTICODE_TIMESTAMP])
def test_token_is_found_in_both_places(place: str) -> None:
    info = signer_info(signer(), unsigned=[writer.attribute(place, TOKEN)])
    assert cms.parse(signed_data(info)).only_signer.timestamp_token == TOKEN


def test_second_token_is_refused() -> None:
    other = der.sequence(der.integer(2))
    for unsigned in (
        [writer.attribute(cms.CMS_TIMESTAMP, TOKEN, other)],
        [writer.attribute(cms.CMS_TIMESTAMP, TOKEN), writer.attribute(cms.AUTHENTICODE_TIMESTAMP, other)],
    ):
        refused(signed_data(signer_info(signer(), unsigned=unsigned)))


def test_nested_signatures_are_handed_out_to_be_parsed_in_turn() -> None:
    inner = signed_data(signer_info(signer("p384")), identity=signer("p384"))
    info = signer_info(signer(), unsigned=[writer.attribute(cms.NESTED_SIGNATURE, inner)])
    (found,) = cms.parse(signed_data(info)).only_signer.nested
    assert found == inner
    assert cms.parse(found).only_signer.certificate == signer("p384").certificate


def test_too_many_signers_or_certificates_are_refused() -> None:
    infos = [signer_info(signer())] * (cms.MAX_SIGNERS + 1)
    for envelope in (
        signed_data(*infos),
        signed_data(signer_info(signer()), certificates=signer().chain * (cms.MAX_CERTIFICATES // 2 + 1)),
    ):
        with pytest.raises(FormatError) as problem:
            cms.parse(envelope)
        assert problem.value.code == "too-large"


def test_padding_is_zero_and_shorter_than_eight_and_only_where_allowed() -> None:
    envelope = signed_data(signer_info(signer()))
    assert cms.parse(envelope + bytes(7), padding=True).envelope == envelope
    for behind, padding in ((bytes(1), False), (bytes(8), True), (b"\x00\x01", True)):
        with pytest.raises(FormatError):
            cms.parse(envelope + behind, padding=padding)


def test_raw_signature_is_neither_cms_nor_authenticode() -> None:
    identity = signer()
    digest = "sha256:" + hashlib.sha256(CONTENT).hexdigest()
    one = Operation(template="raw", digest=digest)
    value = identity.sign(TEMPLATES["raw"].to_be_signed(one, identity.context()))
    refused(value)
    wanted_instead = (
        Operation(template="cms-detached", digest=digest),
        Operation(template="authenticode-pe", digest=digest),
    )
    for wanted in wanted_instead:
        with pytest.raises(VerificationError):
            TEMPLATES[wanted.template].envelope(wanted, identity.context(), value, None)
    leaf = der.split_certificate(identity.certificate)
    by_hand = der.sequence(
        der.integer(1),
        der.sequence(leaf.issuer, leaf.serial),
        writer.digest_algorithm("sha256", null=False),
        der.set_of(attributes(identity), tag=0xA0),
        writer.signature_algorithm(identity.public_key, "sha256"),
        der.octet_string(value),
    )
    with pytest.raises(VerificationError) as problem:
        read(signed_data(by_hand))
    assert problem.value.code == "bad-signature"


@given(at=st.integers(0, 5000), bit=st.integers(0, 7))
def test_flipped_bit_is_an_error_or_means_the_same(at: int, bit: int) -> None:
    envelope = bytearray(signed_data(signer_info(signer(), unsigned=[writer.attribute(cms.CMS_TIMESTAMP, TOKEN)])))
    envelope[at % len(envelope)] ^= 1 << bit
    try:
        (found,) = CmsReader().read(BytesView(bytes(envelope)), BytesView(CONTENT)).signatures
    except SignwrightError as problem:
        assert isinstance(problem, (FormatError, VerificationError))  # noqa: PT017
        return
    # Unsigned: the token, which is checked against the value, and what a chain check judges.
    assert found.signer_certificate == signer().certificate
    assert found.content_digest.value == hashlib.sha256(CONTENT).digest()
    assert found.signing_time == NOW
