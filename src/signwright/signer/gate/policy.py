# SPDX-License-Identifier: Apache-2.0
"""The policy in force: verified here, pinned by root and highest version, logged, and handed on to the keyholder."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from itertools import pairwise

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from signwright.errors import ConflictError, DeniedError, MalformedError, SignwrightError, UnavailableError
from signwright.model.times import format_time
from signwright.policy.documents import Services, SigningPolicy
from signwright.policy.following import check_profile
from signwright.policy.policy import Policy, open_policy
from signwright.policy.succession import check_made, check_successor, in_force_from, policy_leaf, waited
from signwright.signer.gate.keyholder import KeyholderClient
from signwright.signer.gate.log import Log
from signwright.signer.gate.state import State, StoredPolicy, add_policy, put_in_force, set_origin, set_policy_proof
from signwright.statements.bundle import Authorisation, blob
from signwright.statements.dsse import parse_envelope
from signwright.statements.writing import public_text
from signwright.timestamps.authorities import Authorities, Patience
from signwright.transparency.intent import PolicyLeaf, read_leaf
from signwright.transparency.leaf import GenesisLeaf
from signwright.transparency.note import ED25519, VerifierKey
from signwright.transparency.proof import TlogProof
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


@dataclass(frozen=True, slots=True)
class Accepted:
    """``waits_until``: when the policy of ``version`` comes into force; None when it is."""

    version: int
    waits_until: datetime | None


class PolicyHolder:
    """``current`` is the policy in force, None until the first; ``waiting``: a logged one that weakens, until its time.

    Versions only go up, whatever the courier carries.
    """

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
        stored, waiting = state.policy(), state.waiting_policy()
        self.current: Opened | None = self._open_waited(stored) if stored is not None else None
        self.waiting: Opened | None = self._open(waiting) if waiting is not None else None

    @property
    def in_force(self) -> Opened:
        if self.current is None:
            raise UnavailableError("the gate has no policy yet", code="no-policy")
        return self.current

    def services(self) -> Services:
        if self.current is None and self.waiting is not None:
            return self.waiting.policy.services  # the first one is cosigned under its own quorum
        return self.in_force.policy.services

    async def accept(
        self, root: bytes, policy: bytes, documents: Mapping[str, bytes], *, log: Log, keyholder: KeyholderClient
    ) -> Accepted:
        """Verify, log, have witnessed, and put in force when its time has come. What was accepted is accepted again.

        Raises `ConflictError` for an older version or another policy of the same version, and what `open_policy` and
        `check_successor` raise.
        """
        async with self._accepting:
            opened = self._verified(root, policy, documents)
            if opened is not self.current and opened is not self.waiting:
                check_made(opened.policy, now=self._now())
                self.waiting = await self._append(opened, log)
            return await self._advance(log, keyholder)

    async def advance(self, log: Log, keyholder: KeyholderClient) -> Accepted:
        """Put the policy that waits in force if its time has come."""
        async with self._accepting:
            return await self._advance(log, keyholder)

    async def start_keyholder(self, log: Log, keyholder: KeyholderClient) -> None:
        """Have the keyholder take orders, once. It reads in the log which policy is in force, so it gets that first."""
        if not keyholder.started:
            async with self._accepting:
                with contextlib.suppress(SignwrightError):
                    await self._advance(log, keyholder)
                await keyholder.start(log, now=self._now)

    async def _advance(self, log: Log, keyholder: KeyholderClient) -> Accepted:
        waiting = self.waiting
        if waiting is None:
            await keyholder.load_policy(self.in_force.stored)
            return Accepted(self.in_force.policy.version, None)
        stored = waiting.stored
        if not stored.proof:
            witnessed = await log.cosigned(stored.leaf_index)
            stored = replace(stored, proof=witnessed.proof(stored.leaf_index).encode())
            await log.record((set_policy_proof(stored.version, stored.proof),))
            waiting = self.waiting = replace(waiting, stored=stored)
        ready = self._in_force_from(stored)
        if self._now() < ready:
            return Accepted(waiting.policy.version, ready)
        await keyholder.load_policy(stored)
        await log.record((put_in_force(stored.version),))
        self.current, self.waiting = self._waited(waiting), None
        return Accepted(waiting.policy.version, None)

    def _in_force_from(self, stored: StoredPolicy) -> datetime:
        trusted = self.current or self.waiting
        assert trusted is not None
        return in_force_from(*_logged(stored, trusted.policy))

    def _waited(self, opened: Opened) -> Opened:
        """What comes into force after ``current``, with the end of its delay."""
        if self.current is None:
            return opened
        before = self.current.policy
        logged = _logged(opened.stored, before)
        return replace(opened, policy=waited(opened.policy, *logged, since=before.in_force_from))

    def _open_waited(self, stored: StoredPolicy) -> Opened:
        """What was in force before this process, with the end of the newest delay."""
        opened = self._open(stored)
        known = [policy for policy in self._state.policies_after(0) if policy.version <= stored.version]
        for before, after in reversed([*pairwise(known)]):
            if read_leaf(after.leaf, {"policy": PolicyLeaf}).delay_hours:
                logged = _logged(after, self._open(before).policy)
                return replace(opened, policy=waited(opened.policy, *logged, since=None))
        return opened

    def _verified(self, root: bytes, policy: bytes, documents: Mapping[str, bytes]) -> Opened:
        opened = self._open(StoredPolicy(0, "", 0, root, policy, dict(documents)))
        check_profile(opened.policy, self._profile)
        newest = self.waiting or self.current
        if newest is None:
            return opened
        new, old = opened.policy, newest.policy
        if new.version == old.version:
            if new.sha256 != old.sha256:
                raise ConflictError(f"another policy of version {new.version} was accepted", code="policy-fork")
            return newest
        if self.current is not None and new.sha256 == self.current.policy.sha256:
            return self.current
        if new.version < old.version:
            raise ConflictError(
                f"policy version {new.version}; version {old.version} was accepted before", code="policy-rollback"
            )
        check_successor(self.current.policy if self.current else None, new)
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
        leaf = policy_leaf(self.current.policy if self.current else None, policy, now=self._now()).encode()

        def stored_at(index: int) -> StoredPolicy:
            parts = opened.stored
            return StoredPolicy(policy.version, policy.sha256, index, parts.root, parts.policy, parts.documents, leaf)

        index = await log.append(leaf, lambda index: (add_policy(stored_at(index)),))
        return replace(opened, stored=stored_at(index))

    async def _genesis(self, policy: Policy, log: Log) -> None:
        origin = policy.services.log.origin
        log.signer = log_signer(self._keys, origin)
        if log.size == 0:
            leaf = GenesisLeaf(
                root_sha256=policy.roots[0],
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


def _logged(stored: StoredPolicy, trusted: Policy) -> tuple[PolicyLeaf, datetime]:
    """Its leaf, and when that was cosigned for all to see by those whom ``trusted`` names."""
    leaf = read_leaf(stored.leaf, {"policy": PolicyLeaf})
    cosigned = TlogProof.parse(stored.proof).verify(stored.leaf, trusted.log_trust).cosigned.median_time
    if cosigned is None:
        raise UnavailableError("the policy leaf has no cosignature", code="no-quorum")
    return leaf, cosigned


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
