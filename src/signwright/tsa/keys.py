# SPDX-License-Identifier: Apache-2.0
"""Keys and certificates of the built-in authority: made for a trial or a closed network, read at start."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from signwright.errors import ConfigurationError, VerificationError
from signwright.timestamps.algorithms import require_strong_key
from signwright.timestamps.chain import anchor_of, load_certificate, require_timestamping_use, require_valid_at
from signwright.timestamps.issue import Issuer, SigningKey
from signwright.tsa.settings import Settings

MARK = "LOCAL TRIAL, not an outside authority"
ROOT_YEARS, LEAF_DAYS = 12, 450  # the key of a timestamping certificate is used for at most 15 months
_MAX_FILE = 1 << 20


@dataclass(frozen=True, slots=True)
class Authority:
    """``root``: DER, to be pinned; ``chain``: DER, the timestamping certificate alone; ``key_pem``: PKCS#8."""

    root: bytes
    chain: tuple[bytes, ...]
    key_pem: bytes = field(repr=False)

    @property
    def chain_pem(self) -> bytes:
        return b"".join(x509.load_der_x509_certificate(c).public_bytes(Encoding.PEM) for c in self.chain)


def make_authority(common_name: str, *, now: datetime, passphrase: bytes | None = None) -> Authority:
    """A new root and one P-256 timestamping certificate under it, both marked LOCAL TRIAL in their subjects.

    The root's key is forgotten: nothing else can ever be issued under the pinned root. ``passphrase`` encrypts
    ``key_pem``; without it the caller has to write the file with mode 0600.
    """
    root_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    root_name, name = _name(f"{common_name} root"), _name(common_name)
    start = now - timedelta(minutes=5)  # clocks of the machines that will verify
    root = (
        _builder(root_name, root_name, key=root_key, issuer_key=root_key, start=start, days=ROOT_YEARS * 365)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage("key_cert_sign", "crl_sign"), critical=True)
        .sign(root_key, hashes.SHA256())
    )
    certificate = (
        _builder(name, root_name, key=key, issuer_key=root_key, start=start, days=LEAF_DAYS)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage("digital_signature"), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING]), critical=True)
        .sign(root_key, hashes.SHA256())
    )
    encryption: KeySerializationEncryption = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    return Authority(
        root=root.public_bytes(Encoding.DER),
        chain=(certificate.public_bytes(Encoding.DER),),
        key_pem=key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption),
    )


def create_authority(settings: Settings, common_name: str, *, now: datetime) -> bytes:
    """`make_authority` into the files that ``settings`` name, which must not be there; returns the root in DER."""
    made = make_authority(common_name, now=now)
    try:
        for path, content in ((settings.key_file, made.key_pem), (settings.chain_file, made.chain_pem)):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
    except OSError as problem:
        raise ConfigurationError(f"{path}: {problem.strerror}", code="bad-key-file") from problem
    return made.root


def load_issuer(settings: Settings, now: datetime) -> Issuer:
    """Key and chain as the settings name them, checked as a verifier would; `ConfigurationError` says what is wrong.

    Refused: a certificate without critical, sole timeStamping use, or not valid now; a chain that is not one; a
    key that is not the certificate's; a plain key file that others may read.
    """
    key = _load_key(settings)
    try:
        chain = tuple(c.public_bytes(Encoding.DER) for c in x509.load_pem_x509_certificates(_read(settings.chain_file)))
        leaf = load_certificate(chain[0], "the timestamping certificate")
        require_timestamping_use(leaf)
        require_valid_at(leaf, now)
        require_strong_key(leaf.public_key(), "the timestamping certificate")
        if len(chain) > 1:
            anchor_of(leaf, others=chain[1:-1], anchors=chain[-1:], moment=now)
    except VerificationError as problem:
        raise ConfigurationError(f"{settings.chain_file}: {problem.message}", code="bad-certificate") from problem
    except ValueError as problem:
        raise ConfigurationError(f"{settings.chain_file}: not PEM certificates", code="bad-certificate") from problem
    if leaf.public_key() != key.public_key():
        raise ConfigurationError(f"{settings.key_file}: not the key of {settings.chain_file}", code="key-mismatch")
    return Issuer(
        key=key,
        chain=chain,
        policy_oid=settings.policy_oid,
        also_accepted=frozenset(settings.also_accepted_policies),
        accuracy=timedelta(seconds=settings.accuracy_seconds),
    )


def _load_key(settings: Settings) -> SigningKey:
    passphrase = None
    if settings.passphrase_file is not None:
        passphrase = _read(settings.passphrase_file).rstrip(b"\r\n")
        _require_private(settings.passphrase_file)
    else:
        _require_private(settings.key_file)
    try:
        key = load_pem_private_key(_read(settings.key_file), passphrase)
    except (ValueError, TypeError) as problem:
        raise ConfigurationError(
            f"{settings.key_file}: no PKCS#8 key, or the passphrase does not open it (or is not wanted)", code="bad-key"
        ) from problem
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise ConfigurationError(f"{settings.key_file}: wanted an RSA or EC key", code="bad-key")
    return key


def _read(file: Path) -> bytes:
    try:
        with file.open("rb") as content:
            return content.read(_MAX_FILE)
    except OSError as problem:
        raise ConfigurationError(f"{file}: {problem.strerror}", code="missing-file") from problem


def _require_private(file: Path) -> None:
    try:
        mode = stat.S_IMODE(file.stat().st_mode)
    except OSError as problem:
        raise ConfigurationError(f"{file}: {problem.strerror}", code="missing-file") from problem
    if mode & 0o077:
        raise ConfigurationError(f"{file}: mode {mode:04o}; wanted 0600", code="key-file-open")


def _name(common_name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Signwright"),
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, MARK),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    *,
    key: ec.EllipticCurvePrivateKey,
    issuer_key: ec.EllipticCurvePrivateKey,
    start: datetime,
    days: int,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )


def _key_usage(*allowed: str) -> x509.KeyUsage:
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
