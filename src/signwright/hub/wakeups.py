# SPDX-License-Identifier: Apache-2.0
"""Long polls sleep here until something happens to what they wait for. Event loop only."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from signwright.hub.adapters.database.records import Notices
from signwright.hub.workflow.ports import RequestRecord


class Watch:
    """What a waiter sees of one request: the newest record and the result that came since it began to watch.

    ``result``: the frame as it was committed; None also for a large one.
    """

    def __init__(self) -> None:
        self.latest: RequestRecord | None = None
        self.result: bytes | None = None
        self.changed = asyncio.Event()


class Wakeups:
    """``closing`` ends every wait, so that a stopping hub does not hold its callers."""

    def __init__(self) -> None:
        self._watches: defaultdict[str, set[Watch]] = defaultdict(set)
        self._kinds: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self.closing = False

    def notify(self, notices: Notices) -> None:
        """Wake who waits for these requests or for jobs of these kinds."""
        for request_id, record in notices.records.items():
            for watch in self._watches.get(request_id, ()):
                watch.latest = record
                watch.result = notices.results.get(request_id, watch.result)
                watch.changed.set()
        for kind in notices.job_kinds:
            self.ring(kind)

    def ring(self, kind: str) -> None:
        """Wake who waits for ``kind``, each once."""
        bell = self._kinds.pop(kind, None)
        if bell is not None:
            bell.set()

    def close(self) -> None:
        """Wake everybody for good."""
        self.closing = True
        for kind in list(self._kinds):
            self.ring(kind)
        for watches in self._watches.values():
            for watch in watches:
                watch.changed.set()

    @contextmanager
    def watch(self, request_id: str) -> Iterator[Watch]:
        """Begin to watch before reading, so that nothing is missed in between."""
        watch = Watch()
        self._watches[request_id].add(watch)
        try:
            yield watch
        finally:
            self._watches[request_id].discard(watch)
            if not self._watches[request_id]:
                del self._watches[request_id]

    async def until(
        self, watch: Watch, record: RequestRecord, satisfied: Callable[[RequestRecord], bool], *, seconds: float
    ) -> RequestRecord:
        """The first record that is ``satisfied``, or the newest when the time is up or the hub stops."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        record = watch.latest or record
        while not satisfied(record) and not self.closing and (left := end - loop.time()) > 0:
            try:
                async with asyncio.timeout(left):
                    await watch.changed.wait()
            except TimeoutError:
                break
            watch.changed.clear()
            record = watch.latest or record
        return record

    @property
    def waiters(self) -> int:
        """How many requests somebody waits for."""
        return len(self._watches)

    def bell(self, kind: str) -> asyncio.Event:
        """Set at the next `ring` of ``kind``; take it before looking for work."""
        return self._kinds[kind]

    async def wait(self, bell: asyncio.Event, *, seconds: float) -> None:
        """Until the bell rings, the time is up, or the hub stops."""
        if self.closing:
            return
        try:
            async with asyncio.timeout(seconds):
                await bell.wait()
        except TimeoutError:
            return
