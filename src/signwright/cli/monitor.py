# SPDX-License-Identifier: Apache-2.0
"""``signwright monitor``: read what is new in the log, one line per alarm. Run it where the signer is not."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from signwright.cli.console import error_json, json_result, result, say, show_error
from signwright.cli.hubs import hub_options, output_option, person_options
from signwright.cli.log_source import LogSource, open_source
from signwright.cli.settings import output_format
from signwright.errors import UnavailableError, UsageError, VerificationError
from signwright.policy.following import ONLINE_MINUTES

if TYPE_CHECKING:
    from signwright.client.alarms.base import Alarm, Hours
    from signwright.client.monitor_round import Round, Watch
    from signwright.client.trust import TrustFile
    from signwright.client.witness_view import Asked
    from signwright.policy.policy import Policy

_PATH = click.Path(path_type=Path)


@click.command()
@click.option("--follow/--once", default=False, help="look again and again, or once (default); exit code 8 on an error")
@click.option("--interval", type=click.IntRange(1), default=300, show_default=True, help="seconds between two looks")
@click.option("--from-start", is_flag=True, help="verify every leaf again, not only those that are new")
@click.option("--from-state", "state", type=_PATH, help="what was seen is kept here; default: one file for each log")
@click.option("--log", "where", metavar="URL|DIR", help="a copy of the log; default: the hub, which has receipts too")
@click.option("--receipts/--no-receipts", default=True, help="count the authorisations that the caller may see again")
@click.option("--witness", "witnesses", metavar="NAME=URL", multiple=True, help="ask this witness what it has seen")
@click.option("--grace", type=click.IntRange(1), default=15, show_default=True, help="minutes an intent may stay open")
@click.option("--hours", metavar="FROM-TO", help="warn of releases outside these hours, such as 07-19")
@click.option("--timezone", "zone", default="UTC", show_default=True, help="of --hours, such as Europe/Zurich")
@click.option(
    "--custodian",
    type=click.Choice(["off", "release", "required"]),
    help="what custodians have to confirm: an alarm for what nobody did (default: warn where the log itself tells)",
)
@person_options
@hub_options
@output_option
def command(
    follow: bool,
    interval: int,
    from_start: bool,
    state: Path | None,
    where: str | None,
    receipts: bool,
    witnesses: tuple[str, ...],
    grace: int,
    hours: str | None,
    zone: str,
    custodian: Literal["off", "release", "required"] | None,
    key: Path | None,
    person: str | None,
    hub: str | None,
    credentials: Path | None,
    trust: Path | None,
    output: str | None,
) -> None:
    """Check the log: signatures, witnesses, continuity, every leaf once, every intent's result, the heartbeat.

    Results that the caller may see (a credential its own, a person with --key all) are counted again from their
    receipts. An alarm is one line on stdout: ALARM, or WARNING for what may have been meant. With --output json each
    is an object on a line, and so is the end of each look.
    """
    from signwright.client.alarms.base import Limits
    from signwright.client.monitor_round import Watch

    as_json = output_format(output) == "json"
    expected = parse_hours(hours, zone) if hours else None
    source = open_source(where, hub=hub, credentials=credentials, trust=trust, key=key, person=person)
    watch = Watch(
        believed=source.believed,
        read=source.read,
        limits=Limits(result_within=timedelta(minutes=grace), carried=_carried(source.believed)),
        hours=expected,
        custodian=custodian,
        witnesses=witnesses_of(witnesses, source.believed),
        seats=source.seats if receipts else None,
        everything=source.caller is not None and not source.caller.credentials,
        policy=partial(_policy, source) if source.caller is not None else None,
        file=state,
    )
    if follow:
        _follow(watch, interval=interval, from_start=from_start, as_json=as_json)
        return
    found = watch.look(now=datetime.now(UTC), from_start=from_start)
    _show(found, found.alarms, as_json=as_json)
    if not found.ok:
        if as_json:
            raise click.exceptions.Exit(8)  # the objects on stdout say it all
        raise VerificationError(f"{found.errors} alarms", code="alarm")


def _follow(watch: Watch, *, interval: int, from_start: bool, as_json: bool) -> None:
    """For ever. What goes on is told when it begins and when it is over; what cannot be reached is tried again."""
    standing: set[str] = set()
    while True:
        try:
            found = watch.look(now=datetime.now(UTC), from_start=from_start)
        except UnavailableError as problem:
            show_error(problem)
            if as_json:
                json_result(error_json(problem))
        else:
            now = {str(alarm) for alarm in found.standing}
            _show(found, [a for a in found.alarms if str(a) not in standing], as_json=as_json)
            for text in sorted(standing - now):
                say(f"over: {text}")
            standing, from_start = now, False
        time.sleep(interval)


def _show(found: Round, alarms: list[Alarm], *, as_json: bool) -> None:
    for alarm in alarms:
        if as_json:
            row = {"code": alarm.code, "severity": str(alarm.severity), "index": alarm.index, "text": alarm.text}
            json_result({"type": "alarm", **row})
        else:
            result(f"{'ALARM' if alarm.severity == 'error' else 'WARNING'} {alarm}")
    if as_json:
        counts = {"errors": found.errors, "warnings": found.warnings, "leaves": found.leaves}
        receipts = {"receipts": found.receipts, "signed": found.signed}
        json_result({"type": "look", "ok": found.ok, "origin": found.origin, "size": found.size, **counts, **receipts})
    told = f"{found.errors} alarms, {found.warnings} warnings"
    say(f"{found.origin}: size {found.size}, {found.leaves} leaves read, {told}")
    if found.receipts is not None:
        say(f"{found.receipts} receipts counted again; {found.signed} signed intents in the log")


def _carried(believed: TrustFile) -> timedelta:
    """With an air gap, leaves may be as old as the policy lets cosignatures be; everywhere else they come at once."""
    minutes = believed.quorum.window_minutes
    return timedelta(minutes=minutes if minutes > ONLINE_MINUTES else 0)


def _policy(source: LogSource) -> Policy:
    from signwright.cli.hubs import policy_of

    assert source.caller is not None
    return policy_of(source.caller.hub, source.believed)


def witnesses_of(given: tuple[str, ...], believed: TrustFile) -> list[Asked]:
    """``NAME=URL`` with a name or key name of the trust file; raises `UsageError`."""
    from signwright.client.witness_view import Asked

    keys = {witness.name: witness for witness in believed.log_trust.quorum.witnesses}
    names = {row.name: keys[key] for row in believed.witnesses for key in keys if row.key.startswith(f"{key}+")}
    found = []
    for text in given:
        name, equals, url = text.partition("=")
        witness = names.get(name) or keys.get(name)
        if not equals or witness is None:
            known = ", ".join(sorted(names))
            raise UsageError(f"--witness {text[:100]!r}; wanted NAME=URL, NAME one of {known}", code="bad-witness")
        found.append(Asked(witness, url))
    return found


def parse_hours(text: str, zone: str) -> Hours:
    """``07-19`` or ``07:30-19:00``; raises `UsageError`."""
    from datetime import time as clock
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    from signwright.client.alarms.base import Hours

    match = re.fullmatch(r"([01]?\d|2[0-4])(?::([0-5]\d))?-([01]?\d|2[0-4])(?::([0-5]\d))?", text, re.ASCII)
    if match is None:
        raise UsageError(f"--hours {text[:40]!r}; wanted a form such as 07-19", code="bad-hours")
    from_hour, from_minute, to_hour, to_minute = (int(part or 0) for part in match.groups())
    try:
        return Hours(clock(from_hour % 24, from_minute), clock(to_hour % 24, to_minute), ZoneInfo(zone))
    except (ZoneInfoNotFoundError, ValueError, OSError) as problem:
        raise UsageError(f"--timezone {zone[:60]!r} is not known here", code="bad-timezone") from problem
