# SPDX-License-Identifier: Apache-2.0
"""``signwright signer``: what an administrator does on the signer host itself."""

from __future__ import annotations

from pathlib import Path

import click

from signwright.cli.console import json_result, result, say, warn
from signwright.cli.hubs import output_option
from signwright.cli.settings import output_format

_PATH = click.Path(path_type=Path)


@click.group()
def command() -> None:
    """Look after the signer host."""


@command.command()
@click.option(
    "--from",
    "mirrors",
    multiple=True,
    metavar="URL|DIR",
    help="a mirror of the log: a folder or server with checkpoint and tile/…; may be repeated. Default: the home's hub",
)
@click.option("--without", "gone", multiple=True, metavar="NAME", help="a witness of the policy that is gone for good")
@click.option("--home", "folder", type=_PATH, help="home directory; default: SIGNWRIGHT_HOME")
@output_option
def recover(mirrors: tuple[str, ...], gone: tuple[str, ...], folder: Path | None, output: str | None) -> None:
    """Rebuild the gate's log and state from a mirror, when they were lost, damaged, or are an older copy.

    Everything must be down. The mirror is not believed: its entries must make the root of a checkpoint that the log's
    key signed and a quorum of witnesses cosigned, no witness may have seen more or something else, and nothing that was
    signed here may be missing. Intents without a result become "unknown" at the next start. What was there before stays
    beside it, named before-TIME. The keyholder's state is never touched.
    """
    from signwright.cli.home import home_of
    from signwright.cli.recovery import recover_home

    home = home_of(folder)
    done = recover_home(home, mirrors, gone=gone)
    if output_format(output) == "json":
        json_result({"home": str(home.folder), **done})
        return
    result(f"recovered {done['size']} leaves, {done['added']} of them were missing here")
    if done["dropped"]:
        warn(f"{done['dropped']} leaves that stood only here, and that nobody had witnessed, are left out")
    if done["unfinished"]:
        say(f"{done['unfinished']} intents have no result; the gate will record them as unknown")
    say(f"next: signwright up --home {home.folder}; then signwright monitor --once")
