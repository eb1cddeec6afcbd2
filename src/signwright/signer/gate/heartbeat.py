# SPDX-License-Identifier: Apache-2.0
"""Leaves that no request asks for: the hourly epoch, and the head of the hub's own chain of events."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime

from signwright.errors import MalformedError, SignwrightError
from signwright.model.framing import Frame
from signwright.model.times import format_time
from signwright.signer.channel import number_field, text_field
from signwright.signer.gate.log import Log
from signwright.transparency.leaf import EpochLeaf, HubEventsLeaf


async def beat(log: Log, *, seconds: float, now: Callable[[], datetime]) -> None:
    """An epoch leaf now and every ``seconds`` until cancelled, from the first policy on."""
    while True:
        try:
            if log.signer is not None and log.size:
                await log.append(EpochLeaf(time=format_time(now())).encode())
        except SignwrightError:
            return  # the log is broken: the missing heartbeat is the alarm
        await asyncio.sleep(seconds)


class HubEvents:
    """At most one leaf in ``seconds``: what the hub says of itself is worth recording and must not fill the log."""

    def __init__(
        self, log: Log, *, seconds: float, now: Callable[[], datetime], monotonic: Callable[[], float]
    ) -> None:
        self._log = log
        self._seconds = seconds
        self._now = now
        self._monotonic = monotonic
        self._next = 0.0

    async def record(self, frame: Frame) -> dict[str, object]:
        """The answer to a ``hub-events`` message; raises `MalformedError`."""
        head, count = text_field(frame.message, "head"), number_field(frame.message, "count")
        if len(head) != 64 or set(head) - set("0123456789abcdef"):
            raise MalformedError("hub events: the head is not a SHA-256 in hex")
        if self._monotonic() < self._next or self._log.signer is None:
            return {"ok": True, "logged": False}
        self._next = self._monotonic() + self._seconds
        leaf = HubEventsLeaf(head=head, count=count, time=format_time(self._now()))
        return {"ok": True, "logged": True, "index": await self._log.append(leaf.encode())}
