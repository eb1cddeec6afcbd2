# SPDX-License-Identifier: Apache-2.0
"""A timestamp authority's reply: any bytes are a token, or one of our errors."""

from __future__ import annotations

from datetime import UTC, datetime

from signwright.errors import TimestampError, VerificationError
from signwright.model.digest import Digest
from signwright.timestamps.reply import token_of_reply
from signwright.timestamps.token import verify_token
from signwright.tsa.keys import make_authority

_NOW = datetime(2026, 11, 21, tzinfo=UTC)
_ANCHOR = make_authority("fuzz", now=_NOW).root
_IMPRINT = Digest.of(b"")


def one_input(data: bytes) -> None:
    """Read ``data`` as a reply and as a token. A token that verifies would be a forgery."""
    for candidate in (data, _token_in(data)):
        if candidate is None:
            continue
        try:
            verify_token(candidate, imprint=_IMPRINT, nonce=1, anchors=[_ANCHOR], not_before=None, not_after=None)
        except VerificationError:
            continue
        raise AssertionError("a forged token passed")


def _token_in(reply: bytes) -> bytes | None:
    try:
        return token_of_reply(reply)
    except TimestampError:
        return None
