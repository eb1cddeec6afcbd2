# SPDX-License-Identifier: Apache-2.0
"""Digests in a form that two people can read to each other and compare."""

from __future__ import annotations

import base64


def spoken(sha256: str) -> str:
    """160 bits of a SHA-256 (hex) in base32 (RFC 4648), in eight groups of four."""
    digits = base64.b32encode(bytes.fromhex(sha256)[:20]).decode().lower()
    return "-".join(digits[at : at + 4] for at in range(0, len(digits), 4))
