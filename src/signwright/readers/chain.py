# SPDX-License-Identifier: Apache-2.0
"""From a signer's certificate to a trusted root, for code signing, at the moment that counts (RFC 5280 section 6).

That moment is the timestamp's when there is a good one: a certificate that expired or was revoked later does not
matter.
The path builder is shared with timestamps: ``cryptography``'s own verifier is made for TLS names and knows neither a
moment in the past with CRLs nor roots that are pinned one by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtendedKeyUsageOID

from signwright.errors import FormatError, VerificationError
from signwright.timestamps.chain import load_certificate, path_to_anchor

MAX_CERTIFICATES = 32


@dataclass(frozen=True, slots=True)
class CodeSigner:
    """``subject``: RFC 4514; ``path``: leaf to anchor; ``revocation_checked``: a CRL of the leaf's issuer was given."""

    subject: str
    path: tuple[x509.Certificate, ...]
    revocation_checked: bool


def check_code_signing(
    certificate: bytes, others: Sequence[bytes], *, anchors: Sequence[bytes], at: datetime, crls: Sequence[bytes] = ()
) -> CodeSigner:
    """Raises `VerificationError` unless ``certificate`` (DER) may sign code at ``at`` under one of ``anchors`` (DER).

    ``others``: DER certificates from the signature, untrusted; ``crls``: DER, each must hold under an authority of
    the path.
    Codes: ``no-trusted-roots``, ``certificate-chain``, ``certificate-validity``, ``certificate-usage``,
    ``certificate-revoked``, ``bad-crl`` (does not parse, or not a whole list that reaches ``at``).
    """
    if not anchors:
        raise VerificationError("the trust file names no code-signing root", code="no-trusted-roots")
    leaf = _load(certificate)
    _require_code_signing(leaf)
    if not leaf.not_valid_before_utc <= at <= leaf.not_valid_after_utc:
        valid = f"valid {leaf.not_valid_before_utc:%Y-%m-%d} to {leaf.not_valid_after_utc:%Y-%m-%d}"
        found = f"{leaf.subject.rfc4514_string()}: {valid}, not at {at:%Y-%m-%dT%H:%M:%SZ}"
        raise VerificationError(found, code="certificate-validity")
    between = [other for other in others[:MAX_CERTIFICATES] if other != certificate]
    try:
        path = path_to_anchor(
            leaf, others=between, anchors=anchors, moment=at, purpose=ExtendedKeyUsageOID.CODE_SIGNING
        )
    except VerificationError as problem:
        raise VerificationError(problem.message, code="certificate-chain") from problem
    checked = _check_revocation(path, crls, at=at)
    return CodeSigner(leaf.subject.rfc4514_string(), tuple(path), checked)


def _load(certificate: bytes) -> x509.Certificate:
    try:
        return load_certificate(certificate, "the signer certificate")
    except VerificationError as problem:
        raise VerificationError(problem.message, code="certificate-chain") from problem


def _require_code_signing(leaf: x509.Certificate) -> None:
    """Extended key usage codeSigning must be named; key usage, if any, must permit signatures; no authority signs
    code.
    """
    name = leaf.subject.rfc4514_string()
    try:
        usage = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE])
    if ExtendedKeyUsageOID.CODE_SIGNING not in usage:
        raise VerificationError(f"{name}: not a code-signing certificate", code="certificate-usage")
    for extension in leaf.extensions:
        bits = extension.value
        if isinstance(bits, x509.KeyUsage) and not bits.digital_signature:
            raise VerificationError(f"{name}: the key usage does not permit signing", code="certificate-usage")
        if isinstance(bits, x509.BasicConstraints) and bits.ca:
            raise VerificationError(f"{name}: an authority's own certificate", code="certificate-usage")


def _check_revocation(path: Sequence[x509.Certificate], crls: Sequence[bytes], *, at: datetime) -> bool:
    checked = False
    for content in crls:
        crl = _load_crl(content)
        issued = [(child, issuer) for child, issuer in pairwise(path) if _holds(crl, issuer)]
        if not issued:
            raise VerificationError(
                f"CRL of {crl.issuer.rfc4514_string()}: of no authority of this chain, or its signature does not hold",
                code="bad-crl",
            )
        _require_complete(crl, at=at)
        for child, _ in issued:
            _check_entry(crl, child, at=at)
            checked = checked or child is path[0]
    return checked


def _require_complete(crl: x509.CertificateRevocationList, *, at: datetime) -> None:
    """A list that ended before ``at`` says nothing about it; one with a critical extension (RFC 5280 5.2: a delta, or
    only some certificates or reasons) is not the whole list.
    """
    name = f"CRL of {crl.issuer.rfc4514_string()}"
    ends = crl.next_update_utc or crl.last_update_utc
    if ends < at:
        raise VerificationError(
            f"{name}: ends {ends:%Y-%m-%dT%H:%M:%SZ}, before {at:%Y-%m-%dT%H:%M:%SZ}", code="bad-crl"
        )
    critical = [extension.oid.dotted_string for extension in crl.extensions if extension.critical]
    critical += [e.oid.dotted_string for entry in crl for e in entry.extensions if e.critical]
    if critical:
        raise VerificationError(f"{name}: critical extension {critical[0]} is not understood", code="bad-crl")


def _load_crl(content: bytes) -> x509.CertificateRevocationList:
    try:
        crl = x509.load_der_x509_crl(content)
        for part in (crl, *crl):
            list(part.extensions)
        crl.issuer.rfc4514_string()  # the library parses most fields when they are first asked for
        return crl
    except Exception as problem:  # the library lets several kinds through, InvalidVersion among them
        raise FormatError("the CRL does not parse", code="bad-crl") from problem


def _holds(crl: x509.CertificateRevocationList, issuer: x509.Certificate) -> bool:
    """Whether ``issuer`` may sign lists (RFC 5280 6.3.3, f) and signed this one, with SHA-256 or better."""
    try:
        bits = [e.value for e in issuer.extensions if isinstance(e.value, x509.KeyUsage)]
        strong = isinstance(crl.signature_hash_algorithm, hashes.SHA256 | hashes.SHA384 | hashes.SHA512)
        if crl.issuer != issuer.subject or not strong or not all(one.crl_sign for one in bits):
            return False
        return crl.is_signature_valid(issuer.public_key())  # type: ignore[arg-type]
    except (InvalidSignature, UnsupportedAlgorithm, ValueError, TypeError):
        return False


def _check_entry(crl: x509.CertificateRevocationList, certificate: x509.Certificate, *, at: datetime) -> None:
    """Revoked before the moment that counts, or for a reason that reaches back, is revoked."""
    entry = crl.get_revoked_certificate_by_serial_number(certificate.serial_number)
    if entry is None:
        return
    when = entry.revocation_date_utc
    reason = None
    for extension in entry.extensions:
        if isinstance(extension.value, x509.CRLReason):
            reason = extension.value.reason
        if isinstance(extension.value, x509.InvalidityDate):
            when = min(when, extension.value.invalidity_date_utc)
    if when <= at:
        name, why = certificate.subject.rfc4514_string(), f" ({reason.value})" if reason else ""
        raise VerificationError(
            f"{name}: revoked {when:%Y-%m-%dT%H:%M:%SZ}{why}, before it signed at {at:%Y-%m-%dT%H:%M:%SZ}",
            code="certificate-revoked",
        )
