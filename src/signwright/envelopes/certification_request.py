# SPDX-License-Identifier: Apache-2.0
"""A certification request for a key itself (PKCS #10, RFC 2986), from named parameters and nothing else.

Its to-be-signed bytes are a SEQUENCE that begins with INTEGER 0, so they can never be signed attributes (a SET) of a
CMS signature, nor a certificate.
"""

from __future__ import annotations

from collections.abc import Mapping

from signwright.envelopes import der
from signwright.envelopes.base import SignerContext, ToBeSigned
from signwright.envelopes.keys import KeyKind, check_signature_value, load_public_key
from signwright.errors import MalformedError
from signwright.model.text import check_text

#: Parameter → attribute type (X.520), most significant first; ``country`` is two letters (PrintableString).
NAMES = (
    ("country", "2.5.4.6"),
    ("state", "2.5.4.8"),
    ("locality", "2.5.4.7"),
    ("organisation", "2.5.4.10"),
    ("unit", "2.5.4.11"),
    ("common-name", "2.5.4.3"),
)
MAX_NAME = 64
_UTF8_STRING, _PRINTABLE_STRING, _BIT_STRING = 0x0C, 0x13, 0x03
_SIGNATURE_ALGORITHMS = {
    KeyKind.RSA: der.sequence(der.oid("1.2.840.113549.1.1.11"), der.NULL),
    KeyKind.EC: der.sequence(der.oid("1.2.840.10045.4.3.2")),
}


def certification_request_info(parameters: Mapping[str, object], context: SignerContext) -> ToBeSigned:
    """CertificationRequestInfo (RFC 2986, section 4.1) without attributes: a certificate's extensions are the
    authority's business.

    ``parameters``: names of `NAMES` → text; ``common-name`` is wanted. Raises `MalformedError`.
    """
    unknown = sorted(set(parameters) - {name for name, _ in NAMES})
    if unknown or "common-name" not in parameters:
        found = f"unknown {unknown[0]!r}" if unknown else "no common-name"
        raise MalformedError(f"certification request: {found}; wanted {', '.join(n for n, _ in NAMES)}", code="bad-csr")
    kind, _ = load_public_key(context.public_key)
    if kind not in _SIGNATURE_ALGORITHMS:
        raise MalformedError(f"certification request: no algorithm for a key of kind {kind}", code="bad-key")
    rows = [_relative_name(name, oid, parameters[name]) for name, oid in NAMES if name in parameters]
    info = der.sequence(der.integer(0), der.sequence(*rows), context.public_key, der.tlv(0xA0, b""))
    return ToBeSigned(info, "sha256")


def certification_request(parameters: Mapping[str, object], context: SignerContext, signature_value: bytes) -> bytes:
    """The whole request in DER. ``signature_value`` as the key gave it; raises `VerificationError` for another one."""
    signed = certification_request_info(parameters, context)
    check_signature_value(context.public_key, signed, signature_value)
    kind, _ = load_public_key(context.public_key)
    bits = der.tlv(_BIT_STRING, b"\0" + signature_value)
    return der.sequence(signed.content, _SIGNATURE_ALGORITHMS[kind], bits)


def _relative_name(name: str, oid: str, value: object) -> bytes:
    if not isinstance(value, str) or not 0 < len(value) <= MAX_NAME:
        raise MalformedError(f"certification request: {name} wants 1 to {MAX_NAME} characters", code="bad-csr")
    check_text(value, name)
    country = name == "country"
    if country and not (len(value) == 2 and value.isascii() and value.isalpha() and value.isupper()):
        raise MalformedError("certification request: country wants two capital letters", code="bad-csr")
    text = der.tlv(_PRINTABLE_STRING if country else _UTF8_STRING, value.encode())
    return der.set_of([der.sequence(der.oid(oid), text)])
