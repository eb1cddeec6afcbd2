# SPDX-License-Identifier: Apache-2.0
"""Base64 in its one written form: two texts never stand for the same bytes."""

from __future__ import annotations

import binascii

from signwright.errors import MalformedError


def strict_base64(text: str, where: str = "") -> bytes:
    """RFC 4648 section 4, padded, no stray bits; raises `MalformedError`. ``where``: what it is, for the message."""
    try:
        value = binascii.a2b_base64(text, strict_mode=True)
    except ValueError:
        value = None
    if value is None or binascii.b2a_base64(value, newline=False).decode() != text:
        raise MalformedError(f"{where}: not base64: {text[:80]!r}" if where else "not base64", code="bad-base64")
    return value
