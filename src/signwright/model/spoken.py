# SPDX-License-Identifier: Apache-2.0
"""Digests in forms that people read, write and compare."""

from __future__ import annotations

import base64


def spoken(sha256: str) -> str:
    """160 bits of a SHA-256 (hex) in base32 (RFC 4648), in eight groups of four."""
    digits = _base32(sha256, size=20)
    return "-".join(digits[at : at + 4] for at in range(0, len(digits), 4))


def request_id(sha256: str) -> str:
    """How hub and clients call a request: ``r-`` and the first 16 base32 digits of its digest (hex)."""
    return f"r-{_base32(sha256, size=10)}"


def _base32(sha256: str, *, size: int) -> str:
    return base64.b32encode(bytes.fromhex(sha256)[:size]).decode().lower()
