# SPDX-License-Identifier: Apache-2.0
"""Software keys and certificates of a new home. The authority that issues them is forgotten: it signs nothing more."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from signwright.cli.home import Home
from signwright.cli.policy_text import PURPOSES
from signwright.identity.keyfile import encrypted_pkcs8
from signwright.policy.documents import Key, Kind

RSA_BITS = 3072
CERTIFICATE_DAYS, ROOT_DAYS = 396, 3650
#: Clocks of the machines that will verify.
SLACK = timedelta(minutes=10)

SigningKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


@dataclass(frozen=True, slots=True)
class NewKey:
    """An entry of the policy and where the key really is: ``settings``, lines of the keyholder's table."""

    name: str
    entry: Key
    settings: dict[str, str]


class TrialAuthority:
    """Issues code signing certificates once, in this process. ``mark`` stands in every subject."""

    def __init__(self, organisation: str, *, mark: str, now: datetime) -> None:
        self._organisation = organisation
        self._mark = mark
        self._now = now
        self._key = ec.generate_private_key(ec.SECP256R1())
        name = _name(organisation, mark, f"{organisation} {mark.lower()} root")
        builder = _builder(name, name, self._key.public_key(), now, days=ROOT_DAYS)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        builder = builder.add_extension(_usage("key_cert_sign", "crl_sign"), critical=True)
        self._root = builder.sign(self._key, SHA256())

    @property
    def root(self) -> bytes:
        """DER."""
        return self._root.public_bytes(Encoding.DER)

    def issue(self, public_key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey, purpose: str) -> bytes:
        """DER certificate for code signing."""
        subject = _name(self._organisation, self._mark, f"{self._organisation} {purpose}")
        builder = _builder(subject, self._root.subject, public_key, self._now, days=CERTIFICATE_DAYS)
        authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(_usage("digital_signature"), critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), critical=False)
        builder = builder.add_extension(authority, critical=False)
        return builder.sign(self._key, SHA256()).public_bytes(Encoding.DER)


def new_rsa() -> SigningKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=RSA_BITS)


def new_p256() -> SigningKey:
    return ec.generate_private_key(ec.SECP256R1())


def software_key(
    home: Home,
    name: str,
    *,
    kind: Kind,
    make: Callable[[], SigningKey],
    authority: TrialAuthority | None,
) -> NewKey:
    """A key in a file of the home, encrypted, its passphrase in a file beside it. Without ``authority``: a raw key."""
    key, passphrase = make(), secrets.token_urlsafe(32)
    folder = "signer/keyholder/keys"
    file = home.write_secret(f"{folder}/{name}.p8", encrypted_pkcs8(key, passphrase.encode()))
    secret_file = home.write_secret(f"{folder}/{name}.pass", passphrase + "\n")
    chain = (base64.b64encode(authority.issue(key.public_key(), f"{kind} signing")).decode(),) if authority else ()
    spki = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    entry = Key(
        kind=kind,
        family="cms" if authority else "raw",
        purposes=PURPOSES if authority else ("raw",),
        public_key=base64.b64encode(spki).decode(),
        chain=chain,
        protection="software",
    )
    return NewKey(name, entry, {"store": "software", "file": str(file), "secret_file": str(secret_file)})


def _name(organisation: str, mark: str, common_name: str) -> x509.Name:
    rows = [
        (NameOID.ORGANIZATION_NAME, organisation[:64]),
        (NameOID.ORGANIZATIONAL_UNIT_NAME, f"{mark}: not for distribution"[:64]),
        (NameOID.COMMON_NAME, f"{mark} {common_name}"[:64]),
    ]
    return x509.Name([x509.NameAttribute(oid, text) for oid, text in rows])


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    public_key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey,
    now: datetime,
    *,
    days: int,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder(issuer, subject, public_key, x509.random_serial_number())
        .not_valid_before(now - SLACK)
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


def _usage(*allowed: str) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature="digital_signature" in allowed,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign="key_cert_sign" in allowed,
        crl_sign="crl_sign" in allowed,
        encipher_only=False,
        decipher_only=False,
    )
