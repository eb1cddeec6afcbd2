# SPDX-License-Identifier: Apache-2.0
"""The log read again with suspicion: what rules can be seen in its leaves, and who broke one.

A monitor sees digests, not requests: whether people really approved is counted by `signwright.client.authorisation`
for every receipt at hand. The rules are in `signwright.client.alarms.table`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from signwright.client.alarms.base import Alarm, Look, Site
from signwright.client.alarms.history import History, time_text
from signwright.client.alarms.standing import STANDING
from signwright.client.alarms.table import alarms_about
from signwright.client.log_reader import LogReader
from signwright.errors import NotFoundError, SignwrightError, VerificationError
from signwright.model.times import parse_time
from signwright.statements.models import SeenCheckpoint
from signwright.transparency.leaf import parse_leaf
from signwright.transparency.merkle import EMPTY_ROOT

#: More are counted and not kept: a log that is wrong throughout needs no longer list.
MAX_ALARMS = 1000
#: Codes of errors that the log's files give rise to; others are our own trouble.
_BROKEN_FILES = ("bad-bundle", "bad-tile")


@dataclass
class Monitor:
    """Feed leaves in order with `see`, then ask `end`. ``history``: of the leaves that were seen before."""

    site: Site
    history: History = field(default_factory=History)
    alarms: list[Alarm] = field(default_factory=list)
    leaves: int = 0
    _more: int = 0

    def see(self, leaves: Iterable[tuple[int, bytes]]) -> None:
        """Look at each leaf; never raises for what stands in one."""
        for index, content in leaves:
            self.leaves += 1
            try:
                leaf = parse_leaf(content)
            except SignwrightError as problem:
                self._keep(Alarm("bad-leaf", problem.message, index))
                self.history.size = index + 1
                continue
            text = time_text(leaf)
            look = Look(self.history, index, leaf, parse_time(text) if text else None, self.site)
            for alarm in alarms_about(look):
                self._keep(alarm)
            self.history.add(index, leaf, limits=self.site.limits)

    def told(self) -> list[Alarm]:
        """The alarms about the leaves that were seen."""
        rest = [Alarm("more-alarms", f"{self._more} more are not listed")] if self._more else []
        return [*self.alarms, *rest]

    def missing(self, *, now: datetime) -> list[Alarm]:
        """The alarms about what is missing at ``now`` (aware UTC)."""
        return [alarm for rule in STANDING for alarm in rule(self.history, self.site.limits, now)]

    def end(self, *, now: datetime) -> list[Alarm]:
        return [*self.told(), *self.missing(now=now)]

    def _keep(self, alarm: Alarm) -> None:
        if len(self.alarms) < MAX_ALARMS:
            self.alarms.append(alarm)
        else:
            self._more += 1


@dataclass(frozen=True, slots=True)
class Checked:
    """What one look at a log found. ``alarms``: each is found once; ``standing``: found again until it is over;
    ``history``: None when the log did not prove to be what it says, so that nothing of it is remembered.
    """

    alarms: list[Alarm]
    standing: list[Alarm]
    history: History | None
    leaves: int


def check_log(
    log: LogReader, site: Site, *, seen: SeenCheckpoint | None, history: History | None, now: datetime
) -> Checked:
    """Verify what is new in the log since ``seen``, whose leaves made ``history``; without one every leaf is read.

    Nothing is believed before its tree is proved. A log that does not continue what was seen is read as a whole, to
    tell what else is wrong with it. ``history`` is taken over: its owner reads it again from where it is kept.
    """
    fork = _fork(log, seen)
    goes_on = seen is not None and history is not None and not fork
    monitor = Monitor(site, history if history and goes_on else History())
    size, root = (seen.size, bytes.fromhex(seen.root)) if seen and goes_on else (0, EMPTY_ROOT)
    try:
        monitor.see(log.leaves_since(size, root))
    except SignwrightError as problem:
        return Checked([*fork, _broken(problem)], [], None, 0)
    standing = [*stale(log, site, now), *monitor.missing(now=now)]
    return Checked([*fork, *monitor.told()], standing, None if fork else monitor.history, monitor.leaves)


def _fork(log: LogReader, seen: SeenCheckpoint | None) -> list[Alarm]:
    if seen is None:
        return []
    try:
        log.continues(seen.size, bytes.fromhex(seen.root))
    except SignwrightError as problem:
        return [_broken(problem)]
    return []


def _broken(problem: SignwrightError) -> Alarm:
    """What is wrong with the log's files as an alarm; other errors are our own trouble and go on."""
    if isinstance(problem, NotFoundError):
        return Alarm("log-incomplete", problem.message)
    if isinstance(problem, VerificationError) or problem.code in _BROKEN_FILES:
        return Alarm(problem.code, problem.message)
    raise problem


def stale(log: LogReader, site: Site, now: datetime) -> list[Alarm]:
    """A checkpoint that no witness has looked at for long may be an old one, shown again."""
    cosigned = log.witnessed.cosigned.median_time
    if cosigned is None or now - cosigned <= site.limits.checkpoint + site.limits.carried:
        return []
    return [Alarm("stale-checkpoint", f"the newest checkpoint was cosigned {cosigned:%Y-%m-%dT%H:%M:%SZ}")]
