# SPDX-License-Identifier: Apache-2.0
"""Alarms about what is missing now: they stand until it comes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from signwright.client.alarms.base import Alarm, Limits, Severity
from signwright.client.alarms.history import History
from signwright.model.times import format_time, parse_time


def no_result(history: History, limits: Limits, now: datetime) -> Iterator[Alarm]:
    """Each intent whose result is overdue."""
    for index, intent in history.open.items():
        if now - parse_time(intent.time) > limits.result_within + limits.carried:
            text = f"intent of {intent.time} without a result: was the key used?"
            yield Alarm("no-result", text, int(index))


def no_heartbeat(history: History, limits: Limits, now: datetime) -> Iterator[Alarm]:
    last = history.last_beat
    if last is None or now - parse_time(last) > limits.heartbeat + limits.carried:
        said = f"last {last}" if last else "none at all"
        yield Alarm("no-heartbeat", f"no sign of life for {limits.heartbeat}: {said}")


def ahead_of_us(history: History, limits: Limits, now: datetime) -> Iterator[Alarm]:
    if history.last_time is not None and parse_time(history.last_time) - now > limits.clock:
        yield Alarm("future", f"the log's time {history.last_time} is ahead of ours")


def still_halted(history: History, limits: Limits, now: datetime) -> Iterator[Alarm]:
    del limits
    halts = history.halted_at(format_time(now))
    if halts:
        yield Alarm("still-halted", f"{len(halts)} halts are not over", severity=Severity.WARNING)


STANDING = (no_result, no_heartbeat, ahead_of_us, still_halted)
