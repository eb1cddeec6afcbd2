# SPDX-License-Identifier: Apache-2.0
"""The policy in force: verified here, pinned by root and highest version, logged, and handed on to the keyholder."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from signwright.errors import ConflictError, DeniedError, MalformedError, UnavailableError
from signwright.model.times import format_time
from signwright.policy.changes import documents_of, weakened_parts
from signwright.policy.documents import Services, SigningPolicy
from signwright.policy.policy import Policy, open_policy
from signwright.signer.gate.keyholder import KeyholderClient
from signwright.signer.gate.log import Log
from signwright.signer.gate.state import State, StoredPolicy, Write, add_policy, set_origin
from signwright.statements.bundle import Authorisation, blob
from signwright.statements.dsse import parse_envelope
from signwright.statements.keys import public_text
from signwright.timestamps.authorities import Authorities, Patience
from signwright.transparency.leaf import GenesisLeaf, PolicyLeaf
from signwright.transparency.note import ED25519, VerifierKey
from signwright.transparency.signing import SignerKey


@dataclass(frozen=True, slots=True)
class GateKeys:
    """The gate's own Ed25519 keys; every policy must name their public halves."""

    order: Ed25519PrivateKey
    receipt: Ed25519PrivateKey
    log: Ed25519PrivateKey


@dataclass(frozen=True, slots=True)
class Opened:
    """A verified policy with what the gate derives from it once. ``chains``: key name to DER certificates."""

    policy: Policy
    stored: StoredPolicy
    chains: Mapping[str, tuple[bytes, ...]]
    authorities: Authorities | None

    def chain_of(self, rule: SigningPolicy) -> tuple[bytes, ...]:
        return self.chains[rule.key]


class PolicyHolder:
    """``current`` is None until the first policy. Versions only go up, whatever the courier carries."""

    def __init__(
        self, state: State, *, keys: GateKeys, profile: int, patience: Patience, now: Callable[[], datetime]
    ) -> None:
        self._state = state
        self._keys = keys
        self._profile = profile
        self._patience = patience
        self._now = now
        self._accepting = asyncio.Lock()
        pinned = state.pinned()
        self._root_sha256, self._origin = pinned.root_sha256, pinned.origin
        stored = state.policy()
        self.current: Opened | None = self._open(stored) if stored is not None else None

    @property
    def in_force(self) -> Opened:
        if self.current is None:
            raise UnavailableError("the gate has no policy yet", code="no-policy")
        return self.current

    def services(self) -> Services:
        return self.in_force.policy.services

    async def accept(
        self, root: bytes, policy: bytes, documents: Mapping[str, bytes], *, log: Log, keyholder: KeyholderClient
    ) -> int:
        """Verify, log, have witnessed and hand on a policy; its version. The one in force is accepted again silently.

        Raises `ConflictError` for an older version or another policy of the same version, and what `open_policy`
        raises.
        """
        async with self._accepting:
            opened = self._verified(root, policy, documents)
            if self.current is None or opened.policy.version > self.current.policy.version:
                opened = await self._append(opened, log)
                self.current = opened
            await log.cosigned(opened.stored.leaf_index)
            await keyholder.load_policy(opened.stored)
            return opened.policy.version

    def _weakening(self, policy: Policy) -> tuple[str, ...]:
        """Which kinds of document of ``policy`` are weaker than those in force."""
        if self.current is None:
            return ()
        return weakened_parts(documents_of(self.current.policy), documents_of(policy))

    def _verified(self, root: bytes, policy: bytes, documents: Mapping[str, bytes]) -> Opened:
        opened = self._open(StoredPolicy(0, "", 0, root, policy, dict(documents)))
        if self.current is None:
            return opened
        new, old = opened.policy, self.current.policy
        if new.version < old.version:
            raise ConflictError(
                f"policy version {new.version}; version {old.version} is in force", code="policy-rollback"
            )
        if new.version == old.version:
            if new.sha256 != old.sha256:
                raise ConflictError(f"another policy of version {new.version} is in force", code="policy-fork")
            return self.current
        return opened

    def _open(self, stored: StoredPolicy) -> Opened:
        envelopes = parse_envelope(stored.root), parse_envelope(stored.policy)
        policy = open_policy(*envelopes, stored.documents, pinned_root_sha256=self._root_sha256)
        _check_keys(policy, self._keys, origin=self._origin)
        chains = {name: tuple(map(base64.b64decode, key.chain)) for name, key in policy.keys.keys.items()}
        names = [authority.name for authority in policy.services.timestamp_authorities]
        authorities = Authorities(names, patience=self._patience) if names else None
        return Opened(policy, stored, chains, authorities)

    async def _append(self, opened: Opened, log: Log) -> Opened:
        """The genesis leaf when it is the first policy, then the policy leaf with the policy itself."""
        policy = opened.policy
        if self._origin is None:
            await self._genesis(policy, log)
        leaf = PolicyLeaf(
            policy_sha256=policy.sha256,
            policy_version=policy.version,
            root_sha256=policy.root_sha256,
            root_version=policy.root.version,
            weakening=self._weakening(policy),
            time=format_time(self._now()),
        )

        def stored_at(index: int) -> StoredPolicy:
            parts = opened.stored
            return StoredPolicy(policy.version, policy.sha256, index, parts.root, parts.policy, parts.documents)

        def writes(index: int) -> Sequence[Write]:
            return (add_policy(stored_at(index)),)

        index = await log.append(leaf.encode(), writes)
        return Opened(policy, stored_at(index), opened.chains, opened.authorities)

    async def _genesis(self, policy: Policy, log: Log) -> None:
        origin = policy.services.log.origin
        log.signer = log_signer(self._keys, origin)
        if log.size == 0:
            leaf = GenesisLeaf(
                root_sha256=policy.root_sha256,
                origin=origin,
                profile=self._profile,
                trial=policy.root.trial,
                time=format_time(self._now()),
            )
            await log.append(leaf.encode(), lambda _: (set_origin(origin),))
        self._origin = origin

    def authorisation(self, version: int, envelopes: tuple[bytes, Sequence[bytes], Sequence[bytes]]) -> Authorisation:
        """What a receipt carries so that its authorisation can be counted again. ``envelopes``: request,
        approvals, evidence.
        """
        current = self.in_force.stored
        stored = current if current.version == version else self._state.policy(version)
        if stored is None:
            raise UnavailableError(f"gate state: policy version {version} is missing", code="state")
        request, approvals, evidence = envelopes
        return Authorisation(
            request=blob(request),
            approvals=tuple(map(blob, approvals)),
            evidence=tuple(map(blob, evidence)),
            policy_root=_kept_blob(stored.root),
            policy=_kept_blob(stored.policy),
            documents={name: _kept_blob(content) for name, content in stored.documents.items()},
        )


#: The policy in force is written into each receipt.
_kept_blob = lru_cache(maxsize=32)(blob)


def log_signer(keys: GateKeys, origin: str) -> SignerKey:
    """The log's key under the log's name."""
    return SignerKey(origin, ED25519, keys.log.private_bytes_raw())


def _check_keys(policy: Policy, keys: GateKeys, *, origin: str | None) -> None:
    """The policy speaks of this very gate and its log; raises `DeniedError`."""
    services = policy.services
    try:
        log_key = VerifierKey.parse(services.log.key)
    except MalformedError as problem:
        raise DeniedError(f"policy: {problem.message}", code="other-signer") from problem
    own = {
        "gate key": services.gate_key == public_text(keys.order),
        "receipt key": public_text(keys.receipt) in services.receipt_keys,
        "log key": log_key.public_key == keys.log.public_key().public_bytes_raw(),
        "log's name": log_key.name == services.log.origin,
        "log's origin": origin is None or services.log.origin == origin,
    }
    wrong = [name for name, right in own.items() if not right]
    if wrong:
        raise DeniedError(f"policy: written for another signer ({', '.join(wrong)})", code="other-signer")
