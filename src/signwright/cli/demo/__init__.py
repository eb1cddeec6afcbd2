# SPDX-License-Identifier: Apache-2.0
"""``signwright demo``: one signing cycle from end to end in a fresh trial home, then a lying hub in front of it."""

from __future__ import annotations

import time

import click

from signwright.cli import settings
from signwright.cli.console import json_result, say


@click.command("demo")
@click.option("--keep", is_flag=True, help="leave the home where it is, to look at; it is taken down all the same")
@click.option("--output", type=click.Choice(["text", "json"]), help="what stdout gets (default: text)")
def demo_command(keep: bool, output: str | None) -> int:
    """Show one signing cycle, from a real program to a verified signature, and what a lying hub gets: nothing.

    Exit code 0 only when every success and every refusal was the expected one.
    """
    from signwright.cli.demo.processes import trial_home
    from signwright.cli.demo.report import Report
    from signwright.cli.demo.story import Story
    from signwright.cli.demo.table import show_table, writer

    as_json = settings.output_format(output) == "json"
    write = writer(to_stderr=as_json)
    report, started = Report(write), time.perf_counter()
    with trial_home(keep=keep) as trial:
        try:
            Story(trial, report).tell()
        finally:
            seconds = time.perf_counter() - started
            show_table(report, seconds=seconds, write=write)
        if keep:
            say(f"the home is {trial.home.folder}; files are in {trial.work}")
    if as_json:
        json_result(report.as_json(seconds=seconds))
    return 0 if report.ok else 1
