# SPDX-License-Identifier: Apache-2.0
"""The written form of a machine's Ed25519 secret: one line ``ed25519-seed:<base64 of 32 bytes>``."""

from __future__ import annotations

import base64

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from signwright.errors import ConfigurationError, MalformedError
from signwright.model.base64text import strict_base64

PREFIX = "ed25519-seed:"


def seed_text(key: Ed25519PrivateKey) -> str:
    """The line to store, with a line end. Keep it in a file that only its process can read."""
    return PREFIX + base64.b64encode(key.private_bytes_raw()).decode() + "\n"


def load_seed(text: str) -> Ed25519PrivateKey:
    """Raises `ConfigurationError` without repeating the text."""
    try:
        seed = strict_base64(text.strip().removeprefix(PREFIX))
    except MalformedError as problem:
        raise ConfigurationError("a key file does not hold one line ed25519-seed:…", code="bad-key-file") from problem
    if not text.startswith(PREFIX) or len(seed) != 32:
        raise ConfigurationError("a key file does not hold one line ed25519-seed:…", code="bad-key-file")
    return Ed25519PrivateKey.from_private_bytes(seed)
