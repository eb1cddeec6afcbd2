# SPDX-License-Identifier: Apache-2.0
"""Refusals in the log: codes and counts only, gathered, and for each request at most one leaf ever."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime

from signwright.errors import SignwrightError
from signwright.model.times import format_time
from signwright.signer.gate.log import Log
from signwright.signer.gate.state import State, add_denied
from signwright.transparency.leaf import DenyLeaf

#: Requests that are remembered between two flushes; a flood beyond is counted under nobody's name.
MAX_PENDING = 1024
#: Leaves of one flush.
MAX_LEAVES = 64
_CODE = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")


@dataclass(slots=True)
class _Denied:
    codes: set[str] = field(default_factory=set)
    count: int = 0


class DenyBook:
    """``now``: aware UTC; ``seconds``: between two flushes."""

    def __init__(self, log: Log, state: State, *, now: Callable[[], datetime], seconds: float) -> None:
        self._log = log
        self._state = state
        self._now = now
        self._seconds = seconds
        self._pending: dict[str, _Denied] = {}

    def denied(self, request: str, codes: Iterable[str]) -> None:
        """Note a refusal of ``request`` (digest)."""
        if request not in self._pending and len(self._pending) >= MAX_PENDING:
            return
        entry = self._pending.setdefault(request, _Denied())
        entry.count += 1
        entry.codes |= {code for code in codes if _CODE.fullmatch(code)}

    async def run(self) -> None:
        """Flush now and then until cancelled."""
        while True:
            await asyncio.sleep(self._seconds)
            try:
                await self.flush()
            except SignwrightError:
                continue  # the log is broken or has no name yet; what was noted stays

    async def flush(self) -> None:
        """Append the leaves that are due."""
        for request in list(self._pending)[:MAX_LEAVES]:
            entry = self._pending[request]
            if not self._state.was_denied(request):
                codes = tuple(sorted(entry.codes)[:16])
                leaf = DenyLeaf(request=request, codes=codes, count=entry.count, time=format_time(self._now()))
                await self._log.append(leaf.encode(), lambda _, request=request: (add_denied(request),))  # type: ignore[misc]
            del self._pending[request]
