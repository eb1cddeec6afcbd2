# SPDX-License-Identifier: Apache-2.0
"""A query to the built-in authority: any bytes get a reply that our own reader understands."""

from __future__ import annotations

from datetime import UTC, datetime

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from signwright.errors import TimestampError
from signwright.timestamps.issue import Issuer, parse_query, reply_to
from signwright.timestamps.reply import token_of_reply
from signwright.timestamps.token import verify_token
from signwright.tsa.keys import make_authority

_NOW = datetime(2026, 11, 21, tzinfo=UTC)
_MADE = make_authority("fuzz", now=_NOW)


def _issuer() -> Issuer:
    key = load_pem_private_key(_MADE.key_pem, None)
    if not isinstance(key, EllipticCurvePrivateKey):
        raise TypeError("the made key is no EC key")
    return Issuer(key=key, chain=_MADE.chain, policy_oid="1.2.3.4.1")


_ISSUER = _issuer()


def one_input(data: bytes) -> None:
    """Answer ``data``: a rejection, or a token that verifies when the certificate was asked for."""
    answer = reply_to(data, issuer=_ISSUER, now=_NOW, next_serial=lambda: 1)
    try:
        timestamp_token = token_of_reply(answer.reply)
    except TimestampError as problem:
        if answer.failure is None or problem.details.get("failure") != [str(answer.failure)]:
            raise AssertionError("a reply that does not say what was decided") from problem
        return
    query = parse_query(data)
    if query.certificates_wanted:
        anchors = [_MADE.root]
        verify_token(
            timestamp_token, imprint=query.imprint, nonce=query.nonce, anchors=anchors, not_before=_NOW, not_after=_NOW
        )
