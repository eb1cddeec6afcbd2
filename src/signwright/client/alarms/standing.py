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


def not_followed(history: History, limits: Limits, now: datetime) -> Iterator[Alarm]:
    """Each wave that was signed without results, as if others were to come, and none came."""
    for name, use in history.uses.items():
        if use.signed is None or use.done or now - parse_time(use.time) <= limits.result_within + limits.carried:
            continue
        request, _, wave = name.partition("/")
        after = history.uses.get(f"{request}/{int(wave) + 1}")
        if after is None or after.attempt < use.attempt:
            text = f"wave {wave} of request {request[:16]}… was signed {use.time} and gave no result: none followed"
            yield Alarm("no-result", text, use.signed, Severity.WARNING)


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


STANDING = (no_result, not_followed, no_heartbeat, ahead_of_us, still_halted)
