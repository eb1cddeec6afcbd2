# SPDX-License-Identifier: Apache-2.0
"""What a witness has seen of a log, against what we are shown.

A hub that shows one log to us and another one to the witnesses is found here, and so is one that shows us an old log.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from signwright.client.alarms.base import Alarm, Severity
from signwright.client.log_reader import LogReader
from signwright.errors import SignwrightError, UnavailableError, UsageError
from signwright.transparency.checkpoint import Checkpoint
from signwright.transparency.cosignature import LogTrust, WitnessKey, check_cosignature
from signwright.transparency.note import parse_note

#: A witness that cosigned nothing for so long does not watch any more.
SILENT = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Asked:
    """A witness of the trust file, and its address."""

    witness: WitnessKey
    url: str


@dataclass(frozen=True, slots=True)
class View:
    """The newest checkpoint that a witness has cosigned, and when; both verified."""

    asked: Asked
    checkpoint: Checkpoint
    time: datetime


def ask(asked: Asked, trust: LogTrust) -> View:
    """Raises `VerificationError` for an answer that is not this witness's about this log, and `UnavailableError`."""
    from signwright.client.witness_latest import latest_of

    key = asked.witness.key
    latest = latest_of(asked.url, key, origin=trust.origin, log_keys=trust.keys)
    if latest.checkpoint is None:
        raise UnavailableError("it has seen nothing of this log", code="no-witness")
    note = parse_note(latest.note)
    time = max(check_cosignature(note.text, line, key) for line in note.signatures_by(key))
    return View(asked, latest.checkpoint, time)


def ask_all(witnesses: list[Asked], trust: LogTrust) -> tuple[list[View], list[Alarm]]:
    """What the witnesses say, and an alarm for each that says nothing, or what does not hold."""
    views, alarms = [], []
    for asked in witnesses:
        try:
            views.append(ask(asked, trust))
        except UnavailableError as problem:
            text = f"witness {asked.witness.name} does not tell what it has seen: {problem.message}"
            alarms.append(Alarm("witness-silent", text, severity=Severity.WARNING))
        except UsageError:
            raise
        except SignwrightError as problem:
            alarms.append(Alarm("bad-witness", f"witness {asked.witness.name}: {problem.message}"))
    return views, alarms


def caught_up(
    log: LogReader, views: list[View], again: Callable[[], LogReader], *, tries: int, pause: Callable[[], None]
) -> LogReader:
    """The log as soon as it is as long as what the witnesses have seen, or as it was at the last try.

    A checkpoint is cosigned before it is published.
    """
    longest = max((view.checkpoint.size for view in views), default=0)
    for _ in range(tries):
        if log.checkpoint.size >= longest:
            break
        pause()
        log = again()
    return log


def compare(log: LogReader, views: list[View], *, now: datetime) -> list[Alarm]:
    """Every witness's newest checkpoint must be one that the log shown to us continues."""
    found = []
    for view in views:
        name, seen = view.asked.witness.name, view.checkpoint
        if seen.size > log.checkpoint.size:
            text = f"witness {name} has seen {seen.size} leaves, and we are shown {log.checkpoint.size}"
            found.append(Alarm("log-withheld", text))
            continue
        try:
            log.continues(seen.size, seen.root)
        except SignwrightError as problem:
            found.append(Alarm("log-fork", f"witness {name} has seen another log: {problem.message}"))
        if now - view.time > SILENT:
            text = f"witness {name} cosigned last at {view.time:%Y-%m-%dT%H:%M:%SZ}"
            found.append(Alarm("witness-silent", text, severity=Severity.WARNING))
    return found
