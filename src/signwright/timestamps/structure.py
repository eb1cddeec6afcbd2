# SPDX-License-Identifier: Apache-2.0
"""The shape of a timestamp token: CMS SignedData (RFC 5652 section 5) around a TSTInfo (RFC 3161 2.4.2).

Takes the bytes apart and refuses what is not DER or not of this shape. Believes nothing: signatures, names and times
are judged in `signwright.timestamps.token`. Values that are signed or hashed later are kept byte for byte.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from asn1crypto import algos, cms, tsp, x509

from signwright.errors import VerificationError
from signwright.timestamps import der
from signwright.timestamps.codes import Check

#: Bytes of a token or reply. Real ones have 3 to 10 KiB.
MAX_TOKEN = 100 << 10
MAX_CERTIFICATES = 16
MAX_SERIAL_BITS = 160

SIGNED_DATA = "1.2.840.113549.1.7.2"
TST_INFO = "1.2.840.113549.1.9.16.1.4"
CONTENT_TYPE = "1.2.840.113549.1.9.3"
MESSAGE_DIGEST = "1.2.840.113549.1.9.4"
SIGNING_CERTIFICATE = "1.2.840.113549.1.9.16.2.12"
SIGNING_CERTIFICATE_V2 = "1.2.840.113549.1.9.16.2.47"

_NULL = b"\x05\x00"
_GENERALIZED = re.compile(rb"([0-9]{14})(?:\.([0-9]{0,5}[1-9]))?Z")


@dataclass(frozen=True, slots=True)
class SignerInfo:
    """``signed_attributes``: the DER SET that is signed (RFC 5652 5.4); ``attributes``: type → its one value, DER.

    The signer is named by ``issuer`` (DER Name) and ``serial_number``, or by ``key_identifier``. ``pss`` is the hash,
    mask hash and salt length of RSASSA-PSS parameters.
    """

    version: int
    issuer: bytes | None
    serial_number: int | None
    key_identifier: bytes | None
    digest_algorithm: str
    signed_attributes: bytes
    attributes: dict[str, bytes]
    signature_algorithm: str
    pss: tuple[str, str, int] | None
    signature: bytes


@dataclass(frozen=True, slots=True)
class TstInfo:
    """RFC 3161 2.4.2. Algorithms and policy as dotted identifiers; ``tsa``: DER GeneralName as found."""

    version: int
    policy_oid: str
    imprint_algorithm: str
    imprint_value: bytes
    serial_number: int
    gen_time: datetime
    accuracy: timedelta | None
    nonce: int | None
    tsa: x509.GeneralName | None
    critical_extensions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Token:
    """An unverified token, taken apart. ``certificates`` are DER, in the order found."""

    version: int
    content_type: str
    content: bytes
    digest_algorithms: tuple[str, ...]
    certificates: tuple[bytes, ...]
    signers: tuple[SignerInfo, ...]


def parse_token(timestamp_token: bytes) -> Token:
    """Take a DER ``TimeStampToken`` apart.

    Raises `VerificationError`: `Check.SIZE`, `Check.DER`, `Check.SET_ORDER`, `Check.CONTENT_TYPE` or `Check.STRUCTURE`.
    """
    if len(timestamp_token) > MAX_TOKEN:
        raise VerificationError(f"token of {len(timestamp_token)} bytes; at most {MAX_TOKEN}", code=Check.SIZE)
    try:
        der.check_der(timestamp_token)
        content_info = cms.ContentInfo.load(timestamp_token, strict=True)
        if content_info["content_type"].dotted != SIGNED_DATA:
            found = content_info["content_type"].dotted
            raise VerificationError(f"content type {found}; wanted signed data", code=Check.CONTENT_TYPE)
        return _signed_data(content_info["content"])
    except der.DerError as problem:
        raise VerificationError(f"not DER: {problem}", code=Check.DER) from problem
    except der.LIBRARY_ERRORS as problem:
        raise VerificationError("the token is not a CMS signed data structure", code=Check.STRUCTURE) from problem


def parse_tst_info(content: bytes) -> TstInfo:
    """Take the signed content apart; `VerificationError` with `Check.DER` or `Check.STRUCTURE`."""
    try:
        der.check_der(content)
        return _tst_info(tsp.TSTInfo.load(content, strict=True))
    except der.DerError as problem:
        raise VerificationError(f"TSTInfo is not DER: {problem}", code=Check.DER) from problem
    except der.LIBRARY_ERRORS as problem:
        raise VerificationError("the content is not a TSTInfo", code=Check.STRUCTURE) from problem


def _signed_data(signed: Any) -> Token:
    content = signed["encap_content_info"]
    signer_infos = _sorted_set(signed["signer_infos"].contents, "signerInfos")
    certificates: list[bytes] = []
    if signed["certificates"].contents is not None:
        certificates = _sorted_set(signed["certificates"].contents, "certificates")
    if signed["crls"].contents is not None:
        _sorted_set(signed["crls"].contents, "crls")
    if len(certificates) > MAX_CERTIFICATES or any(c[0] != 0x30 for c in certificates):
        raise ValueError("too many certificates, or something that is none")
    algorithms = _sorted_set(signed["digest_algorithms"].contents, "digestAlgorithms")
    return Token(
        version=int(signed["version"]),
        content_type=content["content_type"].dotted,
        content=_octets(content["content"].dump()),
        digest_algorithms=tuple(plain_algorithm(algos.DigestAlgorithm.load(a, strict=True)) for a in algorithms),
        certificates=tuple(certificates),
        signers=tuple(_signer_info(cms.SignerInfo.load(one, strict=True)) for one in signer_infos),
    )


def _octets(explicit: bytes) -> bytes:
    """The octets of an OCTET STRING under an explicit tag: what the message digest is of (RFC 5652 5.4)."""
    if not explicit:
        raise ValueError("the signed content is missing")
    inner = der.contents_of(explicit)
    if inner[:1] != b"\x04":
        raise ValueError("the signed content is no OCTET STRING")
    return der.contents_of(inner)


def _signer_info(info: Any) -> SignerInfo:
    sid = info["sid"]
    by_name = sid.name == "issuer_and_serial_number"
    if info["signed_attrs"].contents is None:
        raise VerificationError("the signer info has no signed attributes", code=Check.SIGNED_ATTRIBUTES)
    signed_attributes = der.wrap(0x31, info["signed_attrs"].contents)
    if info["unsigned_attrs"].contents is not None:
        _attributes(info["unsigned_attrs"].contents, "unsignedAttrs")
    algorithm = info["signature_algorithm"]
    is_pss = algorithm["algorithm"].native == "rsassa_pss"
    return SignerInfo(
        version=int(info["version"]),
        issuer=sid.chosen["issuer"].dump() if by_name else None,
        serial_number=sid.chosen["serial_number"].native if by_name else None,
        key_identifier=None if by_name else sid.chosen.native,
        digest_algorithm=plain_algorithm(info["digest_algorithm"]),
        signed_attributes=signed_attributes,
        attributes=_attributes(info["signed_attrs"].contents, "signedAttrs"),
        signature_algorithm=algorithm["algorithm"].dotted if is_pss else plain_algorithm(algorithm),
        pss=_pss(algorithm["parameters"]) if is_pss else None,
        signature=info["signature"].native,
    )


def _attributes(contents: bytes, what: str) -> dict[str, bytes]:
    """Attribute type → DER of its value. Types that come twice or have several values are refused."""
    found: dict[str, bytes] = {}
    for attribute in _sorted_set(contents, what):
        parts = der.split(der.contents_of(attribute))
        if attribute[0] != 0x30 or [p[0] for p in parts] != [0x06, 0x31]:
            raise ValueError(f"{what}: not an attribute")
        values = _sorted_set(der.contents_of(parts[1]), f"values in {what}")
        oid = cms.ObjectIdentifier.load(parts[0]).dotted
        if oid in found or len(values) != 1:
            raise VerificationError(f"{what}: {oid} does not stand there once, with one value", code=Check.STRUCTURE)
        found[oid] = values[0]
    return found


def _sorted_set(contents: bytes, what: str) -> list[bytes]:
    elements = der.split(contents)
    if not der.is_sorted(elements):
        raise VerificationError(
            f"the SET {what} is not in DER order (X.690 11.6), which strict verifiers refuse",
            code=Check.SET_ORDER,
            hint="the authority has to sort the certificates it sends; OpenSSL 3 does not when it adds a chain",
        )
    return elements


def plain_algorithm(identifier: Any) -> str:
    """The dotted identifier of an algorithm whose parameters are absent or NULL; `ValueError` for others."""
    parts = der.split(der.contents_of(identifier.dump()))
    if len(parts) > 2 or (len(parts) == 2 and parts[1] != _NULL):
        raise ValueError("an algorithm with unexpected parameters")
    return str(identifier["algorithm"].dotted)


def _pss(parameters: Any) -> tuple[str, str, int]:
    mask = parameters["mask_gen_algorithm"]
    if mask["algorithm"].native != "mgf1" or parameters["trailer_field"].native != "trailer_field_bc":
        raise ValueError("RSASSA-PSS with another mask generation or trailer")
    hash_oid = plain_algorithm(parameters["hash_algorithm"])
    return hash_oid, plain_algorithm(mask["parameters"]), int(parameters["salt_length"].native)


def _tst_info(info: Any) -> TstInfo:
    serial, nonce = info["serial_number"].native, info["nonce"].native
    if not 0 <= serial < 1 << MAX_SERIAL_BITS:
        raise ValueError("serial number out of range")
    # DEFAULT FALSE must not be written out (X.690 11.5); asn1crypto would read it all the same.
    if any(part == b"\x01\x01\x00" for part in der.split(info.contents)):
        raise der.DerError("ordering is written although it has its default value")
    return TstInfo(
        version=int(info["version"]),
        policy_oid=info["policy"].dotted,
        imprint_algorithm=plain_algorithm(info["message_imprint"]["hash_algorithm"]),
        imprint_value=info["message_imprint"]["hashed_message"].native,
        serial_number=serial,
        gen_time=_gen_time(info["gen_time"].contents),
        accuracy=_accuracy(info["accuracy"]),
        nonce=nonce,
        tsa=_tsa(info["tsa"]),
        critical_extensions=_critical(info["extensions"]),
    )


def _gen_time(contents: bytes) -> datetime:
    """RFC 3161 2.4.2: YYYYMMDDhhmmss[.s...]Z, no zero at the end of the fraction. Beyond microseconds is refused."""
    form = _GENERALIZED.fullmatch(contents)
    if form is None:
        raise ValueError("genTime is not in the form of RFC 3161")
    moment = datetime.strptime(form[1].decode(), "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    return moment + timedelta(microseconds=int((form[2] or b"0").ljust(6, b"0")))


def _accuracy(accuracy: Any) -> timedelta | None:
    if accuracy.native is None:
        return None
    seconds, millis, micros = (accuracy[name].native for name in ("seconds", "millis", "micros"))
    if not 0 <= (seconds or 0) < 1 << 31 or not all(n is None or 1 <= n <= 999 for n in (millis, micros)):
        raise ValueError("accuracy out of range")
    return timedelta(seconds=seconds or 0, milliseconds=millis or 0, microseconds=micros or 0)


def _tsa(name: Any) -> x509.GeneralName | None:
    if name.native is None:
        return None
    return name


def _critical(extensions: Any) -> tuple[str, ...]:
    if extensions.native is None:
        return ()
    return tuple(one["extn_id"].dotted for one in extensions if one["critical"].native)
