# SPDX-License-Identifier: Apache-2.0
"""How often keys and signing policies were used in the last 24 hours, as the gate's own intents say."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from signwright.policy.facts import Counters
from signwright.signer.gate.state import Usage

DAY = 24 * 3600


class UsageCounters:
    """Filled from the state at the start, then kept in step with it. Times in seconds since 1970."""

    def __init__(self, usages: Iterable[Usage]) -> None:
        self._usages: deque[Usage] = deque()
        self._counts: dict[str, int] = {}
        for usage in usages:
            self.add(usage)

    def add(self, usage: Usage) -> None:
        self._usages.append(usage)
        self._count(usage, usage.operations)

    def counts(self, key: str, signing_policy: str, *, now: int) -> Counters:
        """``key``: hex digest of its SPKI; ``signing_policy``: ``project/name``."""
        while self._usages and self._usages[0].time <= now - DAY:
            usage = self._usages.popleft()
            self._count(usage, -usage.operations)
        return Counters(self._counts.get(f"key {key}", 0), self._counts.get(f"policy {signing_policy}", 0))

    def _count(self, usage: Usage, operations: int) -> None:
        for name in (f"key {usage.key}", f"policy {usage.signing_policy}"):
            self._counts[name] = self._counts.get(name, 0) + operations
