# SPDX-License-Identifier: Apache-2.0
"""What the built-in authority makes, and what it refuses to run with."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from signwright.errors import ConfigurationError
from signwright.model.digest import Digest
from signwright.timestamps.issue import reply_to
from signwright.timestamps.query import timestamp_query
from signwright.timestamps.reply import token_of_reply
from signwright.timestamps.token import verify_token
from signwright.tsa.keys import load_issuer, make_authority
from signwright.tsa.settings import Settings
from tests.support.pki import NOW, Identity, Pki, default_pki, to_pem

USAGE = (ExtendedKeyUsageOID.TIME_STAMPING,)


def settings_for(
    folder: Path, *, key_pem: bytes, chain_pem: bytes, mode: int = 0o600, passphrase: bytes = b""
) -> Settings:
    (folder / "key.pem").write_bytes(key_pem)
    (folder / "key.pem").chmod(mode)
    (folder / "chain.pem").write_bytes(chain_pem)
    if passphrase:
        (folder / "passphrase").write_bytes(passphrase + b"\n")
        (folder / "passphrase").chmod(0o600)
    return Settings(
        key_file=folder / "key.pem",
        passphrase_file=folder / "passphrase" if passphrase else None,
        chain_file=folder / "chain.pem",
        state_file=folder / "state",
    )


def settings_of(folder: Path, identity: Identity) -> Settings:
    chain = b"".join(to_pem(c) for c in identity.chain)
    return settings_for(folder, key_pem=identity.private_pem, chain_pem=chain)


@pytest.mark.parametrize("passphrase", [b"", b"correct horse"])
def test_a_made_authority_stamps_under_its_root(tmp_path: Path, passphrase: bytes) -> None:
    made = make_authority("Example", now=NOW, passphrase=passphrase or None)
    assert (b"ENCRYPTED" in made.key_pem) == bool(passphrase)
    settings = settings_for(tmp_path, key_pem=made.key_pem, chain_pem=made.chain_pem, passphrase=passphrase)
    imprint = Digest.of(b"content")
    issuer = load_issuer(settings, NOW)
    reply = reply_to(timestamp_query(imprint, 1), issuer=issuer, now=NOW, next_serial=lambda: 1).reply
    info = verify_token(
        token_of_reply(reply), imprint=imprint, nonce=1, anchors=[made.root], not_before=NOW, not_after=NOW
    )
    assert info.anchor == made.root


def test_what_is_made_says_that_it_is_local() -> None:
    made = make_authority("Example", now=NOW)
    for certificate in (made.root, *made.chain):
        subject = x509.load_der_x509_certificate(certificate).subject
        unit = subject.get_attributes_for_oid(NameOID.ORGANIZATIONAL_UNIT_NAME)[0].value
        assert "LOCAL TRIAL" in str(unit)


def test_a_key_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    made = make_authority("Example", now=NOW)
    settings = settings_for(tmp_path, key_pem=made.key_pem, chain_pem=made.chain_pem, mode=0o640)
    with pytest.raises(ConfigurationError, match="mode 0640; wanted 0600"):
        load_issuer(settings, NOW)


def test_a_wrong_passphrase_is_refused(tmp_path: Path) -> None:
    made = make_authority("Example", now=NOW, passphrase=b"right")
    settings = settings_for(tmp_path, key_pem=made.key_pem, chain_pem=made.chain_pem, passphrase=b"wrong")
    with pytest.raises(ConfigurationError) as refusal:
        load_issuer(settings, NOW)
    assert refusal.value.code == "bad-key"


def test_the_key_of_another_certificate_is_refused(tmp_path: Path) -> None:
    one, other = make_authority("One", now=NOW), make_authority("Other", now=NOW)
    with pytest.raises(ConfigurationError) as refusal:
        load_issuer(settings_for(tmp_path, key_pem=one.key_pem, chain_pem=other.chain_pem), NOW)
    assert refusal.value.code == "key-mismatch"


@pytest.mark.parametrize("days", [-1, 500])
def test_a_certificate_that_is_not_valid_now_is_refused(tmp_path: Path, days: int) -> None:
    made = make_authority("Example", now=NOW)
    settings = settings_for(tmp_path, key_pem=made.key_pem, chain_pem=made.chain_pem)
    with pytest.raises(ConfigurationError, match="valid"):
        load_issuer(settings, NOW + timedelta(days=days))


@pytest.mark.parametrize(
    ("usages", "critical"), [((), False), (USAGE, False), ((*USAGE, ExtendedKeyUsageOID.CODE_SIGNING), True)]
)
def test_a_certificate_for_anything_else_is_refused(
    tmp_path: Path, usages: tuple[x509.ObjectIdentifier, ...], critical: bool
) -> None:
    identity = default_pki().leaf("p256", "Wrong use", usages, eku_critical=critical)
    with pytest.raises(ConfigurationError, match="extended key usage"):
        load_issuer(settings_of(tmp_path, identity), NOW)


def test_a_chain_that_does_not_hang_together_is_refused(tmp_path: Path) -> None:
    identity = default_pki().timestamping()
    broken = Identity(identity.key, (identity.certificate, Pki("other").intermediate))
    with pytest.raises(ConfigurationError, match="no path"):
        load_issuer(settings_of(tmp_path, broken), NOW)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    made = make_authority("Example", now=NOW)
    settings = settings_for(tmp_path, key_pem=made.key_pem, chain_pem=made.chain_pem)
    settings.chain_file.unlink()
    with pytest.raises(ConfigurationError, match=r"chain\.pem"):
        load_issuer(settings, NOW)
