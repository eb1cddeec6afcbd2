# SPDX-License-Identifier: Apache-2.0
"""A digest that always carries its algorithm."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from signwright.errors import MalformedError

#: Algorithms that may name or sign anything here, with their length in bytes. SHA-1 and MD5 are readable nowhere.
ALGORITHMS = {"sha256": 32, "sha384": 48, "sha512": 64}

_HEX = re.compile(r"[0-9a-f]+")


@dataclass(frozen=True, slots=True)
class Digest:
    """``algorithm`` is a key of `ALGORITHMS`; ``value`` the raw bytes of that length. Written ``sha256:<hex>``."""

    algorithm: str
    value: bytes

    def __post_init__(self) -> None:
        if ALGORITHMS.get(self.algorithm) != len(self.value):
            raise MalformedError(f"not a digest: {self.algorithm} with {len(self.value)} bytes", code="bad-digest")

    @classmethod
    def parse(cls, text: str) -> Digest:
        """Read ``algorithm:lowercase-hex``; raises `MalformedError` for anything else."""
        algorithm, _, value = text.partition(":")
        if algorithm not in ALGORITHMS or not _HEX.fullmatch(value) or len(value) != 2 * ALGORITHMS[algorithm]:
            raise MalformedError(f"not a digest: {text[:80]!r}; wanted sha256:<64 hex digits>", code="bad-digest")
        return cls(algorithm, bytes.fromhex(value))

    @classmethod
    def of(cls, content: bytes, algorithm: str = "sha256") -> Digest:
        return cls(algorithm, hashlib.new(algorithm, content).digest())

    @property
    def hex(self) -> str:
        return self.value.hex()

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.value.hex()}"


def sha256_hex(content: bytes) -> str:
    """Lower-case hex SHA-256 of ``content``."""
    return hashlib.sha256(content).hexdigest()
