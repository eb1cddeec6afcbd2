# SPDX-License-Identifier: Apache-2.0
"""What a hub does without a caller: have artifacts scanned, return leases, expire requests, apply retention."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable
from functools import partial
from typing import TypeVar

import structlog

from signwright.errors import SignwrightError
from signwright.hub.adapters.database.keeping import purge, purgeable, stale_partials
from signwright.hub.adapters.database.records import SqlRecords
from signwright.hub.service import Hub
from signwright.hub.workflow import examine, sweep
from signwright.hub.workflow.ports import Claim, Json, RequestRecord

T = TypeVar("T")
log = structlog.get_logger()

#: Retention is looked at once in so many sweeps.
RETENTION_EVERY = 30


class Background:
    """The tasks of one hub."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._owner = f"hub-{os.getpid()}"
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin; call in the event loop."""
        scans = [self._scan_forever() for _ in range(self._hub.settings.limits.scans)]
        self._tasks = [asyncio.create_task(task) for task in (*scans, self._sweep_forever())]

    async def stop(self) -> None:
        """End the tasks; a scan that is cut off is done again after the next start."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _scan_forever(self) -> None:
        hub = self._hub
        lease = hub.settings.limits.lease_seconds
        while not hub.wakeups.closing:
            bell = hub.wakeups.bell("examine")
            claims = await _quietly(hub.database.write(self._claim))
            if not claims:
                await hub.wakeups.wait(bell, seconds=lease)
            for claim in claims or ():
                await _quietly(self._scan(claim))

    def _claim(self, records: SqlRecords) -> list[Claim]:
        lease, now = self._hub.settings.limits.lease_seconds, self._now()
        return records.jobs.claim("examine", owner=self._owner, now=now, lease=lease, most=1)

    async def _scan(self, claim: Claim) -> None:
        """Every artifact that wants a verdict, one after the other, while a heartbeat keeps the lease."""
        hub = self._hub
        beating = asyncio.create_task(self._beat(claim))
        try:
            record, artifacts = await hub.database.read(partial(self._wanted, claim))
            if record is None:
                return
            verdicts = [await hub.in_thread(partial(self._ask, artifact)) for artifact in artifacts]
            store = partial(examine.store_verdicts, policy=hub.policy, claim=claim, verdicts=verdicts, now=hub.clock())
            await hub.database.write(store)
        except SignwrightError as problem:
            log.warning("scan postponed", request=claim.request_id, code=problem.code, detail=problem.message[:300])
            await hub.database.write(partial(examine.postpone, claim=claim, problem=problem, now=hub.clock()))
        finally:
            beating.cancel()

    def _wanted(self, claim: Claim, records: SqlRecords) -> tuple[RequestRecord | None, list[Json]]:
        record = records.find(claim.request_id)
        if record is None:
            return None, []
        return record, examine.unscanned(records, self._hub.policy, record, now=self._hub.clock())

    def _ask(self, artifact: Json) -> bytes:
        sha256 = str(artifact["sha256"])
        descriptor = self._hub.store.open(sha256)
        try:
            return self._hub.scanner.scan(
                descriptor, name=str(artifact["name"]), sha256=sha256, size=int(str(artifact["size"]))
            )
        finally:
            os.close(descriptor)

    async def _beat(self, claim: Claim) -> None:
        hub = self._hub
        lease = hub.settings.limits.lease_seconds
        while True:
            await asyncio.sleep(lease / 3)
            until = self._now() + lease
            await _quietly(hub.database.write(partial(_extend, claim=claim, until=until)))

    async def _sweep_forever(self) -> None:
        hub = self._hub
        turn = 0
        while not hub.wakeups.closing:
            await _quietly(hub.database.write(self._sweep))
            if turn % RETENTION_EVERY == 0:
                await _quietly(self._retain())
            turn += 1
            await asyncio.sleep(hub.settings.sweep_seconds)

    def _sweep(self, records: SqlRecords) -> None:
        hub, now = self._hub, self._hub.clock()
        sweep.return_leases(records, now=now)
        sweep.expire(records, hub.policy, now=now)
        sweep.wake_lost(records, now=now)
        records.jobs.ring_ready(now=int(now.timestamp()))

    async def _retain(self) -> None:
        """Delete what no policy wants to be kept; each deletion is an event."""
        hub, now = self._hub, self._now()
        for request_id in await hub.database.read(partial(purgeable, policy=hub.policy, now=now)):
            unused = await hub.database.write(partial(purge, request_id=request_id, now=now))
            for sha256 in unused:
                await hub.in_thread(partial(hub.store.remove, sha256))
            log.info("purged", request=request_id, contents=len(unused))
        known = await hub.database.write(partial(stale_partials, now=now))
        for name in hub.store.partials():
            if name not in known and name not in hub.busy_uploads:
                hub.store.drop_partial(name)

    def _now(self) -> int:
        return int(self._hub.clock().timestamp())


def _extend(records: SqlRecords, *, claim: Claim, until: int) -> bool:
    return records.jobs.extend("examine", claim.request_id, fence=claim.fence, until=until)


async def _quietly(work: Awaitable[T]) -> T | None:
    """A background task outlives whatever goes wrong in one round; the log says what it was."""
    try:
        return await work
    except SignwrightError as problem:
        log.warning("background work failed", code=problem.code, detail=problem.message[:300])
    except Exception:
        log.exception("background work failed")
    await asyncio.sleep(1)
    return None
