# SPDX-License-Identifier: Apache-2.0
"""Our tokens before OpenSSL and rfc3161-client; OpenSSL's tokens before us."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import rfc3161_client
from cryptography import x509

from signwright.errors import TimestampError, VerificationError
from signwright.model.digest import Digest
from signwright.timestamps.codes import Check
from signwright.timestamps.issue import Issuer, SigningKey, parse_query, reply_to
from signwright.timestamps.query import timestamp_query
from signwright.timestamps.reply import token_of_reply
from signwright.timestamps.token import TimestampInfo, verify_token
from signwright.tsa.keys import make_authority
from signwright.tsa.settings import DEFAULT_POLICY_OID
from tests.support.openssl_ts import OpensslTsa, openssl_verifies, run_openssl
from tests.support.pki import Identity, default_pki

IMPRINT = Digest.of(b"a signature value")
NONCE = 0x8000000000000001
QUERY = timestamp_query(IMPRINT, NONCE)


def our_reply(identity: Identity, imprint: Digest = IMPRINT) -> bytes:
    assert isinstance(identity.key, SigningKey)
    issuer = Issuer(key=identity.key, chain=identity.chain, policy_oid=DEFAULT_POLICY_OID)
    query = timestamp_query(imprint, NONCE)
    return reply_to(query, issuer=issuer, now=datetime.now(UTC), next_serial=lambda: 2**63).reply


def verify(timestamp_token: bytes, imprint: Digest = IMPRINT, anchors: list[bytes] | None = None) -> TimestampInfo:
    now = datetime.now(UTC)
    return verify_token(
        timestamp_token,
        imprint=imprint,
        nonce=NONCE,
        anchors=anchors or [default_pki().intermediate],
        not_before=now - timedelta(minutes=1),
        not_after=now + timedelta(minutes=1),
    )


@pytest.mark.parametrize("algorithm", ["sha256", "sha384", "sha512"])
@pytest.mark.parametrize("key_type", ["rsa2048", "p256", "p384"])
def test_openssl_accepts_our_tokens(tmp_path: Path, key_type: str, algorithm: str) -> None:
    imprint = Digest.of(b"content", algorithm)
    timestamp_token = token_of_reply(our_reply(default_pki().timestamping(key_type), imprint))
    output = openssl_verifies(
        tmp_path, timestamp_token=timestamp_token, digest_hex=imprint.hex, root=default_pki().root
    )
    assert "Verification: OK" in output


def test_openssl_accepts_the_authority_that_init_makes(tmp_path: Path) -> None:
    made = make_authority("Example", now=datetime.now(UTC))
    (tmp_path / "key.pem").write_bytes(made.key_pem)
    (tmp_path / "chain.pem").write_bytes(made.chain_pem)
    identity = default_pki().timestamping()
    issuer = Issuer(key=_key(made.key_pem), chain=made.chain, policy_oid=DEFAULT_POLICY_OID)
    reply = reply_to(QUERY, issuer=issuer, now=datetime.now(UTC), next_serial=lambda: 1).reply
    output = openssl_verifies(tmp_path, timestamp_token=token_of_reply(reply), digest_hex=IMPRINT.hex, root=made.root)
    assert "Verification: OK" in output
    assert identity.certificate not in reply


def test_openssl_reads_our_reply_and_query(tmp_path: Path) -> None:
    (tmp_path / "reply.tsr").write_bytes(our_reply(default_pki().timestamping()))
    (tmp_path / "query.tsq").write_bytes(QUERY)
    (tmp_path / "root.pem").write_bytes(default_pki().root_pem)
    text = run_openssl(["ts", "-reply", "-in", "reply.tsr", "-text"], tmp_path)
    assert "Status: Granted." in text
    assert f"Policy OID: {DEFAULT_POLICY_OID}" in text
    verified = run_openssl(
        ["ts", "-verify", "-queryfile", "query.tsq", "-in", "reply.tsr", "-CAfile", "root.pem"], tmp_path
    )
    assert "Verification: OK" in verified


@pytest.mark.parametrize("key_type", ["rsa2048", "p256"])
def test_rfc3161_client_accepts_our_replies(key_type: str) -> None:
    response = rfc3161_client.decode_timestamp_response(our_reply(default_pki().timestamping(key_type)))
    verifier = (
        rfc3161_client.VerifierBuilder()
        .add_root_certificate(x509.load_der_x509_certificate(default_pki().root))
        .nonce(NONCE)
        .build()
    )
    assert verifier.verify(response, IMPRINT.value)
    assert response.tst_info.serial_number == 2**63


def test_our_authority_answers_the_query_of_rfc3161_client() -> None:
    request = (
        rfc3161_client.TimestampRequestBuilder()
        .data(b"content")
        .hash_algorithm(rfc3161_client.HashAlgorithm.SHA512)
        .build()
    )
    parsed = parse_query(request.as_bytes())
    assert parsed.imprint == Digest.of(b"content", "sha512")
    assert parsed.nonce == request.nonce


def test_our_authority_answers_the_query_of_openssl(tmp_path: Path) -> None:
    (tmp_path / "content").write_bytes(b"content")
    run_openssl(["ts", "-query", "-data", "content", "-sha384", "-cert", "-out", "query.tsq"], tmp_path)
    parsed = parse_query((tmp_path / "query.tsq").read_bytes())
    assert parsed.imprint == Digest.of(b"content", "sha384")
    assert parsed.certificates_wanted


@pytest.mark.parametrize("ess", ["sha1", "sha256", "sha384"])
@pytest.mark.parametrize("key_type", ["rsa2048", "p256"])
def test_we_accept_the_tokens_of_openssl(tmp_path: Path, key_type: str, ess: str) -> None:
    tsa = OpensslTsa(tmp_path, default_pki().timestamping(key_type), ess=ess)
    info = verify(token_of_reply(tsa.reply(QUERY)))
    assert info.tsa_policy_oid == "1.2.3.4.1"
    assert info.accuracy == timedelta(seconds=1)


def test_we_refuse_the_unsorted_certificates_of_openssl_as_rfc3161_client_does(tmp_path: Path) -> None:
    # A long name makes the leaf the longer encoding, so that OpenSSL's order (leaf first) is not that of DER.
    leaf = default_pki().timestamping(subject="A timestamp authority with a long name, " + "x" * 20)
    reply = OpensslTsa(tmp_path, leaf, with_chain=True).reply(QUERY)
    with pytest.raises(VerificationError) as refusal:
        verify(token_of_reply(reply), anchors=[default_pki().root])
    assert refusal.value.code == Check.SET_ORDER
    with pytest.raises(ValueError, match="InvalidSetOrdering"):
        rfc3161_client.decode_timestamp_response(reply)


def test_we_refuse_the_sha1_signature_of_openssl(tmp_path: Path) -> None:
    reply = OpensslTsa(tmp_path, default_pki().timestamping("rsa2048"), signer_digest="sha1").reply(QUERY)
    with pytest.raises(VerificationError, match="SHA-1") as refusal:
        verify(token_of_reply(reply))
    assert refusal.value.code == Check.ALGORITHM


def test_we_read_the_rejection_of_openssl(tmp_path: Path) -> None:
    reply = OpensslTsa(tmp_path, default_pki().timestamping(), digests="sha512").reply(QUERY)
    with pytest.raises(TimestampError) as refusal:
        token_of_reply(reply)
    assert refusal.value.code == Check.REJECTED
    assert refusal.value.details["failure"] == ["bad_alg"]


def _key(pem: bytes) -> SigningKey:
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    key = load_pem_private_key(pem, None)
    assert isinstance(key, SigningKey)
    return key
