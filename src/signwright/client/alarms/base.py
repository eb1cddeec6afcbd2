# SPDX-License-Identifier: Apache-2.0
"""What an alarm is, and what a rule that raises one may look at. Nothing here knows the time: it is passed in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta, tzinfo
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Generic, Literal, NamedTuple, TypeVar

from signwright.transparency.intent import Leaf

if TYPE_CHECKING:
    from signwright.client.alarms.history import History

L = TypeVar("L", bound=Leaf)


class Severity(StrEnum):
    """``error``: something that cannot happen while all is well; ``warning``: look whether it was meant."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Alarm:
    """``index``: of the leaf, None for the log as a whole; ``code``: stable."""

    code: str
    text: str
    index: int | None = None
    severity: Severity = Severity.ERROR

    def __str__(self) -> str:
        where = f"leaf {self.index}" if self.index is not None else "log"
        return f"{self.code}: {where}: {self.text}"


@dataclass(frozen=True, slots=True)
class Limits:
    """``result_within``: an intent without a result after so long is an alarm; ``heartbeat``: hourly, with slack;
    ``denials`` in ``denial_window``: a burst; ``clock``: how far times in the log may go back or be ahead of ours;
    ``checkpoint``: age of the newest cosignature; ``carried``: how long leaves are on their way to us, where media are
    carried by people.
    """

    result_within: timedelta = timedelta(minutes=15)
    heartbeat: timedelta = timedelta(hours=2)
    denials: int = 20
    denial_window: timedelta = timedelta(minutes=10)
    clock: timedelta = timedelta(minutes=10)
    checkpoint: timedelta = timedelta(hours=2)
    carried: timedelta = timedelta(0)


@dataclass(frozen=True, slots=True)
class Hours:
    """When releases are expected: from ``first`` up to ``last`` in ``zone``, over midnight if that is earlier."""

    first: time
    last: time
    zone: tzinfo

    def hold(self, moment: datetime) -> bool:
        """``moment``: aware."""
        clock = moment.astimezone(self.zone).time()
        if self.first <= self.last:
            return self.first <= clock < self.last
        return clock >= self.first or clock < self.last


@dataclass(frozen=True, slots=True)
class Site:
    """What the trust file and the policy say about the log that is watched.

    ``quotas``: hex SHA-256 of a key's SubjectPublicKeyInfo → ``max_per_day``; ``hours``: None when any hour is good;
    ``custodian``: what custodians have to confirm, None where the monitor was not told.
    """

    trial: bool
    origin: str
    root_sha256: str
    limits: Limits = Limits()
    quotas: Mapping[str, int] = field(default_factory=dict)
    hours: Hours | None = None
    custodian: Literal["off", "release", "required"] | None = None


@dataclass(frozen=True, slots=True)
class Look(Generic[L]):
    """One leaf, and what stood in the log before it. ``time``: the leaf's own, None when it has none."""

    history: History
    index: int
    leaf: L
    time: datetime | None
    site: Site


class Rule(NamedTuple):
    """``find``: what is wrong with a leaf of one of the ``kinds`` in words, or None."""

    code: str
    severity: Severity
    kinds: tuple[type[Leaf], ...]
    find: Callable[[Any], str | None]


def error(code: str, kind: type[L], find: Callable[[Look[L]], str | None]) -> Rule:
    return Rule(code, Severity.ERROR, (kind,), find)


def warning(code: str, kind: type[L], find: Callable[[Look[L]], str | None]) -> Rule:
    return Rule(code, Severity.WARNING, (kind,), find)
