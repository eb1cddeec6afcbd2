# SPDX-License-Identifier: Apache-2.0
"""The courier's life: poll the hub, hand policies and jobs to the gate, bring back results; come back after each
failure.

It decides nothing and keeps nothing: what is lost on the way is asked for again, and the gate answers the same request
with the same result.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

import structlog

from signwright.errors import ConflictError, SignwrightError, UnavailableError
from signwright.signer.courier.deliveries import Deliveries
from signwright.signer.courier.errands import Errands
from signwright.signer.courier.gate import GateLink, sign_message
from signwright.signer.courier.hub import CarriedJob, Hub, Work
from signwright.signer.courier.settings import CourierSettings
from signwright.signer.courier.standing import Standing

_log = structlog.get_logger("signwright.courier")

FIRST_PAUSE, LONGEST_PAUSE = 0.2, 15.0
REPORT_SECONDS = 0.5
#: Tries to bring one result home; afterwards the hub hands the job out again.
DELIVERIES = 8
#: So long everything else may wait for the gate before keepers' words are asked for beside it.
BUSY_SECONDS = 0.2


class BackOff:
    """Pauses that double, with a little chance in them so that many do not come back at once."""

    def __init__(self) -> None:
        self._pause = FIRST_PAUSE

    def reset(self) -> None:
        self._pause = FIRST_PAUSE

    async def wait(self) -> None:
        await asyncio.sleep(self._pause * (0.5 + random.random() / 2))  # noqa: S311 - no secret
        self._pause = min(2 * self._pause, LONGEST_PAUSE)


class Courier:
    """``errands`` gets a way to the open connection, hence the function."""

    def __init__(
        self, settings: CourierSettings, hub: Hub, *, errands: Callable[[Callable[[], GateLink]], Errands]
    ) -> None:
        self._settings = settings
        self._hub = hub
        self._errands = errands(self._open_link)
        self._link: GateLink | None = None
        self._jobs: dict[str, asyncio.Task[None]] = {}
        self._deliveries = Deliveries(hub, under_way=lambda: len(self._jobs))
        self._names: dict[int, CarriedJob] = {}
        self._states: dict[CarriedJob, str] = {}
        self._changed: set[CarriedJob] = set()

    def _open_link(self) -> GateLink:
        if self._link is None:
            raise UnavailableError("the gate is not connected", code="no-gate")
        return self._link

    async def run(self, *, on_ready: Callable[[], None]) -> None:
        """Until cancelled. ``on_ready``: called once, when the gate is connected."""
        back_off, announced = BackOff(), False
        while True:
            try:
                link = await GateLink.connect(self._settings.gate, errand=self._errands.run, progress=self._progress)
            except UnavailableError as problem:
                _log.warning("gate", reason=problem.message)
                await back_off.wait()
                continue
            back_off.reset()
            self._link = link
            if not announced:
                on_ready()
                announced = True
            await self._serve(link)
            await back_off.wait()

    async def _serve(self, link: GateLink) -> None:
        """Poll as long as the gate is there."""
        reading = asyncio.create_task(link.run())
        polling = asyncio.create_task(self._poll_rounds(link))
        reporting = asyncio.create_task(self._report())
        delivering = asyncio.create_task(self._deliveries.run())
        try:
            await asyncio.wait({reading, polling}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._link = None
            work = [reading, polling, reporting, *self._jobs.values(), delivering]
            for task in work:
                task.cancel()
            for outcome in await asyncio.gather(*work, return_exceptions=True):
                if isinstance(outcome, SignwrightError):
                    _log.warning("gate", reason=outcome.message)

    async def _poll_rounds(self, link: GateLink) -> None:
        back_off, standing = BackOff(), Standing(link)
        while True:
            room = self._settings.batch - len(self._jobs)
            if room <= 0:
                await self._watch(standing, set(self._jobs.values()))
                continue
            try:
                work = await self._hub.poll(most=room, wait=self._settings.wait_seconds, carried=standing.carried)
                await self._take(link, standing, work)
            except (UnavailableError, ConflictError) as problem:
                _log.warning("hub", reason=problem.message)
                await back_off.wait()
                continue
            back_off.reset()

    async def _take(self, link: GateLink, standing: Standing, work: Work) -> None:
        """One answer of the hub, in the order that counts; jobs come last."""
        if work.policy is not None and work.policy.sha256 != standing.carried.policy_sha256:
            handing = asyncio.create_task(standing.hand_over(work.policy))
            try:
                await self._watch(standing, {handing})
                await handing
            finally:
                handing.cancel()
        if work.words is not None:
            await standing.hand_on(work.words)
        if work.events_head is not None:
            await link.call(link.number(), {"type": "hub-events", **work.events_head})
        for job in work.jobs:
            self._begin(link, job)
        await standing.look()

    async def _watch(self, standing: Standing, tasks: set[asyncio.Task[None]]) -> None:
        """Until one of ``tasks`` ends. When that takes longer than a moment, keepers' words are asked for meanwhile:
        a halt waits for nothing.
        """
        done, _ = await asyncio.wait(tasks, timeout=BUSY_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        if done:
            return
        watching = asyncio.create_task(self._words_alone(standing))
        try:
            await asyncio.wait({*tasks, watching}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)

    async def _words_alone(self, standing: Standing) -> None:
        back_off = BackOff()
        while True:
            try:
                work = await self._hub.poll(most=0, wait=self._settings.wait_seconds, carried=standing.carried)
                if work.words is not None:
                    await standing.hand_on(work.words)
                back_off.reset()
            except (UnavailableError, ConflictError) as problem:
                _log.warning("hub", reason=problem.message)
                await back_off.wait()

    def _begin(self, link: GateLink, job: CarriedJob) -> None:
        if job.id in self._jobs:
            self._renew(job)
            return
        task = asyncio.create_task(self._do(link, job))
        self._jobs[job.id] = task
        task.add_done_callback(lambda _: self._jobs.pop(job.id, None))

    def _renew(self, job: CarriedJob) -> None:
        """The gate still has it (it may wait for a person for hours), and the hub handed it out again: from now on the
        hub hears of it under the newer lease.
        """
        for number, known in self._names.items():
            if known.id == job.id and known != job:
                self._names[number] = job
                self._states[job] = self._states.pop(known, "queued")
                self._changed.discard(known)
                self._changed.add(job)

    async def _do(self, link: GateLink, job: CarriedJob) -> None:
        """One job: to the gate and home again."""
        number = link.number()
        self._names[number], self._states[job] = job, "queued"
        parts = [job.request, *job.approvals, *job.evidence]
        message = sign_message(job.approvals, job.evidence)
        back_off = BackOff()
        try:
            answer = await link.call(number, message, parts)
            for _ in range(DELIVERIES):
                try:
                    await self._deliveries.deliver(self._names[number], answer)
                    return
                except UnavailableError as problem:
                    _log.warning("result", job=job.id, reason=problem.message)
                    await back_off.wait()
        except (UnavailableError, ConflictError) as problem:
            _log.warning("job", job=job.id, reason=problem.message)
        finally:
            self._states.pop(self._names.pop(number), None)

    def _progress(self, number: int, state: str) -> None:
        job = self._names.get(number)
        if job is not None:
            self._states[job] = state
            self._changed.add(job)

    async def _report(self) -> None:
        """Now and then one call for all jobs: those that got on, and those whose lease runs down."""
        told: dict[CarriedJob, float] = {}
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(REPORT_SECONDS)
            now = loop.time()
            aging = {job for job in self._states if now - told.setdefault(job, now) > job.lease_seconds / 3}
            due = {job: self._states[job] for job in (self._changed | aging) if job in self._states}
            self._changed.clear()
            told = {job: now if job in due else since for job, since in told.items() if job in self._states}
            try:
                if due:
                    await self._hub.progress(due)
            except (UnavailableError, ConflictError) as problem:
                _log.info("progress", reason=problem.message)  # only news; the result is what counts
