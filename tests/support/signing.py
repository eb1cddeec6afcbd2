# SPDX-License-Identifier: Apache-2.0
"""A log in memory with its witness, and an honest gate's order, for tests of what stands between an order and a key."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from signwright.errors import SignwrightError
from signwright.model.times import format_time
from signwright.policy.facts import gather
from signwright.policy.intent import intent_leaf, requested_operations
from signwright.policy.policy import Policy, open_policy
from signwright.policy.succession import policy_leaf
from signwright.statements.dsse import Envelope
from signwright.statements.models import Order, Request, SeenCheckpoint, parse_statement
from signwright.statements.writing import sign_ed25519, statement_payload
from signwright.transparency.checkpoint import Checkpoint
from signwright.transparency.growth import Frontier
from signwright.transparency.intent import PolicyLeaf, StartLeaf
from signwright.transparency.note import COSIGNATURE_V1, ED25519
from signwright.transparency.proof import TlogProof
from signwright.transparency.signing import SignerKey, add_signatures, cosign, sign_checkpoint
from signwright.transparency.tiles import TileTree
from tests.support.pki import Identity
from tests.support.world import ORIGIN, World

#: (message, parts) as a gate sends them.
Message = tuple[dict[str, Any], list[bytes]]
PolicyParts = tuple[Envelope, Envelope, dict[str, bytes], str]


class MemoryLog:
    """Tiles in a dictionary; signs its checkpoints and has the world's witness cosign them."""

    def __init__(self, world: World) -> None:
        self.tiles: dict[str, bytes] = {}
        self.leaves: list[bytes] = []
        self.frontier = Frontier()
        self.key = SignerKey(ORIGIN, ED25519, world.log_private.private_bytes_raw())
        self.witness = SignerKey("w1", COSIGNATURE_V1, world.witness_private.private_bytes_raw())

    def append(self, *leaves: bytes) -> int:
        """Index of the first."""
        first = self.frontier.size
        growth = self.frontier.grow(leaves)
        self.leaves += leaves
        self.tiles.update(growth.tiles)
        self.frontier = growth.frontier
        return first

    @property
    def checkpoint(self) -> Checkpoint:
        return Checkpoint(ORIGIN, self.frontier.size, self.frontier.root())

    @property
    def seen(self) -> SeenCheckpoint:
        return SeenCheckpoint(origin=ORIGIN, size=self.checkpoint.size, root=self.checkpoint.root.hex())

    def note(self, time: datetime, *, witnesses: Sequence[SignerKey] | None = None) -> bytes:
        witnesses = [self.witness] if witnesses is None else witnesses
        return add_signatures(
            sign_checkpoint(self.checkpoint, self.key), [cosign(self.checkpoint, w, time=time) for w in witnesses]
        )

    def tree(self) -> TileTree:
        return TileTree(self.frontier.size, self.tiles.__getitem__)

    def reading(self, first: int, note: bytes) -> list[Message]:
        """What an honest gate has a keyholder read from ``first`` on before it starts."""
        return [
            ({"verb": "leaves", "id": 1, "first": first}, self.leaves[first:]),
            ({"verb": "start", "id": 1}, [note]),
        ]


@dataclass
class SignerWorld:
    """A world whose keys are real, its log, and what an honest gate would send to the keyholder."""

    identity: Identity
    world: World = field(default_factory=World)

    def __post_init__(self) -> None:
        for kind in ("test", "release"):
            key = self.world.default_key(kind)  # type: ignore[arg-type]
            chain = tuple(base64.b64encode(c).decode() for c in self.identity.chain)
            public = base64.b64encode(self.identity.public_key).decode()
            if kind == "release":
                self.world.keys[kind] = key.model_copy(update={"public_key": public, "chain": chain})
        self.parts: PolicyParts = self.world.policy_parts()
        self.loaded: Policy | None = None
        self.followed: list[tuple[int, str]] = []
        self.policy: Policy = open_policy(*self.parts[:3], pinned_root_sha256=self.parts[3])
        self.log = MemoryLog(self.world)
        self.freshness = self.world.freshness(root_sha256=self.parts[3])
        self.log.append(b"genesis", self.policy_leaf().encode())

    def policy_leaf(self, old: Policy | None = None, new: Policy | None = None) -> PolicyLeaf:
        """What an honest gate logs of a policy."""
        return policy_leaf(old, new or self.policy, now=self.world.now)

    def proof(self, index: int, *, time: datetime | None = None, note: bytes | None = None) -> bytes:
        """Of the leaf at ``index`` under the newest checkpoint."""
        note = note if note is not None else self.log.note(time or self.world.now)
        return TlogProof(index, tuple(self.log.tree().inclusion(index)), note).encode()

    def policy_message(self, parts: PolicyParts | None = None) -> tuple[dict[str, Any], list[bytes]]:
        """A policy as an honest gate logs it and hands it over; of one that does not open, the leaf of ours."""
        root, index, documents, pinned = parts or self.parts
        try:
            policy = open_policy(root, index, documents, pinned_root_sha256=pinned)
        except SignwrightError:
            policy = self.policy
        newer = self.loaded is None or policy.version > self.loaded.version
        leaf = self.policy_leaf(self.loaded if newer else None, policy).encode()
        at = self.log.append(leaf)
        message = {"verb": "policy", "id": 1, "documents": list(documents)}
        return message, [root.encode(), index.encode(), *documents.values(), leaf, self.proof(at)]

    def loaded_policy(self, parts: PolicyParts | None = None) -> None:
        """The keyholder accepted it."""
        root, index, documents, pinned = parts or self.parts
        self.loaded = open_policy(root, index, documents, pinned_root_sha256=pinned)

    def start_messages(self, status: dict[str, Any], **changes: Any) -> list[Message]:
        """A keyholder's start, logged and cosigned, and all that it has to read. ``changes``: of its leaf."""
        values = {**status["start"], "time": format_time(self.world.now)} | changes
        self.log.append(StartLeaf(**values).encode())
        self.followed.append((self.log.seen.size, self.log.seen.root))
        return self.log.reading(status["read"], self.log.note(self.world.now))

    def approved(self, request: Envelope, people: Sequence[str] = ("alice", "bob")) -> list[Envelope]:
        return [self.world.approval(request, p, policy=self.policy, checkpoint=self.log.seen) for p in people]

    def order(
        self,
        request: Envelope,
        *,
        approvals: Sequence[Envelope],
        evidence: Sequence[Envelope],
        attempt: int = 1,
        wave: int = 0,
        leaf: bytes | None = None,
        operations: bytes | None = None,
        seen: Sequence[tuple[int, str]] = (),
        changes: dict[str, Any] | None = None,
        leaf_changes: dict[str, Any] | None = None,
        note: bytes | None = None,
        fresh: bool = True,
        contents: Sequence[bytes] = (),
    ) -> tuple[dict[str, Any], list[bytes]]:
        """(message, parts) as the gate sends them. Every keyword replaces one honest part by another."""
        world, now = self.world, self.world.now
        statement = parse_statement(request, Request)
        if fresh and statement.predicate.signing_policy.startswith("release"):
            evidence = [*evidence, self.freshness]
        if operations is None:
            operations = requested_operations(statement.predicate)
        if leaf is None:
            statements = (request, approvals, evidence)
            leaf = self._leaf(statements, operations, wave=wave, attempt=attempt, changes=leaf_changes)
        seen = [*seen, *self.followed, *((s.size, s.root) for s in self._approvers_saw(approvals))]
        index = self.log.append(leaf)
        tree = self.log.tree()
        proof = TlogProof(
            index, tuple(tree.inclusion(index)), note if note is not None else self.log.note(now)
        ).encode()
        values: dict[str, Any] = {
            "request": statement.digest,
            "wave": wave,
            "attempt": attempt,
            "policy_sha256": self.policy.sha256,
            "operations_sha256": hashlib.sha256(operations).hexdigest(),
            "leaf_sha256": hashlib.sha256(leaf).hexdigest(),
            "leaf_index": index,
            "created": format_time(now),
        }
        payload = statement_payload(Order(**(values | (changes or {}))), [("request", statement.digest)])
        rows = self._consistency(seen)
        message = {
            "verb": "order",
            "id": 1,
            "approvals": len(approvals),
            "evidence": len(evidence),
            "contents": len(contents),
            "consistency": rows,
        }
        envelopes = [*approvals, *evidence]
        order = sign_ed25519(payload, world.gate)
        parts = [order.encode(), request.encode(), operations, leaf, proof, *(e.encode() for e in envelopes), *contents]
        return message, parts

    def _leaf(
        self,
        statements: tuple[Envelope, Sequence[Envelope], Sequence[Envelope]],
        operations: bytes,
        *,
        wave: int,
        attempt: int,
        changes: dict[str, Any] | None,
    ) -> bytes:
        request, approvals, evidence = statements
        now = self.world.now
        intent = intent_leaf(
            self.policy,
            gather(self.policy, request, approvals=approvals, evidence=evidence, now=now),
            operations=operations,
            wave=wave,
            attempt=attempt,
            profile=0,
            sandbox="landlock7-seccomp",
            signing_time=now,
        )
        return intent.model_copy(update=changes or {}).encode()

    def _consistency(self, seen: Sequence[tuple[int, str]]) -> list[dict[str, Any]]:
        """Proofs from every tree that somebody saw to the one of today."""
        tree = self.log.tree()
        return [
            {"size": size, "root": root, "hashes": [base64.b64encode(h).decode() for h in tree.consistency(size)]}
            for size, root in sorted(set(seen))
            if 0 < size < self.log.checkpoint.size
        ]

    def _approvers_saw(self, approvals: Sequence[Envelope]) -> list[SeenCheckpoint]:
        from signwright.statements.models import Approval

        return [parse_statement(a, Approval).predicate.checkpoint for a in approvals]
