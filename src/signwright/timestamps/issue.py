# SPDX-License-Identifier: Apache-2.0
"""The authority's side: from the bytes of a query to the bytes of a reply (RFC 3161 2.4, RFC 5816). Pure.

Reads a query strictly, refuses with the failure that RFC 3161 2.4.2 gives it, and otherwise writes a token: DER, sorted
SETs, ESSCertIDv2, certificates only when asked for. Key, chain, time and serial number are passed in.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from asn1crypto import cms, tsp
from asn1crypto import x509 as asn1_x509
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from signwright.errors import LimitError, VerificationError
from signwright.model.digest import ALGORITHMS, Digest
from signwright.timestamps import der
from signwright.timestamps.algorithms import DIGEST_OIDS, DIGESTS, ECDSA_OIDS, RSA_ENCRYPTION, WEAK, hash_of
from signwright.timestamps.structure import MAX_SERIAL_BITS, TST_INFO, plain_algorithm

#: Bytes. The largest sensible query (SHA-512, policy, nonce) has about 150.
MAX_QUERY = 8 << 10
MAX_NONCE_BITS = 160

SigningKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


class PkiFailure(StrEnum):
    """``PKIFailureInfo`` of RFC 3161 2.4.2."""

    BAD_ALG = "bad_alg"
    BAD_REQUEST = "bad_request"
    BAD_DATA_FORMAT = "bad_data_format"
    TIME_NOT_AVAILABLE = "time_not_available"
    UNACCEPTED_POLICY = "unaccepted_policy"
    UNACCEPTED_EXTENSION = "unaccepted_extensions"
    SYSTEM_FAILURE = "system_failure"


class Refusal(Exception):
    """A query that gets no token. Never leaves this package: `reply_to` turns it into a reply."""

    def __init__(self, failure: PkiFailure, text: str) -> None:
        super().__init__(text)
        self.failure = failure
        self.text = text


@dataclass(frozen=True, slots=True)
class Query:
    """A ``TimeStampReq`` that parsed. ``policy_oid``: the one asked for."""

    imprint: Digest
    nonce: int | None
    certificates_wanted: bool
    policy_oid: str | None


@dataclass(frozen=True, slots=True)
class Issuer:
    """Who stamps. ``chain``: DER, the timestamping certificate first, the root may be left out.

    ``policy_oid`` stands in every token; ``also_accepted`` are others that a query may ask for.
    """

    key: SigningKey = field(repr=False)
    chain: tuple[bytes, ...]
    policy_oid: str
    also_accepted: frozenset[str] = frozenset()
    accuracy: timedelta = timedelta(seconds=1)
    digest_algorithm: str = "sha256"


@dataclass(frozen=True, slots=True)
class Answer:
    """``reply``: DER of the ``TimeStampResp``. ``failure`` and ``text`` are None when it was granted."""

    reply: bytes
    serial_number: int | None = None
    failure: PkiFailure | None = None
    text: str | None = None


def reply_to(query: bytes, *, issuer: Issuer, now: datetime | None, next_serial: Callable[[], int]) -> Answer:
    """Answer the bytes of a query; whatever they are, the answer is a reply.

    ``now``: aware time, or None when the clock is not to be trusted; ``next_serial`` is called for a token only.
    """
    try:
        parsed = parse_query(query)
        if now is None:
            raise Refusal(PkiFailure.TIME_NOT_AVAILABLE, "the time is not available")
        if parsed.policy_oid not in {None, issuer.policy_oid, *issuer.also_accepted}:
            raise Refusal(PkiFailure.UNACCEPTED_POLICY, f"policy {parsed.policy_oid} is not served here")
    except Refusal as refusal:
        return Answer(rejection(refusal.failure, refusal.text), failure=refusal.failure, text=refusal.text)
    serial = next_serial()
    status = bytes(tsp.PKIStatusInfo({"status": "granted"}).dump())
    timestamp_token = issue_token(parsed, issuer=issuer, now=now, serial=serial)
    return Answer(der.wrap(0x30, status + timestamp_token), serial_number=serial)


def rejection(failure: PkiFailure, text: str) -> bytes:
    """The DER of a ``TimeStampResp`` without a token."""
    info = {"status": "rejection", "status_string": [text], "fail_info": {str(failure)}}
    return der.wrap(0x30, bytes(tsp.PKIStatusInfo(info).dump()))


def parse_query(query: bytes) -> Query:
    """Read a DER ``TimeStampReq`` of at most `MAX_QUERY` bytes; raises `Refusal`."""
    if len(query) > MAX_QUERY:
        raise Refusal(PkiFailure.BAD_DATA_FORMAT, f"a query of more than {MAX_QUERY} bytes")
    try:
        der.check_der(query)
        request = tsp.TimeStampReq.load(query, strict=True)
        if request["version"].native != "v1":
            raise Refusal(PkiFailure.BAD_REQUEST, "version 1 is served here")
        parsed = Query(
            imprint=_imprint(request["message_imprint"]),
            nonce=request["nonce"].native,
            certificates_wanted=bool(request["cert_req"].native),
            policy_oid=request["req_policy"].dotted if request["req_policy"].native is not None else None,
        )
        if request["extensions"].native is not None:
            raise Refusal(PkiFailure.UNACCEPTED_EXTENSION, "no extension is served here")
    except (ValueError, TypeError, KeyError, OverflowError) as problem:
        raise Refusal(PkiFailure.BAD_DATA_FORMAT, "not the DER of a timestamp query") from problem
    if parsed.nonce is not None and not 0 <= parsed.nonce < 1 << MAX_NONCE_BITS:
        raise Refusal(PkiFailure.BAD_REQUEST, f"the nonce is negative or has more than {MAX_NONCE_BITS} bits")
    return parsed


def _imprint(message_imprint: Any) -> Digest:
    oid = plain_algorithm(message_imprint["hash_algorithm"])
    if oid not in DIGESTS:
        raise Refusal(PkiFailure.BAD_ALG, f"{WEAK.get(oid, oid)} is not accepted; use SHA-256, SHA-384 or SHA-512")
    value = message_imprint["hashed_message"].native
    if len(value) != ALGORITHMS[DIGESTS[oid]]:
        raise Refusal(PkiFailure.BAD_DATA_FORMAT, "the length of the imprint does not fit its algorithm")
    return Digest(DIGESTS[oid], value)


def issue_token(query: Query, *, issuer: Issuer, now: datetime, serial: int) -> bytes:
    """The DER of a ``TimeStampToken``. ``serial`` is unique and positive, at most 160 bits; `LimitError` otherwise."""
    if not 0 < serial < 1 << MAX_SERIAL_BITS:
        raise LimitError("a timestamp's serial number is positive and has at most 160 bits", code="bad-serial")
    content = tst_info(query, issuer=issuer, now=now, serial=serial)
    return sign_content(content, issuer=issuer, certificates=issuer.chain if query.certificates_wanted else ())


def tst_info(query: Query, *, issuer: Issuer, now: datetime, serial: int) -> bytes:
    """The DER of a ``TSTInfo``. Time in whole seconds, cut off: ``accuracy`` is not to be below one."""
    fields: dict[str, object] = {
        "version": "v1",
        "policy": query.policy_oid or issuer.policy_oid,
        "message_imprint": {
            "hash_algorithm": {"algorithm": DIGEST_OIDS[query.imprint.algorithm]},
            "hashed_message": query.imprint.value,
        },
        "serial_number": serial,
        "gen_time": now.astimezone(UTC).replace(microsecond=0),
        "accuracy": {"seconds": max(1, int(issuer.accuracy.total_seconds()))},
        "tsa": {"directory_name": asn1_x509.Certificate.load(issuer.chain[0]).subject},
    }
    if query.nonce is not None:
        fields["nonce"] = query.nonce
    return bytes(tsp.TSTInfo(fields).dump())


def sign_content(content: bytes, *, issuer: Issuer, certificates: tuple[bytes, ...]) -> bytes:
    """CMS SignedData over the DER of a ``TSTInfo`` (RFC 5652 section 5), certificates in DER order."""
    certificate = asn1_x509.Certificate.load(issuer.chain[0])
    attributes = _signed_attributes(content, issuer)
    signer_info = cms.SignerInfo(
        {
            "version": "v1",
            "sid": {
                "issuer_and_serial_number": {"issuer": certificate.issuer, "serial_number": certificate.serial_number}
            },
            "digest_algorithm": {"algorithm": DIGEST_OIDS[issuer.digest_algorithm]},
            "signed_attrs": cms.CMSAttributes.load(attributes),
            "signature_algorithm": {"algorithm": _signature_algorithm(issuer)},
            "signature": _sign(issuer, attributes),
        }
    )
    fields: dict[str, object] = {
        "version": "v3",
        "digest_algorithms": [{"algorithm": DIGEST_OIDS[issuer.digest_algorithm]}],
        "encap_content_info": {"content_type": TST_INFO, "content": cms.ParsableOctetString(content)},
        "signer_infos": [signer_info],
    }
    if certificates:
        fields["certificates"] = [asn1_x509.Certificate.load(c) for c in sorted(certificates)]
    return bytes(cms.ContentInfo({"content_type": "signed_data", "content": cms.SignedData(fields)}).dump())


def _signed_attributes(content: bytes, issuer: Issuer) -> bytes:
    """The DER SET that is signed: content type, message digest, signing certificate (ESSCertIDv2, RFC 5816 2.2.1)."""
    # SHA-256 is the default of hashAlgorithm and therefore left out (RFC 5035 section 4).
    identifier = {"cert_hash": hashlib.sha256(issuer.chain[0]).digest()}
    attributes = [
        {"type": "content_type", "values": [TST_INFO]},
        {"type": "message_digest", "values": [hashlib.new(issuer.digest_algorithm, content).digest()]},
        {"type": "signing_certificate_v2", "values": [{"certs": [identifier]}]},
    ]
    return der.wrap(0x31, b"".join(sorted(bytes(cms.CMSAttribute(one).dump()) for one in attributes)))


def _signature_algorithm(issuer: Issuer) -> str:
    if isinstance(issuer.key, rsa.RSAPrivateKey):
        return RSA_ENCRYPTION
    return ECDSA_OIDS[issuer.digest_algorithm]


def _sign(issuer: Issuer, to_be_signed: bytes) -> bytes:
    algorithm = hash_of(issuer.digest_algorithm)
    if isinstance(issuer.key, rsa.RSAPrivateKey):
        return issuer.key.sign(to_be_signed, padding.PKCS1v15(), algorithm)
    if isinstance(issuer.key, ec.EllipticCurvePrivateKey):
        return issuer.key.sign(to_be_signed, ec.ECDSA(algorithm))
    raise VerificationError(f"a {type(issuer.key).__name__} cannot stamp", code="bad-key")
