# SPDX-License-Identifier: Apache-2.0
"""Whether a timestamp token holds: every check of RFC 3161 2.2 and 2.3, RFC 5816 and RFC 5652 5.6, one code each.

Knows no clock and no network; does not ask for revocation. A token that passes is embedded as received.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hmac import compare_digest
from typing import Any

from asn1crypto import cms, tsp
from asn1crypto import x509 as asn1_x509
from cryptography import x509

from signwright.errors import VerificationError
from signwright.model.digest import Digest
from signwright.timestamps import chain, der
from signwright.timestamps.algorithms import digest_name, require_strong_key, verify_signature
from signwright.timestamps.codes import Check
from signwright.timestamps.structure import (
    CONTENT_TYPE,
    MESSAGE_DIGEST,
    SIGNING_CERTIFICATE,
    SIGNING_CERTIFICATE_V2,
    TST_INFO,
    SignerInfo,
    Token,
    TstInfo,
    parse_token,
    parse_tst_info,
    plain_algorithm,
)


@dataclass(frozen=True, slots=True)
class TimestampInfo:
    """What a verified token says.

    ``gen_time``: aware UTC; ``accuracy``: plus or minus, None when not stated; ``authority``: subject of the signer
    certificate (RFC 4514); ``signer_certificate`` and ``anchor``: DER; ``digest_algorithm``: of the signature.
    """

    gen_time: datetime
    accuracy: timedelta | None
    serial_number: int
    tsa_policy_oid: str
    authority: str
    signer_certificate: bytes
    anchor: bytes
    digest_algorithm: str
    imprint: Digest


def verify_token(
    timestamp_token: bytes,
    *,
    imprint: Digest,
    nonce: int | None,
    anchors: Sequence[bytes],
    not_before: datetime | None,
    not_after: datetime | None,
    required_policy_oid: str | None = None,
) -> TimestampInfo:
    """Check a DER ``TimeStampToken`` about ``imprint``.

    ``nonce``: the one sent, or None for a token read later; ``anchors``: DER certificates, pinned; the window is
    inclusive, None leaves that side open (a token read later). Raises `VerificationError` with a code of `Check`, and
    `ConfigurationError` (``no-anchors``).
    """
    token = parse_token(timestamp_token)
    signer = _one_signer(token)
    digest_algorithm = digest_name(signer.digest_algorithm, "the signer info")
    certificate = _signer_certificate(token, signer)
    _check_signature(token, signer, certificate=certificate, digest_algorithm=digest_algorithm)
    tst_info = parse_tst_info(token.content)
    leaf = chain.load_certificate(certificate, "the signer certificate")
    chain.require_timestamping_use(leaf)
    chain.require_valid_at(leaf, tst_info.gen_time)
    others = [c for c in token.certificates if c != certificate]
    anchor = chain.anchor_of(leaf, others=others, anchors=anchors, moment=tst_info.gen_time)
    found = _check_content(tst_info, imprint=imprint, nonce=nonce, required_policy_oid=required_policy_oid)
    _check_tsa_name(tst_info, certificate)
    _check_window(tst_info.gen_time, not_before, not_after)
    return TimestampInfo(
        gen_time=tst_info.gen_time,
        accuracy=tst_info.accuracy,
        serial_number=tst_info.serial_number,
        tsa_policy_oid=tst_info.policy_oid,
        authority=leaf.subject.rfc4514_string(),
        signer_certificate=certificate,
        anchor=anchor,
        digest_algorithm=digest_algorithm,
        imprint=found,
    )


def imprint_of_token(timestamp_token: bytes) -> Digest:
    """The imprint that a token claims, unverified: to say what was found, or to choose what to hash.

    Raises `VerificationError` as `verify_token` does for a token that does not parse.
    """
    tst_info = parse_tst_info(parse_token(timestamp_token).content)
    return _digest(digest_name(tst_info.imprint_algorithm, "the message imprint"), tst_info.imprint_value)


def _one_signer(token: Token) -> SignerInfo:
    if token.content_type != TST_INFO:
        raise VerificationError(f"signed content of type {token.content_type}; wanted TSTInfo", code=Check.CONTENT_TYPE)
    if token.version != 3:  # RFC 5652 5.1: 3 because the content is not id-data
        raise VerificationError(f"signed data of version {token.version}; wanted 3", code=Check.VERSION)
    if len(token.signers) != 1:
        raise VerificationError(f"{len(token.signers)} signers; wanted one (RFC 3161 2.4.2)", code=Check.SIGNERS)
    signer = token.signers[0]
    if signer.version != (1 if signer.key_identifier is None else 3):
        raise VerificationError(f"signer info of version {signer.version}", code=Check.VERSION)
    if signer.digest_algorithm not in token.digest_algorithms:
        raise VerificationError("the signer's digest algorithm is not announced", code=Check.ALGORITHM)
    return signer


def _signer_certificate(token: Token, signer: SignerInfo) -> bytes:
    found = [c for c in token.certificates if _is_named_by(signer, c)]
    if len(found) != 1:
        raise VerificationError(
            f"{len(found)} certificates in the token match the signer; wanted one", code=Check.NO_CERTIFICATE
        )
    return found[0]


def _is_named_by(signer: SignerInfo, certificate: bytes) -> bool:
    parsed = chain.load_certificate(certificate, "a certificate in the token")
    if signer.key_identifier is None:
        return parsed.issuer.public_bytes() == signer.issuer and parsed.serial_number == signer.serial_number
    try:
        identifier = parsed.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    except x509.ExtensionNotFound:
        return False
    return identifier == signer.key_identifier


def _check_signature(token: Token, signer: SignerInfo, *, certificate: bytes, digest_algorithm: str) -> None:
    """RFC 5652 5.4 and 5.6, then the binding to the certificate (RFC 5816 2.2.1)."""
    attributes = signer.attributes
    if attributes.get(CONTENT_TYPE) != bytes(cms.ObjectIdentifier(TST_INFO).dump()):
        raise VerificationError("the content type is not among the signed attributes", code=Check.SIGNED_ATTRIBUTES)
    if MESSAGE_DIGEST not in attributes:
        raise VerificationError("the signed attributes have no message digest", code=Check.SIGNED_ATTRIBUTES)
    content_digest = hashlib.new(digest_algorithm, token.content).digest()
    wanted = bytes(cms.OctetString(content_digest).dump())
    if not compare_digest(attributes[MESSAGE_DIGEST], wanted):
        raise VerificationError("the message digest is not that of the content", code=Check.MESSAGE_DIGEST)
    _check_signing_certificate(attributes, certificate)
    key = chain.load_certificate(certificate, "the signer certificate").public_key()
    require_strong_key(key, "the signer certificate")
    salt_length = None
    if signer.pss is not None:
        hash_oid, mask_oid, salt_length = signer.pss
        if {hash_oid, mask_oid} != {signer.digest_algorithm} or not 0 <= salt_length <= 64:
            raise VerificationError("RSASSA-PSS with other digests than the signer's", code=Check.ALGORITHM)
    verify_signature(
        key,
        signer.signature,
        signed=signer.signed_attributes,
        algorithm_oid=signer.signature_algorithm,
        digest=digest_algorithm,
        pss_salt_length=salt_length,
    )


def _check_signing_certificate(attributes: dict[str, bytes], certificate: bytes) -> None:
    """ESSCertIDv2 (RFC 5035) or ESSCertID (RFC 2634): the first entry is the signer's certificate. Or both."""
    checked = 0
    for oid, kind in (
        (SIGNING_CERTIFICATE_V2, tsp.SigningCertificateV2),
        (SIGNING_CERTIFICATE, tsp.SigningCertificate),
    ):
        if oid not in attributes:
            continue
        try:
            sound = _names_certificate(kind.load(attributes[oid], strict=True)["certs"][0], certificate)
        except der.LIBRARY_ERRORS as problem:
            raise VerificationError(
                "the signing certificate attribute does not parse", code=Check.STRUCTURE
            ) from problem
        if not sound:
            raise VerificationError(
                "the signing certificate attribute names another certificate", code=Check.SIGNING_CERTIFICATE
            )
        checked += 1
    if not checked:
        raise VerificationError(
            "no signing certificate attribute (ESSCertIDv2) among the signed attributes", code=Check.SIGNING_CERTIFICATE
        )


def _names_certificate(identifier: Any, certificate: bytes) -> bool:
    digest = "sha1"  # what ESSCertID means; the signature binds the rest, so it may confirm and never replace
    if isinstance(identifier, tsp.ESSCertIDv2):
        digest = digest_name(plain_algorithm(identifier["hash_algorithm"]), "the signing certificate attribute")
    if not compare_digest(hashlib.new(digest, certificate).digest(), identifier["cert_hash"].native):
        return False
    issuer_serial = identifier["issuer_serial"]
    if issuer_serial.native is None:
        return True
    parsed = asn1_x509.Certificate.load(certificate)
    names = list(issuer_serial["issuer"])
    named = len(names) == 1 and names[0].name == "directory_name" and names[0].chosen == parsed.issuer
    return bool(named) and issuer_serial["serial_number"].native == parsed.serial_number


def _check_content(tst_info: TstInfo, *, imprint: Digest, nonce: int | None, required_policy_oid: str | None) -> Digest:
    if tst_info.version != 1:
        raise VerificationError(f"TSTInfo of version {tst_info.version}; wanted 1", code=Check.VERSION)
    if tst_info.critical_extensions:
        found = tst_info.critical_extensions[0]
        raise VerificationError(f"critical extension {found} is not understood", code=Check.EXTENSION)
    stamped = _digest(digest_name(tst_info.imprint_algorithm, "the message imprint"), tst_info.imprint_value)
    if stamped != imprint:
        raise VerificationError(f"stamped {stamped}; wanted {imprint}", code=Check.IMPRINT)
    if nonce is not None and tst_info.nonce != nonce:
        raise VerificationError(f"nonce {tst_info.nonce}; wanted {nonce}", code=Check.NONCE)
    if required_policy_oid is not None and tst_info.policy_oid != required_policy_oid:
        raise VerificationError(
            f"authority's policy {tst_info.policy_oid}; wanted {required_policy_oid}", code=Check.POLICY
        )
    return stamped


def _digest(algorithm: str, value: bytes) -> Digest:
    if len(value) != hashlib.new(algorithm).digest_size:
        raise VerificationError(f"an imprint of {len(value)} bytes for {algorithm}", code=Check.IMPRINT)
    return Digest(algorithm, value)


def _check_tsa_name(tst_info: TstInfo, certificate: bytes) -> None:
    """RFC 3161 2.4.2: the name, if given, is one of the certificate's. We read the one kind in use, directory names."""
    if tst_info.tsa is None:
        return
    try:
        same = tst_info.tsa.name == "directory_name" and _same_name(tst_info.tsa.chosen, certificate)
    except der.LIBRARY_ERRORS as problem:
        raise VerificationError("the authority's name does not parse", code=Check.TSA_NAME) from problem
    if not same:
        raise VerificationError("the authority's name is not the subject of its certificate", code=Check.TSA_NAME)


def _same_name(name: Any, certificate: bytes) -> bool:
    """Equal byte for byte, or as RFC 5280 7.1 compares."""
    subject = asn1_x509.Certificate.load(certificate).subject
    return bool(name.chosen.dump() == subject.chosen.dump() or name == subject)


def _check_window(gen_time: datetime, not_before: datetime | None, not_after: datetime | None) -> None:
    if not_before is not None and gen_time < not_before:
        raise VerificationError(f"stamped at {gen_time}; wanted {not_before} or later", code=Check.TIME)
    if not_after is not None and gen_time > not_after:
        raise VerificationError(f"stamped at {gen_time}; wanted {not_after} or earlier", code=Check.TIME)
