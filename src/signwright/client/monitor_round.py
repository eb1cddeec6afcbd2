# SPDX-License-Identifier: Apache-2.0
"""One look of the monitor at everything it can reach: log, witnesses, policy, receipts. Alarms come out.

What cannot be verified is an alarm; what cannot be reached is an error of the caller's own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Literal

from signwright.client.alarms.base import Alarm, Hours, Limits, Severity, Site
from signwright.client.alarms.history import History
from signwright.client.alarms.people import PolicyFacts, facts_of, other_policy, policy_changes
from signwright.client.hub import Hub
from signwright.client.log_reader import LogReader
from signwright.client.monitor_state import MonitorState, default_file, load_state, save_state
from signwright.client.monitoring import Checked, check_log
from signwright.client.recounting import PUBLISHED_PAUSE, PUBLISHED_TRIES, Counted, Recounter
from signwright.client.trust import TrustFile
from signwright.client.witness_view import Asked, ask_all, caught_up, compare
from signwright.errors import DeniedError, MalformedError, NotFoundError, VerificationError
from signwright.policy.policy import Policy, spki_sha256
from signwright.statements.models import SeenCheckpoint


@dataclass(frozen=True)
class Round:
    """``fresh``: alarms that are told once; ``standing``: those that are found again until they are over; ``receipts``:
    counted again, None when none could be looked at; ``signed``: intents with a signature in the whole log.
    """

    origin: str
    size: int
    leaves: int
    signed: int
    fresh: list[Alarm]
    standing: list[Alarm]
    receipts: int | None = None

    @property
    def alarms(self) -> list[Alarm]:
        return [*self.fresh, *self.standing]

    @property
    def errors(self) -> int:
        return sum(alarm.severity is Severity.ERROR for alarm in self.alarms)

    @property
    def warnings(self) -> int:
        return len(self.alarms) - self.errors

    @property
    def ok(self) -> bool:
        return not self.errors


@dataclass
class Watch:
    """``read``: the log as it is now; ``seats``: the hub as each caller sees it, None for no receipts; ``everything``:
    the caller is a person, who may see all; ``policy``: the hub's policy, verified, None where there is no hub;
    ``file``: of the state, None for the log's own.
    """

    believed: TrustFile
    read: Callable[[], LogReader]
    limits: Limits = field(default_factory=Limits)
    hours: Hours | None = None
    custodian: Literal["off", "release", "required"] | None = None
    witnesses: list[Asked] = field(default_factory=list)
    seats: Callable[[], Iterable[Hub]] | None = None
    everything: bool = False
    policy: Callable[[], Policy] | None = None
    file: Path | None = None
    pause: Callable[[float], None] = time.sleep

    def look(self, *, now: datetime, from_start: bool = False) -> Round:
        """Raises `UnavailableError`, `ConfigurationError` (a state that does not read) and what is not the log's."""
        trust = self.believed.log_trust
        file = self.file or default_file(trust)
        before = load_state(file, origin=trust.origin)
        policy, facts, alarms = self._current(before)
        views, silent = ask_all(self.witnesses, trust)
        try:
            log = caught_up(self.read(), views, self.read, tries=PUBLISHED_TRIES, pause=self._wait)
        except (VerificationError, MalformedError) as problem:
            return Round(trust.origin, 0, 0, 0, alarms, [*silent, Alarm(problem.code, problem.message)])
        site = self._site(policy)
        history = None if before is None or from_start else before.history
        checked = check_log(log, site, seen=before.seen if before else None, history=history, now=now)
        standing = [*silent, *compare(log, views, now=now), *checked.standing]
        known = checked.history or History()
        if facts is not None:
            standing += other_policy(facts, known)
        counted = self._receipts(log, before, known, from_start=from_start, now=now)
        standing += counted.standing if counted else []
        if checked.history is not None:
            self._remember(file, log, checked, before=before, facts=facts, counted=counted)
        fresh = [*alarms, *checked.alarms, *(counted.alarms if counted else [])]
        receipts = counted.receipts if counted else None
        size = log.checkpoint.size
        return Round(trust.origin, size, checked.leaves, known.signed, fresh, standing, receipts)

    def _current(self, before: MonitorState | None) -> tuple[Policy | None, PolicyFacts | None, list[Alarm]]:
        """The hub's policy, and what is new in it since the one that is remembered."""
        if self.policy is None:
            return None, None, []
        try:
            policy = self.policy()
        except (VerificationError, MalformedError, DeniedError, NotFoundError) as problem:
            return None, None, [Alarm(problem.code, f"the hub's policy: {problem.message}")]
        facts = facts_of(policy)
        return policy, facts, list(policy_changes(before.policy if before else None, facts))

    def _site(self, policy: Policy | None) -> Site:
        keys = policy.keys.keys.values() if policy else ()
        quotas = {spki_sha256(key): key.max_per_day for key in keys if key.max_per_day is not None}
        trust = self.believed
        return Site(
            trust.trial, trust.log.origin, trust.policy_root_sha256, self.limits, quotas, self.hours, self.custodian
        )

    def _receipts(
        self, log: LogReader, before: MonitorState | None, known: History, *, from_start: bool, now: datetime
    ) -> Counted | None:
        if self.seats is None:
            return None
        counted = frozenset(before.counted if before and not from_start else ())
        recounter = Recounter(self.believed, self.read, counted, self.limits.result_within, self.pause)
        if self.everything:
            (hub,) = self.seats()
            return recounter.count_logged(log, hub, known.signed_requests(), now=now)
        return recounter.count_listed(log, self.seats())

    def _remember(
        self,
        file: Path,
        log: LogReader,
        checked: Checked,
        *,
        before: MonitorState | None,
        facts: PolicyFacts | None,
        counted: Counted | None,
    ) -> None:
        checkpoint = log.checkpoint
        if not checkpoint.size:
            return
        seen = SeenCheckpoint(origin=checkpoint.origin, size=checkpoint.size, root=checkpoint.root.hex())
        requests = counted.requests if counted else before.counted if before else []
        policy = facts or (before.policy if before else None)
        save_state(file, MonitorState(seen=seen, history=checked.history, policy=policy, counted=requests))

    def _wait(self) -> None:
        self.pause(PUBLISHED_PAUSE)
