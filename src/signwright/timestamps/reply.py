# SPDX-License-Identifier: Apache-2.0
"""What a timestamp authority answers: ``TimeStampResp`` (RFC 3161 2.4.2). Takes the token out, unverified."""

from __future__ import annotations

from asn1crypto import tsp

from signwright.errors import TimestampError
from signwright.timestamps import der
from signwright.timestamps.codes import Check
from signwright.timestamps.structure import MAX_TOKEN

_SEQUENCE, _BIT_STRING = 0x30, 0x03
_MAX_TEXT = 200


def token_of_reply(reply: bytes) -> bytes:
    """The DER ``TimeStampToken`` in ``reply``, byte for byte.

    Raises `TimestampError`: `Check.REJECTED` for every status but *granted*, with ``details`` status, failure (names of
    RFC 3161 2.4.2) and text; `Check.REPLY` for bytes that are no reply; `Check.SIZE`.
    """
    if len(reply) > MAX_TOKEN:
        raise TimestampError(f"reply of {len(reply)} bytes; at most {MAX_TOKEN}", code=Check.SIZE)
    try:
        der.check_der(reply)
        parts = der.split(der.contents_of(reply))
        if reply[0] != _SEQUENCE or not 1 <= len(parts) <= 2 or any(p[0] != _SEQUENCE for p in parts):
            raise ValueError("not a TimeStampResp")
        status, texts, failures = _status(parts[0])
    except der.LIBRARY_ERRORS as problem:
        raise TimestampError(f"not a timestamp reply ({problem})"[:_MAX_TEXT], code=Check.REPLY) from problem
    if status != "granted":
        why = "; ".join([*failures, *texts]) or "no reason given"
        raise TimestampError(
            f"the authority answered {status}: {why}",
            code=Check.REJECTED,
            details={"status": status, "failure": failures, "text": texts},
        )
    if len(parts) != 2 or failures:
        raise TimestampError("granted, without a token or with a failure", code=Check.REPLY)
    return parts[1]


def _status(encoded: bytes) -> tuple[str, list[str], list[str]]:
    info = tsp.PKIStatusInfo.load(encoded, strict=True)
    status = info["status"].native
    texts = [_printable(text) for text in info["status_string"].native or ()][:8]
    failures = sorted(str(name) for name in info["fail_info"].native or ())
    return str(status), texts, failures


def _printable(text: str) -> str:
    """Text of a stranger, fit for a log line."""
    return "".join(c if c.isprintable() else "?" for c in text[:_MAX_TEXT])
