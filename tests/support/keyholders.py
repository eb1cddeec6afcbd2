# SPDX-License-Identifier: Apache-2.0
"""A keyholder in this process that makes all the real checks, remembers in memory, and counts each use of its keys."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from signwright.errors import ConfigurationError, DeniedError, SignwrightError, UnavailableError
from signwright.model.framing import Frame
from signwright.policy.orders import check_order, read_order
from signwright.policy.policy import Policy
from signwright.policy.reading import Learned, Started
from signwright.policy.standing import Standing
from signwright.signer.channel import Channel
from tests.support.pki import Identity, default_pki
from tests.support.world import World


def now_utc() -> datetime:
    return datetime.now(UTC)


def key_identities() -> dict[str, Identity]:
    pki = default_pki()
    return {name: pki.code_signing("p256", f"gate {name}") for name in ("test", "release", "test-raw")}


@dataclass
class CountingKeyholder:
    """Checks like the real one and remembers in memory; ``operations``: how often a key was used."""

    world: World
    root_sha256: str
    identities: dict[str, Identity] = field(default_factory=key_identities)
    profile: int = 0
    operations: int = 0
    orders: list[Frame] = field(default_factory=list)
    position: tuple[int, bytes] = (0, b"")
    claims: dict[int, tuple[str, int, int]] = field(default_factory=dict)
    rows: dict[str, tuple[int, int | None]] = field(default_factory=dict)
    silent: bool = False
    #: Refuses halts, as one that is in trouble.
    deaf: bool = False
    now: Callable[[], datetime] = now_utc
    starts: int = 1
    newest: int = 0
    start: int | None = None
    learned: list[Learned] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.standing = Standing(self, profile=self.profile, nonce=secrets.token_hex(16), policy=None)

    @property
    def policy(self) -> Policy | None:
        try:
            return self.standing.in_force()
        except ConfigurationError:
            return None

    def log(self) -> tuple[int, bytes]:
        return self.position

    def clock(self) -> int:
        return self.newest

    def revoked(self) -> frozenset[str]:
        return frozenset()

    def first_leaf(self) -> int:
        if self.start is None:
            raise DeniedError("not started", code="not-started")
        return self.start

    def accept_policy(self, version: int, sha256: str, message: dict[str, object], parts: Sequence[bytes]) -> None:
        """`Standing` remembers the one in force; nothing survives this process."""

    def read(self) -> tuple[int, bytes]:
        return 0, b""

    def learn(self, rows: Sequence[Learned]) -> None:
        self.learned += rows

    def started(self, start: Started) -> None:
        self.start, self.newest = start.first_leaf, start.newest
        self.position = start.checkpoint.size, start.checkpoint.root
        for row in self.learned:
            if row.kind == "intent":
                self.claims.setdefault(row.leaf_index, (row.subject, row.wave, row.number))
            elif row.kind == "halt":
                self.rows.setdefault(row.subject, (min(row.number, start.policy_version), None))

    def wanted(self, *, due: int, created: int) -> int:
        return max((row.number for row in self.learned if row.kind == "policy" and row.time <= due), default=0)

    def freshness(self, *, created: int) -> int:
        seen = [row.number for row in self.learned if row.kind == "freshness" and created <= self.newest]
        return max(seen, default=0)

    def halts(self) -> Sequence[tuple[str, int, int | None]]:
        return [(digest, under, resumed) for digest, (under, resumed) in self.rows.items()]

    def halt(self, sha256: str, policy_version: int) -> None:
        self.rows.setdefault(sha256, (policy_version, None))

    def resume(self, sha256: str, policy_version: int) -> None:
        self.rows[sha256] = (self.rows.get(sha256, (0, None))[0], policy_version)

    def attempts(self, request: str, wave: int) -> int:
        return max((a for r, w, a in self.claims.values() if (r, w) == (request, wave)), default=0)

    def is_claimed(self, leaf_index: int) -> bool:
        return leaf_index in self.claims

    def used(self, name: str, hour: int) -> int:
        return 0

    async def serve(self, channel: Channel) -> None:
        with contextlib.suppress(EOFError, OSError, SignwrightError):
            while True:
                frame = await channel.receive()
                message, parts = self.answer(frame)
                if not (self.silent and frame.message["verb"] == "order"):
                    await channel.send({"id": frame.message["id"], **message}, parts)

    def answer(self, frame: Frame) -> tuple[dict[str, Any], Sequence[bytes]]:
        try:
            if frame.message["verb"] == "status":
                return self._status(), ()
            if frame.message["verb"] == "halt" and self.deaf:
                raise UnavailableError("the disk is full", code="state")
            if frame.message["verb"] == "order":
                return {"ok": True}, self._sign(frame)
            return {"ok": True, **self.standing.take(frame, now=self.now())}, ()
        except SignwrightError as problem:
            return {"ok": False, "code": problem.code, "message": problem.message, **problem.details}, ()

    def _status(self) -> dict[str, Any]:
        log = {"size": self.position[0], "root": self.position[1].hex()}
        return {"ok": True, **self.standing.status(), "log": log, "keys": {}}

    def _sign(self, frame: Frame) -> list[bytes]:
        self.orders.append(frame)
        order = read_order(frame.message, frame.parts)
        approved = check_order(
            self.standing.may_sign(now=self.now()), self, order, profile=self.profile, now=self.now()
        )
        self.claims[approved.claim.leaf_index] = (approved.claim.request, approved.claim.wave, approved.claim.attempt)
        self.position = (approved.checkpoint.size, approved.checkpoint.root)
        identity = self.identities[approved.key_name]
        self.operations += len(approved.contents)
        return [identity.sign(content) for content in approved.contents]
