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
from functools import cache
from typing import Any

from asn1crypto import cms, tsp
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from signwright.errors import LimitError, VerificationError
from signwright.model.digest import ALGORITHMS, Digest
from signwright.timestamps import der
from signwright.timestamps.algorithms import DIGEST_OIDS, DIGESTS, ECDSA_OIDS, RSA_ENCRYPTION, WEAK, hash_of
from signwright.timestamps.chain import load_certificate
from signwright.timestamps.structure import (
    CONTENT_TYPE,
    MAX_SERIAL_BITS,
    MESSAGE_DIGEST,
    SIGNED_DATA,
    SIGNING_CERTIFICATE_V2,
    TST_INFO,
    plain_algorithm,
)

#: Bytes. The largest sensible query (SHA-512, policy, nonce) has about 150.
MAX_QUERY = 8 << 10
MAX_NONCE_BITS = 160

_OCTETS, _GENERALIZED_TIME, _SEQUENCE, _SET = 0x04, 0x18, 0x30, 0x31

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

    ``subject`` and ``issuer_name`` (DER) and ``certificate_serial`` are read from the chain. ``policy_oid`` stands in
    every token; ``also_accepted`` are others that a query may ask for. Raises `VerificationError` for a chain that does
    not parse.
    """

    key: SigningKey = field(repr=False)
    chain: tuple[bytes, ...]
    policy_oid: str
    also_accepted: frozenset[str] = frozenset()
    accuracy: timedelta = timedelta(seconds=1)
    digest_algorithm: str = "sha256"
    subject: bytes = field(init=False, repr=False)
    issuer_name: bytes = field(init=False, repr=False)
    certificate_serial: int = field(init=False, repr=False)

    def __post_init__(self) -> None:
        certificate = load_certificate(self.chain[0], "the timestamping certificate")
        object.__setattr__(self, "subject", certificate.subject.public_bytes())
        object.__setattr__(self, "issuer_name", certificate.issuer.public_bytes())
        object.__setattr__(self, "certificate_serial", certificate.serial_number)


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
    except der.LIBRARY_ERRORS as problem:
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
    imprint = _algorithm(DIGEST_OIDS[query.imprint.algorithm]) + der.wrap(_OCTETS, query.imprint.value)
    parts = [
        der.integer(1),
        _oid(query.policy_oid or issuer.policy_oid),
        der.wrap(_SEQUENCE, imprint),
        der.integer(serial),
        der.wrap(_GENERALIZED_TIME, now.astimezone(UTC).strftime("%Y%m%d%H%M%SZ").encode()),
        der.wrap(_SEQUENCE, der.integer(max(1, int(issuer.accuracy.total_seconds())))),
        der.integer(query.nonce) if query.nonce is not None else b"",
        # tsa [0] GeneralName, directoryName [4]: both explicit, because a CHOICE is inside
        der.wrap(0xA0, der.wrap(0xA4, issuer.subject)),
    ]
    return der.wrap(_SEQUENCE, b"".join(parts))


def sign_content(content: bytes, *, issuer: Issuer, certificates: tuple[bytes, ...]) -> bytes:
    """CMS SignedData over the DER of a ``TSTInfo`` (RFC 5652 section 5), certificates in DER order."""
    digest_algorithm = _algorithm(DIGEST_OIDS[issuer.digest_algorithm])
    attributes = _signed_attributes(content, issuer)
    signer_info = (
        der.integer(1),
        der.wrap(_SEQUENCE, issuer.issuer_name + der.integer(issuer.certificate_serial)),
        digest_algorithm,
        der.wrap(0xA0, attributes),
        _signature_algorithm(issuer),
        der.wrap(_OCTETS, _sign(issuer, der.wrap(_SET, attributes))),
    )
    signed_data = (
        der.integer(3),
        der.wrap(_SET, digest_algorithm),
        der.wrap(_SEQUENCE, _oid(TST_INFO) + der.wrap(0xA0, der.wrap(_OCTETS, content))),
        der.wrap(0xA0, b"".join(sorted(certificates))) if certificates else b"",
        der.wrap(_SET, der.wrap(_SEQUENCE, b"".join(signer_info))),
    )
    return der.wrap(_SEQUENCE, _oid(SIGNED_DATA) + der.wrap(0xA0, der.wrap(_SEQUENCE, b"".join(signed_data))))


def _signed_attributes(content: bytes, issuer: Issuer) -> bytes:
    """Contents of the SET that is signed: content type, message digest, signing certificate (RFC 5816 2.2.1)."""
    # ESSCertIDv2: SHA-256 is the default of hashAlgorithm and therefore left out (RFC 5035 section 4).
    identifier = der.wrap(_SEQUENCE, der.wrap(_OCTETS, hashlib.sha256(issuer.chain[0]).digest()))
    values = {
        CONTENT_TYPE: _oid(TST_INFO),
        MESSAGE_DIGEST: der.wrap(_OCTETS, hashlib.new(issuer.digest_algorithm, content).digest()),
        SIGNING_CERTIFICATE_V2: der.wrap(_SEQUENCE, der.wrap(_SEQUENCE, identifier)),
    }
    return b"".join(sorted(der.wrap(_SEQUENCE, _oid(t) + der.wrap(_SET, value)) for t, value in values.items()))


@cache
def _oid(dotted: str) -> bytes:
    return bytes(cms.ObjectIdentifier(dotted).dump())


def _algorithm(oid: str) -> bytes:
    """Digest algorithms without parameters (RFC 5754 section 2)."""
    return der.wrap(_SEQUENCE, _oid(oid))


def _signature_algorithm(issuer: Issuer) -> bytes:
    if isinstance(issuer.key, rsa.RSAPrivateKey):
        return der.wrap(_SEQUENCE, _oid(RSA_ENCRYPTION) + b"\x05\x00")  # RFC 3370 3.2: the parameters are NULL
    return der.wrap(_SEQUENCE, _oid(ECDSA_OIDS[issuer.digest_algorithm]))


def _sign(issuer: Issuer, to_be_signed: bytes) -> bytes:
    algorithm = hash_of(issuer.digest_algorithm)
    if isinstance(issuer.key, rsa.RSAPrivateKey):
        return issuer.key.sign(to_be_signed, padding.PKCS1v15(), algorithm)
    if isinstance(issuer.key, ec.EllipticCurvePrivateKey):
        return issuer.key.sign(to_be_signed, ec.ECDSA(algorithm))
    raise VerificationError(f"a {type(issuer.key).__name__} cannot stamp", code="bad-key")
