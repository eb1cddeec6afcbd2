# SPDX-License-Identifier: Apache-2.0
"""A log in memory and witnesses with fixed keys, made of the project's own pure parts."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from signwright.transparency.checkpoint import Checkpoint
from signwright.transparency.cosignature import LogTrust, Quorum, WitnessKey
from signwright.transparency.growth import Frontier, Growth
from signwright.transparency.note import COSIGNATURE_V1, ED25519
from signwright.transparency.proof import TlogProof
from signwright.transparency.signing import SignerKey, add_signatures, cosign, sign_checkpoint
from signwright.transparency.tiles import TileTree

ORIGIN = "log.example/signer"
NOW = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)


def log_key(origin: str = ORIGIN) -> SignerKey:
    return SignerKey(origin, ED25519, hashlib.sha256(f"log {origin}".encode()).digest())


def witness_signer(name: str) -> SignerKey:
    return SignerKey(name, COSIGNATURE_V1, hashlib.sha256(f"witness {name}".encode()).digest())


def witness_key(name: str, *, operator: str | None = None, outside: bool = True) -> WitnessKey:
    return WitnessKey(name, witness_signer(name).verifier.public_key, operator or f"operator of {name}", outside)


def trust_in(*witnesses: WitnessKey, outside: int = 0, local: int = 0, origin: str = ORIGIN) -> LogTrust:
    return LogTrust(origin, (log_key(origin).verifier,), Quorum(witnesses, outside, local))


class MemoryLog:
    """Files in a dict; every growth is written, as a log does on disk."""

    def __init__(self, leaves: Iterable[bytes] = (), *, origin: str = ORIGIN) -> None:
        self.origin = origin
        self.files: dict[str, bytes] = {}
        self.frontier = Frontier()
        self.append(leaves)

    def append(self, leaves: Iterable[bytes]) -> Growth:
        growth = self.frontier.grow(leaves)
        self.files.update(growth.tiles)
        self.frontier = growth.frontier
        return growth

    @property
    def size(self) -> int:
        return self.frontier.size

    def tree(self) -> TileTree:
        return TileTree(self.size, self.files.__getitem__)

    def checkpoint(self, size: int | None = None) -> Checkpoint:
        size = self.size if size is None else size
        return Checkpoint(self.origin, size, self.tree().root(size))

    def note(self, size: int | None = None, *, witnesses: Sequence[str] = (), time: datetime = NOW) -> bytes:
        """The signed checkpoint, cosigned by the named witnesses."""
        checkpoint = self.checkpoint(size)
        lines = [cosign(checkpoint, witness_signer(name), time=time) for name in witnesses]
        return add_signatures(sign_checkpoint(checkpoint, log_key(self.origin)), lines)

    def proof(self, index: int, *, witnesses: Sequence[str] = ()) -> TlogProof:
        return TlogProof(index, tuple(self.tree().inclusion(index)), self.note(witnesses=witnesses))
