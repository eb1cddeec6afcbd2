# SPDX-License-Identifier: Apache-2.0
"""Throwaway certificate authorities, code-signing and timestamping certificates, with fixed validity.

Keys and certificates are made once per process (`default_pki`), because RSA keys are slow to make.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from signwright.envelopes.base import SignerContext, ToBeSigned

NOT_BEFORE = datetime(2020, 1, 1, tzinfo=UTC)
NOT_AFTER = datetime(2045, 1, 1, tzinfo=UTC)
#: A moment inside every validity here, for tests that need "now".
NOW = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
HASHES = {"sha256": hashes.SHA256(), "sha384": hashes.SHA384(), "sha512": hashes.SHA512()}


@cache
def private_key(key_type: str, label: str = "") -> PrivateKey:
    """``rsa2048``, ``rsa3072``, ``p256``, ``p384``, ``p521`` or ``ed25519``; one key per type and label."""
    if key_type.startswith("rsa"):
        return rsa.generate_private_key(public_exponent=65537, key_size=int(key_type[3:]))
    if key_type == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    return ec.generate_private_key({"p256": ec.SECP256R1(), "p384": ec.SECP384R1(), "p521": ec.SECP521R1()}[key_type])


@dataclass(frozen=True)
class Identity:
    """A private key and its chain: DER certificates, leaf first; the self-signed root is not part of it."""

    key: PrivateKey
    chain: tuple[bytes, ...]

    @property
    def certificate(self) -> bytes:
        return self.chain[0]

    @property
    def public_key(self) -> bytes:
        """DER SubjectPublicKeyInfo."""
        return public_bytes(self.key)

    @property
    def private_pem(self) -> bytes:
        return self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    def context(self, signing_time: datetime = NOW) -> SignerContext:
        return SignerContext(chain=self.chain, public_key=self.public_key, signing_time=signing_time)

    def sign(self, signed: ToBeSigned) -> bytes:
        """The signature value as a key store gives it."""
        return sign(self.key, signed)


def public_bytes(key: PrivateKey) -> bytes:
    return key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def sign(key: PrivateKey, signed: ToBeSigned) -> bytes:
    algorithm = HASHES[signed.hash_algorithm]
    hashed = Prehashed(algorithm) if signed.prehashed else algorithm
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(signed.content, padding.PKCS1v15(), hashed)
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return key.sign(signed.content, ec.ECDSA(hashed))
    return key.sign(signed.content)


def to_pem(certificate: bytes) -> bytes:
    return x509.load_der_x509_certificate(certificate).public_bytes(serialization.Encoding.PEM)


@dataclass
class Pki:
    """One root and one intermediate authority (both P-256) and the leaves they issue.

    ``label`` keeps two authorities apart. Every method answers the same request with the same certificate.
    """

    label: str = "test"
    _leaves: dict[tuple[str, ...], Identity] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.root_key = private_key("p256", f"{self.label} root")
        self.intermediate_key = private_key("p256", f"{self.label} intermediate")
        self.root = self._authority("root", self.root_key, "root", self.root_key)
        self.intermediate = self._authority("intermediate", self.intermediate_key, "root", self.root_key)

    @property
    def root_pem(self) -> bytes:
        return to_pem(self.root)

    def name(self, common_name: str) -> x509.Name:
        return x509.Name(
            [
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, f"Throwaway {self.label}"),
                x509.NameAttribute(NameOID.COMMON_NAME, common_name),
            ]
        )

    def code_signing(self, key_type: str = "rsa3072", subject: str = "Example Software") -> Identity:
        """A leaf with the codeSigning EKU."""
        return self.leaf(key_type, subject, (ExtendedKeyUsageOID.CODE_SIGNING,))

    def timestamping(self, key_type: str = "p256", subject: str = "Example TSA") -> Identity:
        """A leaf whose EKU is timeStamping, alone and critical (RFC 3161 2.3)."""
        return self.leaf(key_type, subject, (ExtendedKeyUsageOID.TIME_STAMPING,), eku_critical=True)

    def leaf(
        self,
        key_type: str,
        subject: str,
        usages: tuple[x509.ObjectIdentifier, ...],
        *,
        eku_critical: bool = False,
        not_before: datetime = NOT_BEFORE,
        not_after: datetime = NOT_AFTER,
        key_usage: str = "digital_signature",
    ) -> Identity:
        """Any leaf below the intermediate authority. ``usages`` may be empty (no EKU extension)."""
        parts = (key_type, subject, str(usages), str(eku_critical), str(not_before), str(not_after), key_usage)
        if parts not in self._leaves:
            key = private_key(key_type, f"{self.label} {subject}")
            builder = self._builder(subject, key, "intermediate", (not_before, not_after))
            builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            builder = builder.add_extension(_key_usage(key_usage), critical=True)
            if usages:
                builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=eku_critical)
            certificate = builder.sign(self.intermediate_key, hashes.SHA256())
            self._leaves[parts] = Identity(
                key, (certificate.public_bytes(serialization.Encoding.DER), self.intermediate)
            )
        return self._leaves[parts]

    def certify(self, public_key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey, subject: str) -> bytes:
        """DER leaf with the codeSigning EKU for a key whose private half is elsewhere, below the intermediate."""
        builder = x509.CertificateBuilder(
            issuer_name=self.name("intermediate"),
            subject_name=self.name(subject),
            public_key=public_key,
            serial_number=x509.random_serial_number(),
            not_valid_before=NOT_BEFORE,
            not_valid_after=NOT_AFTER,
        )
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(_key_usage("digital_signature"), critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), critical=False)
        return builder.sign(self.intermediate_key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)

    def crl(
        self, revoked: dict[bytes, datetime], *, this_update: datetime = NOW, next_update: datetime = NOT_AFTER
    ) -> bytes:
        """DER CRL of the intermediate authority. ``revoked``: DER certificate → revocation date."""
        builder = x509.CertificateRevocationListBuilder(
            issuer_name=self.name("intermediate"), last_update=this_update, next_update=next_update
        )
        for certificate, date in revoked.items():
            serial = x509.load_der_x509_certificate(certificate).serial_number
            entry = x509.RevokedCertificateBuilder(serial_number=serial, revocation_date=date).build()
            builder = builder.add_revoked_certificate(entry)
        return builder.sign(self.intermediate_key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)

    def _authority(self, subject: str, key: PrivateKey, issuer: str, issuer_key: PrivateKey) -> bytes:
        builder = self._builder(subject, key, issuer, (NOT_BEFORE, NOT_AFTER))
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        builder = builder.add_extension(_key_usage("key_cert_sign", "crl_sign"), critical=True)
        return builder.sign(issuer_key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)

    def _builder(
        self, subject: str, key: PrivateKey, issuer: str, validity: tuple[datetime, datetime]
    ) -> x509.CertificateBuilder:
        issuer_key = self.intermediate_key if issuer == "intermediate" else self.root_key
        serial = int.from_bytes(hashlib.sha256(f"{self.label} {subject} {validity}".encode()).digest()[:15], "big")
        return (
            x509.CertificateBuilder(
                issuer_name=self.name(issuer),
                subject_name=self.name(subject),
                public_key=key.public_key(),
                serial_number=serial,
                not_valid_before=validity[0],
                not_valid_after=validity[1],
            )
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
        )


def _key_usage(*allowed: str) -> x509.KeyUsage:
    names = (
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
        "encipher_only",
        "decipher_only",
    )
    return x509.KeyUsage(**{name: name in allowed for name in names})


@cache
def default_pki() -> Pki:
    """The one authority that tests share within a process."""
    return Pki()
