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

from signwright.errors import ConflictError
from signwright.hub.adapters.artifacts import ArtifactStore
from signwright.hub.adapters.database.database import Database
from signwright.hub.adapters.database.keeping import add_policy
from signwright.hub.policies import open_bundle
from signwright.hub.settings import HubSettings
from signwright.hub.wakeups import Wakeups
from signwright.hub.web.auth import Keyring
from signwright.hub.workflow import sweep
from signwright.hub.workflow.ports import Json, Records, ScannerPort
from signwright.policy.policy import Policy

T = TypeVar("T")
log = structlog.get_logger()

EVENTS_HEAD_SECONDS = 3600


@dataclass(frozen=True, slots=True)
class PolicyInForce:
    """Replaced as a whole by a higher version; ``bundle``: the answer of ``GET /v1/policy``."""

    policy: Policy
    bundle: bytes


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

    async def adopt(self, content: bytes, *, who: str) -> Policy:
        """Take a new signed policy into force and decide every open request again. Versions only go up."""
        pinned = self.settings.policy_root_sha256
        policy, bundle = await self.in_thread(lambda: open_bundle(content, pinned_root_sha256=pinned))
        if policy.sha256 == self.policy.sha256:
            return policy
        now = self.clock()
        # The table refuses a version twice; the highest that was written is the one in force.
        await self.database.write(partial(add_policy, policy=policy, bundle=bundle, who=who, now=now))
        if policy.version <= self.policy.version:
            raise ConflictError("another policy came first", code="policy-version")
        self.current = PolicyInForce(policy, bundle)
        log.info("policy adopted", version=policy.version, sha256=policy.sha256, who=who)
        await self.decide_all_again()
        self.wakeups.ring("sign")
        return policy

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
