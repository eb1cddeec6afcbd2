# SPDX-License-Identifier: Apache-2.0
"""Results on their way home: what waits while one call is under way goes along with the next."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from signwright.errors import SignwrightError, UnavailableError
from signwright.model.framing import Frame
from signwright.signer.courier.hub import CarriedJob, Hub

#: Results in one call, and bytes of them beyond which nothing more is added.
MOST, MOST_BYTES = 64, 8 << 20
#: How long a result waits for those of other jobs under way.
COMPANY_SECONDS = 0.003


@dataclass(frozen=True, slots=True)
class _Waiting:
    job: CarriedJob
    answer: Frame
    done: asyncio.Future[None]

    @property
    def size(self) -> int:
        return sum(map(len, self.answer.parts))


class Deliveries:
    """`run` is its life; `deliver` may be called by many tasks at once. ``under_way``: how many jobs there are now."""

    def __init__(self, hub: Hub, *, under_way: Callable[[], int] = lambda: 0) -> None:
        self._hub = hub
        self._under_way = under_way
        self._waiting: deque[_Waiting] = deque()
        self._wake = asyncio.Event()

    async def deliver(self, job: CarriedJob, answer: Frame) -> None:
        """Returns when the hub has taken it; raises like `Hub.result`."""
        one = _Waiting(job, answer, asyncio.get_running_loop().create_future())
        self._waiting.append(one)
        self._wake.set()
        await one.done

    async def run(self) -> None:
        """Until cancelled; then whoever waits gets `UnavailableError`."""
        group: list[_Waiting] = []
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                if self._under_way() > len(self._waiting):
                    await asyncio.sleep(COMPANY_SECONDS)
                while group := self._group():
                    await self._send(group)
        finally:
            for one in (*group, *self._waiting):
                if not one.done.done():
                    one.done.set_exception(UnavailableError("the courier stops", code="stopping"))
            self._waiting.clear()

    def _group(self) -> list[_Waiting]:
        group: list[_Waiting] = []
        size = 0
        while self._waiting and len(group) < MOST and size < MOST_BYTES:
            group.append(self._waiting.popleft())
            size += group[-1].size
        return group

    async def _send(self, group: list[_Waiting]) -> None:
        """All in one call; when the hub does not take that, each in a call of its own."""
        try:
            outcomes = await self._hub.results([(one.job, one.answer) for one in group])
        except SignwrightError:
            await asyncio.gather(*map(self._send_alone, group))
            return
        for one, problem in zip(group, outcomes, strict=True):
            _settle(one, problem)

    async def _send_alone(self, one: _Waiting) -> None:
        try:
            await self._hub.result(one.job, one.answer)
        except SignwrightError as problem:
            _settle(one, problem)
        else:
            _settle(one, None)


def _settle(one: _Waiting, problem: SignwrightError | None) -> None:
    if one.done.done():  # whoever waited was cancelled
        return
    if problem is None:
        one.done.set_result(None)
    else:
        one.done.set_exception(problem)
