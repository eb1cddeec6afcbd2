# SPDX-License-Identifier: Apache-2.0
"""Policy roots with several keepers, and a keyholder's memory that they are offered to."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from signwright.model.framing import Frame
from signwright.model.times import format_time
from signwright.policy import documents as d
from signwright.policy.policy import Policy, open_policy
from signwright.policy.standing import Standing
from signwright.policy.succession import policy_leaf
from signwright.policy.write import draft_policy, draft_root
from signwright.signer.keyholder.state import State
from signwright.statements.dsse import Envelope, statement_digest
from signwright.statements.models import PolicyRoot, Role
from signwright.transparency.proof import TlogProof
from signwright.transparency.signing import SignerKey
from tests.support.signing import MemoryLog
from tests.support.world import World, sign_ssh, ssh_line

NAMES = ("anna", "ben", "cleo", "dora", "mallory")


def signed(payload: bytes, keys: Sequence[Ed25519PrivateKey], name: str) -> Envelope:
    """One envelope with a signature of each."""
    return Envelope(payload, tuple(s for key in keys for s in sign_ssh(payload, key, name).signatures))


@dataclass(frozen=True)
class Offer:
    """A policy as it travels. ``root_sha256``: of its own root."""

    root: Envelope
    policy: Envelope
    documents: dict[str, bytes]

    @property
    def root_sha256(self) -> str:
        return statement_digest("policy-root", self.root)

    def opened(self, pinned: str) -> Policy:
        return open_policy(self.root, self.policy, self.documents, pinned_root_sha256=pinned)


@dataclass
class Keepers:
    """``genesis``: root 1, in which anna alone signs; every root is signed by whoever is named."""

    world: World = field(default_factory=World)
    keys: dict[str, Ed25519PrivateKey] = field(
        default_factory=lambda: {name: Ed25519PrivateKey.generate() for name in NAMES}
    )

    def __post_init__(self) -> None:
        self.genesis = self.sign_root(self.root(1, ("anna",)), "anna")
        self.pinned = statement_digest("policy-root", self.genesis)

    def role(self, names: Sequence[str], threshold: int | None = None) -> Role:
        keys = tuple(ssh_line(self.keys[name]) for name in names)
        return Role(threshold=len(keys) if threshold is None else threshold, keys=keys)

    def root(self, version: int, names: Sequence[str], **changes: Any) -> PolicyRoot:
        """All of ``names`` must sign for it and for its policies, and each may halt."""
        values: dict[str, Any] = {
            "version": version,
            "organisation": "Example",
            "trial": True,
            "root": self.role(names),
            "policy": self.role(names),
            "freshness": self.role(names, 1),
            "panic": self.role(names, 1),
            "created": format_time(self.world.now - timedelta(days=1)),
            "expires": format_time(self.world.now + timedelta(days=365)),
        }
        return PolicyRoot(**(values | changes))

    def sign_root(self, root: PolicyRoot, *names: str) -> Envelope:
        return signed(draft_root(root), [self.keys[name] for name in names], "policy-root")

    def policy(
        self,
        root: Envelope,
        of: PolicyRoot,
        *names: str,
        version: int = 2,
        older: Mapping[int, Envelope] | None = None,
        **organisation: Any,
    ) -> Offer:
        """Signed by ``names``. ``older``: earlier roots by version; ``organisation``: fields of that document."""
        documents = self.world.documents()
        if organisation:
            before = documents["organisation"]
            assert isinstance(before, d.Organisation)
            documents["organisation"] = before.model_copy(update=organisation)
        draft = draft_policy(
            documents,
            root=of,
            root_sha256=statement_digest("policy-root", root),
            version=version,
            created=self.world.now - timedelta(hours=1),
            expires=self.world.now + timedelta(days=30),
            older_roots={f"roots/{number}": envelope.encode() for number, envelope in (older or {}).items()},
        )
        keys = [self.keys[name] for name in names]
        return Offer(root, signed(draft.payload, keys, "policy"), draft.documents)

    def first(self, **organisation: Any) -> Offer:
        """Version 1 under the first root."""
        return self.policy(self.genesis, self.root(1, ("anna",)), "anna", version=1, **organisation)

    def second(self, names: Sequence[str] = ("anna", "ben"), **organisation: Any) -> Offer:
        """Version 2 under root 2 of ``names``, in due form."""
        root = self.root(2, names)
        envelope = self.sign_root(root, *dict.fromkeys(("anna", *names)))
        return self.policy(envelope, root, *names, older={1: self.genesis}, **organisation)


@dataclass
class HeldPolicy:
    """What a keyholder remembers on disk, with a log in memory that has every leaf witnessed."""

    folder: Path
    keepers: Keepers

    def __post_init__(self) -> None:
        self.state = State(self.folder / f"{secrets.token_hex(4)}.sqlite3", genesis=self.keepers.pinned)
        self.standing = Standing(self.state, profile=0, nonce="00" * 16, policy=None)
        self.log = MemoryLog(self.keepers.world)
        self.log.append(b"genesis")
        self.policy: Policy | None = None
        #: What else stands in the gate's message.
        self.said: dict[str, object] = {}

    def offer(
        self,
        offer: Offer,
        *,
        leaf: bytes | None = None,
        hours: float = 0,
        witnesses: Sequence[SignerKey] | None = None,
    ) -> Policy:
        """As a gate hands it over, with an honest leaf unless one is given; ``hours`` after the leaf was cosigned.
        ``witnesses``: who cosigns, other than the world's.

        Raises what the keyholder raises.
        """
        now = self.keepers.world.now
        if leaf is None:
            leaf = policy_leaf(self.policy, offer.opened(self.keepers.pinned), now=now).encode()
        index = self.log.append(leaf)
        proof = TlogProof(
            index, tuple(self.log.tree().inclusion(index)), self.log.note(now, witnesses=witnesses)
        ).encode()
        parts = (offer.root.encode(), offer.policy.encode(), *offer.documents.values(), leaf, proof)
        frame = Frame({**self.said, "verb": "policy", "documents": list(offer.documents)}, parts)
        self.standing.take(frame, now=now + timedelta(hours=hours))
        self.policy = self.standing.in_force()
        return self.policy
