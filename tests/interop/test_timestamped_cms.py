# SPDX-License-Identifier: Apache-2.0
"""A timestamped file signature is accepted by OpenSSL, its token too; signatures that OpenSSL made are read here."""

from __future__ import annotations

from pathlib import Path

import pytest
from asn1crypto import cms as asn1_cms

from signwright.envelopes.detached import CmsDetached
from signwright.errors import FormatError, VerificationError
from signwright.model.digest import Digest
from signwright.model.operation import Operation
from signwright.model.view import BytesView
from signwright.readers.detached import CmsReader
from signwright.timestamps.query import timestamp_query
from signwright.timestamps.reply import token_of_reply
from tests.support.openssl_ts import OpensslTsa, openssl_verifies, run_openssl
from tests.support.pki import default_pki, to_pem

CONTENT = b"a release\n" * 100
VERIFY = ["cms", "-verify", "-binary", "-inform", "DER", "-in", "f.p7s", "-content", "f", "-CAfile", "root.pem"]


def timestamped(folder: Path, key_type: str) -> bytes:
    """A file signature with a token of OpenSSL's authority, which brings its chain unsorted."""
    identity, template = default_pki().code_signing(key_type), CmsDetached()
    operation = Operation(template="cms-detached", digest=str(Digest.of(CONTENT)))
    value = identity.sign(template.to_be_signed(operation, identity.context()))
    authority = OpensslTsa(folder / "tsa", default_pki().timestamping(), with_chain=True)
    token = token_of_reply(authority.reply(timestamp_query(Digest.of(value), 7)))
    return template.envelope(operation, identity.context(), value, token)


@pytest.mark.parametrize("key_type", ["rsa3072", "p256", "p384", "p521"])
def test_openssl_accepts_a_timestamped_signature_and_its_token(tmp_path: Path, key_type: str) -> None:
    envelope = timestamped(tmp_path, key_type)
    (tmp_path / "f").write_bytes(CONTENT)
    (tmp_path / "f.p7s").write_bytes(envelope)
    (tmp_path / "root.pem").write_bytes(default_pki().root_pem)
    run_openssl([*VERIFY, "-purpose", "any", "-out", "out"], tmp_path)
    (info,) = asn1_cms.ContentInfo.load(envelope)["content"]["signer_infos"]
    (attribute,) = info["unsigned_attrs"]
    assert attribute["type"].dotted == "1.2.840.113549.1.9.16.2.14"
    (token,) = attribute["values"]
    value = info["signature"].native
    output = openssl_verifies(
        tmp_path,
        timestamp_token=token.dump(),
        digest_hex=Digest.of(value).hex,
        root=default_pki().root,
        intermediates=(default_pki().intermediate,),
    )
    assert "Verification: OK" in output


def test_reader_hands_out_the_token_as_it_was_received(tmp_path: Path) -> None:
    envelope = timestamped(tmp_path, "p256")
    (found,) = CmsReader().read(BytesView(envelope), BytesView(CONTENT)).signatures
    assert found.timestamp_token is not None
    assert token_of_reply((tmp_path / "tsa" / "reply.tsr").read_bytes()) == found.timestamp_token


def openssl_signed(folder: Path, *options: str, key_type: str = "rsa3072") -> bytes:
    identity = default_pki().code_signing(key_type)
    (folder / "f").write_bytes(CONTENT)
    (folder / "key.pem").write_bytes(identity.private_pem)
    (folder / "leaf.pem").write_bytes(to_pem(identity.certificate))
    (folder / "chain.pem").write_bytes(b"".join(to_pem(c) for c in identity.chain[1:]))
    command = [
        "cms",
        "-sign",
        "-binary",
        "-in",
        "f",
        "-signer",
        "leaf.pem",
        "-inkey",
        "key.pem",
        "-certfile",
        "chain.pem",
    ]
    run_openssl([*command, "-outform", "DER", "-out", "f.p7s", *options], folder)
    return (folder / "f.p7s").read_bytes()


@pytest.mark.parametrize("key_type", ["rsa3072", "p256", "p384"])
@pytest.mark.parametrize("digest", ["sha256", "sha384", "sha512"])
@pytest.mark.parametrize("options", [(), ("-keyid",), ("-cades",)])
def test_signature_of_openssl_is_read(tmp_path: Path, key_type: str, digest: str, options: tuple[str, ...]) -> None:
    envelope = openssl_signed(tmp_path, "-md", digest, *options, key_type=key_type)
    assert CmsReader().recognizes(BytesView(envelope))
    (found,) = CmsReader().read(BytesView(envelope), BytesView(CONTENT)).signatures
    assert found.content_digest == Digest.of(CONTENT, digest)
    assert found.signer_certificate == default_pki().code_signing(key_type).certificate
    with pytest.raises(VerificationError):
        CmsReader().read(BytesView(envelope), BytesView(CONTENT[:-1]))


@pytest.mark.parametrize("options", [("-md", "sha1"), ("-noattr",), ("-nocerts",), ("-nodetach",)])
def test_weak_or_incomplete_signature_of_openssl_is_refused(tmp_path: Path, options: tuple[str, ...]) -> None:
    envelope = openssl_signed(tmp_path, *options)
    with pytest.raises((FormatError, VerificationError)):
        CmsReader().read(BytesView(envelope), BytesView(CONTENT))


def test_pss_signature_of_openssl_is_refused_and_not_misread(tmp_path: Path) -> None:
    envelope = openssl_signed(tmp_path, "-md", "sha256", "-keyopt", "rsa_padding_mode:pss")
    with pytest.raises((FormatError, VerificationError)):
        CmsReader().read(BytesView(envelope), BytesView(CONTENT))
