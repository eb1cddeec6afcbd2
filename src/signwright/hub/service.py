# SPDX-License-Identifier: Apache-2.0
"""The parts of a running hub, as the web layer sees them, and the adoption of a new policy."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TypeVar

import structlog

from signwright.errors import ConflictError, DeniedError
from signwright.hub.adapters.artifacts import ArtifactStore
from signwright.hub.adapters.database.database import Database
from signwright.hub.adapters.database.keeping import add_keepers_word, add_policy, put_in_force
from signwright.hub.policies import open_bundle
from signwright.hub.settings import HubSettings
from signwright.hub.standing import Standing, opened_word
from signwright.hub.wakeups import Wakeups
from signwright.hub.web.auth import Keyring
from signwright.hub.workflow import sweep
from signwright.hub.workflow.ports import Json, KeepersWord, Records, ScannerPort
from signwright.policy.facts import VerifiedFreshness
from signwright.policy.halting import check_flood
from signwright.policy.policy import Policy
from signwright.policy.succession import policy_leaf

T = TypeVar("T")
log = structlog.get_logger()

EVENTS_HEAD_SECONDS = 3600


@dataclass(frozen=True, slots=True)
class PolicyInForce:
    """Replaced as a whole by a higher version; ``bundle``: the answer of ``GET /v1/policy``."""

    policy: Policy
    bundle: bytes


@dataclass(frozen=True, slots=True)
class WaitingPolicy(PolicyInForce):
    """One that weakens a live organisation: it counts when the signer says that it does. ``since``: when it came."""

    since: datetime


@dataclass(slots=True)
class Hub:
    """One process. ``current`` is read and replaced in the event loop only."""

    settings: HubSettings
    database: Database
    store: ArtifactStore
    scanner: ScannerPort
    keyring: Keyring
    wakeups: Wakeups
    current: PolicyInForce
    clock: Callable[[], datetime]
    log_folder: Path
    waiting: WaitingPolicy | None = None
    standing: Standing = field(default_factory=Standing)
    #: The newest one, verified under the policy in force.
    freshness: VerifiedFreshness | None = None
    #: What the courier said last of the gate; a claim.
    signer: Json | None = None
    #: Hashing and writing of uploads, scans, and other things that block.
    threads: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(8, thread_name_prefix="hub-io"))
    busy_uploads: set[str] = field(default_factory=set)
    head_offered: tuple[int, float] = (0, float("-inf"))

    @property
    def policy(self) -> Policy:
        return self.current.policy

    async def in_thread(self, call: Callable[[], T]) -> T:
        """Run something that blocks off the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self.threads, call)

    @property
    def revoked(self) -> frozenset[str]:
        """Credentials and people that the newest freshness statement revokes (`VerifiedFreshness.revoked`)."""
        return self.freshness.revoked if self.freshness else frozenset()

    async def adopt(self, content: bytes, *, who: str) -> Policy:
        """Take a new signed policy; versions only go up. One that weakens a live organisation waits for the signer.

        Every open request is decided again under what is in force.
        """
        pinned = self.settings.policy_root_sha256
        policy, bundle = await self.in_thread(lambda: open_bundle(content, pinned_root_sha256=pinned))
        if policy.sha256 in {self.policy.sha256, self.waiting.policy.sha256 if self.waiting else ""}:
            return policy
        if self.policy.root_sha256 not in policy.roots:  # a keeper who was replaced, with keys that still fit
            text = f"policy under root {policy.root.version} that does not come from root {self.policy.root.version}"
            raise DeniedError(text, code="root-rollback")
        now = self.clock()
        waits = policy_leaf(self.policy, policy, now=now).delay_hours > 0
        # The table refuses a version twice; the highest that was written is the one in force.
        await self.database.write(partial(add_policy, policy=policy, bundle=bundle, who=who, now=now, waits=waits))
        if policy.version <= max(self.policy.version, self.waiting.policy.version if self.waiting else 0):
            raise ConflictError("another policy came first", code="policy-version")
        if waits:
            self.waiting = WaitingPolicy(policy, bundle, now)
            log.info("policy waits", version=policy.version, sha256=policy.sha256, who=who)
            self.wakeups.ring("sign")
        else:
            await self._take_into_force(PolicyInForce(policy, bundle), who=who)
        return policy

    async def promote(self, version: int, *, who: str) -> None:
        """The signer has the policy of this version in force."""
        waiting = self.waiting
        if waiting is None or version < waiting.policy.version:
            return
        await self.database.write(partial(put_in_force, policy=waiting.policy, who=who))
        if waiting is self.waiting:
            await self._take_into_force(PolicyInForce(waiting.policy, waiting.bundle), who=who)

    async def _take_into_force(self, new: PolicyInForce, *, who: str) -> None:
        self.current, self.waiting = new, None
        self.set_standing(self.standing)
        log.info("policy adopted", version=new.policy.version, sha256=new.policy.sha256, who=who)
        await self.decide_all_again()
        self.wakeups.ring("sign")

    def set_standing(self, standing: Standing) -> None:
        """Under the policy in force."""
        self.standing = standing
        self.freshness = standing.verified_freshness(self.policy)

    async def take_word(self, kind: str, content: bytes, *, who: str) -> KeepersWord:
        """Keep a keeper's word and wake the courier with it; the same one again changes nothing.

        The courier is woken before open requests are decided again.
        """
        now = self.clock()
        word, ends = opened_word(self.policy, kind, content, now=now)
        word = self.standing.resumed(word)
        if kind == "halt" and word.resumed_at is None and not self.standing.has(word):
            check_flood(self.policy, word.envelope, self.standing.unanswered(self.policy.version))
        if await self.database.write(partial(add_keepers_word, word=word, ends=ends, who=who, now=now)):
            self.set_standing(self.standing.with_word(word, ends))
            self.wakeups.ring("words")
            self.wakeups.ring("sign")
            log.info("keepers' word", kind=kind, statement=word.digest, number=word.number, who=who)
            await self.decide_all_again()
        return word

    async def decide_all_again(self) -> None:
        """After another policy came into force, also while this hub was down."""
        open_ids = await self.database.write(_open_ids)
        for start in range(0, len(open_ids), sweep.BATCH):
            some = open_ids[start : start + sweep.BATCH]
            again = partial(sweep.decide_again, policy=self.policy, request_ids=some, now=self.clock())
            await self.database.write(again)

    def events_head(self) -> Json | None:
        """The head of the event chain, when it is time to put it into the log again."""
        count, offered = self.head_offered
        head, now = self.database.head, asyncio.get_running_loop().time()
        if head.count == count or now - offered < EVENTS_HEAD_SECONDS:
            return None
        self.head_offered = (head.count, now)
        return {"head": head.sha256, "count": head.count}


def _open_ids(records: Records) -> list[str]:
    return records.open_ids()
