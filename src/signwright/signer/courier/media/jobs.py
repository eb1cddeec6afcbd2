# SPDX-License-Identifier: Apache-2.0
"""Requests in the vault: each is given to the gate until there is an answer, and the answer kept until somebody outside
has it.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import structlog

from signwright.errors import SignwrightError
from signwright.model.framing import encode_frame
from signwright.signer.courier.gate import GateLink, sign_message
from signwright.signer.courier.media import index
from signwright.signer.courier.media.store import MediaStore

_log = structlog.get_logger("signwright.courier")

MOST = 4 * index.MOST_JOBS
#: Before a request that the gate could not take, or that misses something, is offered again.
LATER_SECONDS, WAITING_SECONDS = 3.0, 30.0
#: States in which the gate is at work by itself; in any other it waits for a person or for a medium.
_AT_WORK = frozenset({"queued", "verifying", "deriving", "signing", "timestamping", "checking"})
#: Says nothing about the request: offered again at once.
_LATER = frozenset({"no-policy", "no-keyholder", "no-courier", "busy"})
FINAL = frozenset({"signed", "denied"})
#: No key can have been used for them, or not any more.
_ENDED = frozenset({"waiting", "failed", "unreadable", "brought"})
_STATE = re.compile("[a-z][a-z-]{0,40}")


@dataclass(slots=True)
class _Job:
    """``state``: the gate's word, then the outcome; ``result``: digest of the result frame."""

    row: index.Job
    state: str = "brought"
    result: str | None = None
    task: asyncio.Task[None] | None = None


class Jobs:
    """By the digest of the request's envelope. ``stirred``: called when the gate says something."""

    def __init__(self, store: MediaStore, *, stirred: Callable[[], None]) -> None:
        self._store = store
        self._stirred = stirred
        self._jobs: dict[str, _Job] = {}
        self._numbers: dict[int, _Job] = {}

    @property
    def known(self) -> set[str]:
        return set(self._jobs)

    @property
    def busy(self) -> bool:
        """The gate is at work on one of them."""
        return any(job.state in _AT_WORK and job.task is not None for job in self._jobs.values())

    @property
    def blobs(self) -> set[str]:
        """Digests of everything that they still need."""
        found: set[str] = set()
        for job in self._jobs.values():
            found |= {sha256 for _, sha256 in index.OutsideIndex(jobs=(job.row,)).named()}
            found |= {job.result} if job.result else set()
        return found

    def states(self) -> dict[str, str]:
        return {digest: job.state for digest, job in sorted(self._jobs.items())}

    def add(self, rows: Iterable[index.Job]) -> list[str]:
        """What a medium brought; what is here already stays as it is, unless it was waiting for what came now."""
        notes = []
        for row in rows:
            job = self._jobs.get(row.request)
            if job is not None and job.state == "unreadable":
                job = None  # it is brought again
            if job is not None and (job.row == row or job.state in FINAL or job.state in _AT_WORK):
                continue
            if job is None and len(self._jobs) >= MOST:
                notes.append(f"request {row.request[:16]}… is left out: {MOST} are here already")
                continue
            if job is not None and job.task is not None:
                if job.state not in {"waiting", "failed"}:
                    continue  # it is logged, or before a custodian
                job.task.cancel()
            self._jobs[row.request] = _Job(row)
        return notes

    def begin(self, link: GateLink) -> None:
        """Give the gate what it was not given yet."""
        for job in self._jobs.values():
            if job.task is None and job.state not in FINAL:
                job.state = "queued"
                job.task = asyncio.create_task(self._run(link, job))

    async def pause(self) -> None:
        """The gate is gone: everything without an answer is given to the next one."""
        tasks = [job.task for job in self._jobs.values() if job.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for job in self._jobs.values():
            job.task = None
            if job.state not in FINAL:
                job.state, job.result = "brought", None

    def progress(self, number: int, state: str) -> None:
        job = self._numbers.get(number)
        if job is not None:
            self._stirred()
            job.state = state[:40]

    async def _run(self, link: GateLink, job: _Job) -> None:
        while True:
            try:
                outcome, code = await self._ask(link, job)
            except SignwrightError as problem:
                _log.warning("request", request=job.row.request, reason=problem.message)
                job.state = "unreadable"
                return
            self._stirred()
            if outcome in FINAL:
                job.state = outcome
                return
            again = outcome == "failed" and code in _LATER
            job.state = "queued" if again else outcome
            if outcome == "failed" and not again:
                return
            await asyncio.sleep(LATER_SECONDS if again else WAITING_SECONDS)

    async def _ask(self, link: GateLink, job: _Job) -> tuple[str, str]:
        """Outcome and code; the result frame is kept."""
        row, number = job.row, link.number()
        request = self._store.read(row.request, "request")
        approvals = [self._store.read(sha256, "approval") for sha256 in row.approvals]
        evidence = [self._store.read(sha256, "evidence") for sha256 in row.evidence]
        message = {**sign_message(approvals, evidence), "eager": True}
        self._numbers[number] = job
        try:
            answer = await link.call(number, message, [request, *approvals, *evidence])
        finally:
            del self._numbers[number]
        job.result = self._store.put(encode_frame({**answer.message, "id": 0}, answer.parts))
        return str(answer.message.get("outcome"))[:40], str(answer.message.get("code"))

    # ── outwards ────────────────────────────────────────────────────────────────────────────────────────────────

    def results(self) -> tuple[tuple[index.Result, ...], set[str]]:
        """Every answer that there is; and those requests that the hub has to offer again, which are over here."""
        rows = tuple(
            index.Result(request=digest, result=job.result)
            for digest, job in sorted(self._jobs.items())
            if job.result is not None and job.state in {*FINAL, "waiting", "failed"}
        )
        return rows, {row.request for row in rows if self._jobs[row.request].state not in FINAL}

    def held(self, over: set[str]) -> tuple[index.Held, ...]:
        """What needs not be brought again, without those that are ``over``."""
        return tuple(
            index.Held(request=digest, state=job.state if _STATE.fullmatch(job.state) else "at-work")
            for digest, job in sorted(self._jobs.items())
            if digest not in over and job.state != "unreadable"
        )

    def drop(self, over: set[str]) -> None:
        for digest in over & set(self._jobs):
            task = self._jobs.pop(digest).task
            if task is not None:
                task.cancel()

    def keep_only(self, open_: set[str]) -> int:
        """Forget answers that the hub has; how many. What the gate is at work on stays: it may have used its key."""
        done = {digest for digest, job in self._jobs.items() if digest not in open_ and job.state not in _AT_WORK}
        done = {digest for digest in done if self._jobs[digest].state in {*FINAL, *_ENDED}}
        self.drop(done)
        return len(done)
