# SPDX-License-Identifier: Apache-2.0
"""How the demonstration looks: plain lines, or colours and a ruled table on a terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from signwright.cli.console import table
from signwright.cli.demo.report import Report, Write

_STYLES = {"title": "bold", "good": "green", "bad": "bold red", "dim": "dim"}


def writer(*, to_stderr: bool) -> Write:
    """``to_stderr``: stdout belongs to JSON."""
    stream = sys.stderr if to_stderr else sys.stdout
    if os.environ.get("NO_COLOR") or not stream.isatty():

        def plain(text: str, _style: str) -> None:
            print(text, file=stream, flush=True)

        return plain
    from rich.console import Console

    console = Console(file=stream, highlight=False, soft_wrap=True)
    return lambda text, style: console.print(text, style=_STYLES.get(style, ""), markup=False)


def show_table(report: Report, *, seconds: float, write: Write) -> None:
    """What happened and how long each step took."""
    rows = []
    for step in report.steps:
        facts = [fact for fact in report.facts if fact.step == step.number]
        good = sum(fact.ok for fact in facts)
        rows.append((str(step.number), step.title, f"{good} of {len(facts)}", f"{step.seconds:6.2f} s"))
    rows.append(("", "in all", f"{sum(f.ok for f in report.facts)} of {len(report.facts)}", f"{seconds:6.2f} s"))
    head = ("step", "what happened", "as expected", "time")
    if not os.environ.get("NO_COLOR") and sys.stdout.isatty():
        _ruled(head, rows)
    else:
        write("", "")
        for line in table(head, rows):
            write(line, "")
    for fact in report.facts:
        if not fact.ok:
            write(f"FAILED  step {fact.step}, {fact.name}: found {fact.found}; wanted {fact.wanted}", "bad")


def _ruled(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    from rich.console import Console
    from rich.table import Table

    ruled = Table(*head)
    for row in rows:
        ruled.add_row(*row)
    Console().print(ruled)
