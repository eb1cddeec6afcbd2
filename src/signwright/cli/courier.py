# SPDX-License-Identifier: Apache-2.0
"""``signwright courier``: hand a medium to the courier of an air gap, or take one from it; the same on both sides."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from signwright.cli.console import json_result, result, say, warn
from signwright.cli.hubs import output_option
from signwright.cli.settings import output_format

_PATH = click.Path(path_type=Path)
_HOME = click.option("--home", "folder", type=_PATH, help="home directory; default: SIGNWRIGHT_HOME")


@click.group()
def command() -> None:
    """Carry requests into a signer without a network, and results out of it.

    Which side of the gap a home is on stands in its settings/courier.toml. The file is given to the courier, which
    runs as its own user, checks it whole, and takes nothing of a file that is not sound.
    """


@command.command("export")
@click.argument("file", type=_PATH)
@_HOME
@output_option
def export_command(file: Path, folder: Path | None, output: str | None) -> None:
    """Write what the other side needs to FILE, which must not exist.

    Outside: policy, keepers' words, requests with their artifacts, and what witnesses answered. In the vault: questions
    to witnesses, results, and the log; it waits until the gate is at rest.
    """
    from signwright.cli.courier_door import export_to
    from signwright.cli.home import home_of

    done = _with_progress(lambda watch: export_to(home_of(folder), file, watch))
    if output_format(output) == "json":
        json_result({"file": str(file), **done})
        return
    _describe(done)
    result(f"{file}: {done.get('bytes')} bytes")
    if done.get("side") == "vault":
        say("next: carry it out; there: signwright courier import FILE")
    else:
        say("next: carry it into the vault; there: signwright courier import FILE")


@command.command("import")
@click.argument("file", type=_PATH)
@_HOME
@output_option
def import_command(file: Path, folder: Path | None, output: str | None) -> None:
    """Take in what the other side wrote to FILE: a file, or the device itself.

    Importing the same bundle again changes nothing. In the vault it waits until the gate has done what it can.
    """
    from signwright.cli.courier_door import import_from
    from signwright.cli.home import home_of

    done = _with_progress(lambda watch: import_from(home_of(folder), file, watch))
    if output_format(output) == "json":
        json_result({"file": str(file), **done})
        return
    _describe(done)
    result(f"{file}: taken in")
    if done.get("side") == "vault" or done.get("answered"):
        say("next: signwright courier export FILE, on a medium for the other direction")


@command.command("status")
@_HOME
@output_option
def status_command(folder: Path | None, output: str | None) -> None:
    """Say what waits here, without a medium."""
    from signwright.cli.courier_door import ask_status
    from signwright.cli.home import home_of

    done = ask_status(home_of(folder))
    if output_format(output) == "json":
        json_result(done)
        return
    _describe(done)


def _describe(done: dict[str, Any]) -> None:
    for request, state in sorted(dict(done.get("requests") or {}).items()):
        result(f"request {request[:24]} {state}")
    for name, state in sorted(dict(done["results"]).items()) if isinstance(done.get("results"), dict) else ():
        result(f"result {name} {state}")
    for question in done.get("questions") or ():
        result(f"waits for a medium: {question}")
    version, waiting = done.get("policy_version"), done.get("waiting_policy")
    if version is not None:
        result(f"policy version {version} in force" + (f", version {waiting} waits" if waiting else ""))
    if done.get("policy_on_its_way"):
        result("a policy is on its way into the log; requests wait for it")
    for note in done.get("notes") or ():
        warn(str(note))


def _with_progress(work: Callable[[Callable[[str, int, int], None]], dict[str, Any]]) -> dict[str, Any]:
    """A bar for whoever watches; otherwise one line for each thing that is done."""
    from signwright.cli.console import is_terminal

    if not is_terminal():
        said: set[str] = set()

        def line(what: str, _done: int, _of: int) -> None:
            if what not in said:
                said.add(what)
                say(what)

        return work(line)
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("asking the courier", total=None)

        def watch(what: str, done: int, of: int) -> None:
            bar.update(task, description=what, completed=done, total=of or None)

        return work(watch)
