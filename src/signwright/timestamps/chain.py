# SPDX-License-Identifier: Apache-2.0
"""From a certificate to a pinned anchor (RFC 5280 section 6, as far as timestamping and code signing need).

Checks names, signatures, validity at one moment, basic constraints, path length, key usage, extended key usage, key and
digest strength. Refuses critical extensions it does not know (name constraints among them); does not check revocation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, ObjectIdentifier

from signwright.errors import ConfigurationError, VerificationError
from signwright.timestamps.algorithms import require_strong_key
from signwright.timestamps.codes import Check

#: Certificates from the leaf to the root, both counted.
MAX_PATH = 6
E = TypeVar("E", bound=x509.ExtensionType)
_PARTS = ("subject", "issuer", "signature_hash_algorithm", "not_valid_before_utc", "not_valid_after_utc")
_KNOWN_CRITICAL = {
    ExtensionOID.BASIC_CONSTRAINTS,
    ExtensionOID.KEY_USAGE,
    ExtensionOID.EXTENDED_KEY_USAGE,
    ExtensionOID.CERTIFICATE_POLICIES,
    ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
}


def load_certificate(der_bytes: bytes, what: str) -> x509.Certificate:
    """A certificate of which every part that is read here parses; `VerificationError` (`Check.CHAIN`)."""
    try:
        return _parse(der_bytes)
    except Exception as problem:  # the library lets several kinds through, UnsupportedAlgorithm among them
        raise VerificationError(f"{what} does not parse", code=Check.CHAIN) from problem


@lru_cache(maxsize=64)  # the same few authorities stamp everything
def _parse(der_bytes: bytes) -> x509.Certificate:
    certificate = x509.load_der_x509_certificate(der_bytes)
    if certificate.serial_number <= 0:
        raise ValueError("serial number not positive")
    for part in _PARTS:  # the library parses lazily: ask now, so that nothing fails later
        getattr(certificate, part)
    list(certificate.extensions)
    certificate.public_key()
    return certificate


def require_timestamping_use(certificate: x509.Certificate) -> None:
    """RFC 3161 2.3: extended key usage timeStamping, critical and alone; the key usage, if any, must permit signing."""
    name = certificate.subject.rfc4514_string()
    try:
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    except x509.ExtensionNotFound as problem:
        raise VerificationError(
            f"{name}: no extended key usage; wanted timeStamping", code=Check.KEY_USAGE
        ) from problem
    if not usage.critical:
        raise VerificationError(f"{name}: the extended key usage is not critical", code=Check.KEY_USAGE)
    if list(usage.value) != [ExtendedKeyUsageOID.TIME_STAMPING]:
        found = ", ".join(oid.dotted_string for oid in usage.value)
        raise VerificationError(f"{name}: extended key usage {found}; wanted timeStamping alone", code=Check.KEY_USAGE)
    bits = _extension(certificate, x509.KeyUsage)
    if bits is not None and not (bits.digital_signature or bits.content_commitment):
        raise VerificationError(f"{name}: the key usage does not permit signing", code=Check.KEY_USAGE)
    constraints = _extension(certificate, x509.BasicConstraints)
    if constraints is not None and constraints.ca:
        raise VerificationError(f"{name}: a certification authority's own key signed the token", code=Check.KEY_USAGE)


def require_valid_at(certificate: x509.Certificate, moment: datetime) -> None:
    """Raise `VerificationError` (`Check.VALIDITY`) unless ``moment`` lies inside the validity of the certificate."""
    if not certificate.not_valid_before_utc <= moment <= certificate.not_valid_after_utc:
        name = certificate.subject.rfc4514_string()
        first, last = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        raise VerificationError(f"{name}: valid {first} to {last}, not at {moment}", code=Check.VALIDITY)


def anchor_of(leaf: x509.Certificate, *, others: Sequence[bytes], anchors: Sequence[bytes], moment: datetime) -> bytes:
    """The pinned timestamp anchor (DER) that ``leaf`` leads to; see `path_to_anchor`."""
    return path_to_anchor(leaf, others=others, anchors=anchors, moment=moment)[-1].public_bytes(Encoding.DER)


def path_to_anchor(
    leaf: x509.Certificate,
    *,
    others: Sequence[bytes],
    anchors: Sequence[bytes],
    moment: datetime,
    purpose: ObjectIdentifier = ExtendedKeyUsageOID.TIME_STAMPING,
) -> list[x509.Certificate]:
    """The path from ``leaf`` to a pinned anchor, by way of ``others`` (DER, untrusted).

    ``purpose``: the extended key usage that authorities on the way must not exclude. ``leaf`` itself may be pinned.
    Raises `VerificationError` (`Check.CHAIN`) with the reason of the last path, and
    `ConfigurationError` when nothing is pinned.
    """
    if not anchors:
        raise ConfigurationError("nothing is trusted: the list of anchors is empty", code="no-anchors")
    pinned = [load_certificate(anchor, "a pinned root") for anchor in anchors]
    between = [load_certificate(other, "a certificate beside the signer's") for other in others]
    if leaf in pinned:
        return [leaf]
    climb = _Climb(between, pinned, moment, purpose, [])
    found = climb.from_([leaf])
    if found is None:
        why = climb.reasons[-1] if climb.reasons else f"no issuer named {leaf.issuer.rfc4514_string()!r} at hand"
        raise VerificationError(f"no path from the signer to a pinned root: {why}", code=Check.CHAIN)
    return found


@dataclass(frozen=True, slots=True)
class _Climb:
    """Depth first over at most `MAX_PATH` certificates. A certificate stands in a path once, so this ends."""

    between: list[x509.Certificate]
    pinned: list[x509.Certificate]
    moment: datetime
    purpose: ObjectIdentifier
    reasons: list[str]

    def from_(self, path: list[x509.Certificate]) -> list[x509.Certificate] | None:
        child = path[-1]
        for candidate in [*self.pinned, *self.between]:
            skipped = candidate.subject != child.issuer or candidate in path
            if skipped or len(path) >= MAX_PATH or len(self.reasons) > 50:
                continue
            problem = self._issuer_problem(child, candidate, below=len(path) - 1)
            if problem is not None:
                self.reasons.append(f"{candidate.subject.rfc4514_string()}: {problem}")
                continue
            if candidate in self.pinned:
                return [*path, candidate]
            before = len(self.reasons)
            found = self.from_([*path, candidate])
            if found is not None:
                return found
            if len(self.reasons) == before:
                self.reasons.append(f"no issuer named {candidate.issuer.rfc4514_string()!r} at hand")
        return None

    def _issuer_problem(self, child: x509.Certificate, issuer: x509.Certificate, *, below: int) -> str | None:
        """Why ``issuer`` may not have issued ``child``; ``below``: authorities between it and the leaf."""
        problem = _authority_problem(child, issuer, below=below, purpose=self.purpose)
        if problem is not None:
            return problem
        if not issuer.not_valid_before_utc <= self.moment <= issuer.not_valid_after_utc:
            return f"not valid at {self.moment}"
        return _signature_problem(child, issuer)


def _authority_problem(
    child: x509.Certificate, issuer: x509.Certificate, *, below: int, purpose: ObjectIdentifier
) -> str | None:
    constraints = _extension(issuer, x509.BasicConstraints)
    bits = _extension(issuer, x509.KeyUsage)
    usage = _extension(issuer, x509.ExtendedKeyUsage)
    unknown = [
        e.oid.dotted_string
        for c in (child, issuer)
        for e in c.extensions
        if e.critical and e.oid not in _KNOWN_CRITICAL
    ]
    if constraints is None or not constraints.ca:
        return "not a certification authority"
    if constraints.path_length is not None and constraints.path_length < below:
        return "path length exceeded"
    if bits is not None and not bits.key_cert_sign:
        return "key usage does not permit signing certificates"
    if usage is not None and not {purpose, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE} & set(usage):
        return "extended key usage does not permit this purpose"
    if unknown:
        return f"critical extension {unknown[0]} is not understood"
    return None


def _signature_problem(child: x509.Certificate, issuer: x509.Certificate) -> str | None:
    if not isinstance(child.signature_hash_algorithm, hashes.SHA256 | hashes.SHA384 | hashes.SHA512):
        return "the certificate it issued is not signed with SHA-256 or better"
    try:
        require_strong_key(issuer.public_key(), "issuer")
        child.verify_directly_issued_by(issuer)
    except VerificationError as problem:
        return problem.message
    except (InvalidSignature, ValueError, TypeError):
        return "its key did not sign the certificate"
    return None


def _extension(certificate: x509.Certificate, kind: type[E]) -> E | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None
