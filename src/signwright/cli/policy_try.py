# SPDX-License-Identifier: Apache-2.0
"""``signwright policy try``: which decisions on stored requests a draft would change."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from signwright.cli import hubs
from signwright.cli.console import is_terminal, json_result, result, say
from signwright.cli.policy import policy_folder
from signwright.cli.policy_shared import PATH
from signwright.cli.settings import output_format
from signwright.errors import MalformedError, UsageError
from signwright.model.times import format_time, parse_time

if TYPE_CHECKING:
    from signwright.client.policy_try import Replayed

#: Without a terminal, a line after so many requests.
EVERY = 200


@click.command("try")
@click.argument("draft", type=PATH)
@click.option("--since", metavar="TIME|DAYSd", help="only requests from then on: 2026-11-01T00:00:00Z, or 30d")
@hubs.hub_options
@hubs.person_options
@hubs.output_option
def try_draft(draft: Path, **flags: Any) -> None:
    """Decide the stored requests again under DRAFT, a folder of policy sources, and print what would change.

    As a person (--key) every request of the hub is replayed, as a machine its own ones. Nothing is signed or loaded.
    """
    from signwright.cli.policy_shared import checked
    from signwright.client.policy_files import SignedPolicy
    from signwright.client.policy_try import replayed, stored_requests

    now, sources = datetime.now(UTC), policy_folder(draft, None)
    since = _since(flags["since"], now)
    hub = hubs.caller_of(flags["hub"], flags["credentials"], flags["key"], flags["person"]).hub
    current = hubs.policy_of(hub, hubs.needed_trust(flags["trust"]))
    _, drafted = checked(sources, SignedPolicy(hub.policy(), current), quiet=True)
    rows: list[Replayed] = []
    with _progress() as step:
        for view in stored_requests(hub, since=since):
            rows.append(replayed(hub, view, current, drafted, now=now))
            step(len(rows))
    changed = [row for row in rows if row.changed]
    skipped = [row for row in rows if row.problem]
    if output_format(flags["output"]) == "json":
        json_result(
            {
                "policy_version": current.version,
                "replayed": len(rows) - len(skipped),
                "changed": [_json(row) for row in changed],
                "skipped": [{"id": row.view.id, "problem": row.problem} for row in skipped],
            }
        )
        return
    for row in changed:
        for line in _lines(row):
            result(line)
    for row in skipped:
        say(f"{row.view.id} could not be replayed: {row.problem}")
    say(f"{len(rows) - len(skipped)} requests replayed, {len(changed)} would be decided otherwise")


def _since(text: str | None, now: datetime) -> datetime | None:
    if text is None:
        return None
    days = re.fullmatch(r"([0-9]{1,4})d", text)
    try:
        return now - timedelta(days=int(days[1])) if days else parse_time(text)
    except MalformedError as problem:
        raise UsageError(
            f"--since {text[:40]!r}; wanted a time like 2026-11-01T00:00:00Z, or 30d", code="bad-time"
        ) from problem


@contextmanager
def _progress() -> Iterator[Any]:
    """A function that is told how many requests are done."""
    if not is_terminal():

        def lines(done: int) -> None:
            if done % EVERY == 0:
                say(f"{done} requests replayed so far")

        yield lines
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.completed} requests replayed"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda done: bar.update(task, completed=done)


def _lines(row: Replayed) -> Iterator[str]:
    files = ", ".join(artifact.name for artifact in row.view.artifacts)
    yield f"{row.view.id} {row.view.address} {files} ({format_time(row.at)}): {row.before} -> {row.after}"
    for name, reasons in (("now", row.reasons_before), ("draft", row.reasons_after)):
        yield from (f"  {name:<5} {reason}" for reason in reasons)


def _json(row: Replayed) -> dict[str, object]:
    sides = (("before", row.before, row.reasons_before), ("after", row.after, row.reasons_after))
    return {
        "id": row.view.id,
        "signing_policy": row.view.address,
        "files": [artifact.name for artifact in row.view.artifacts],
        "at": format_time(row.at),
        **{n: {"outcome": outcome, "reasons": [r.as_json() for r in why]} for n, outcome, why in sides},
    }
