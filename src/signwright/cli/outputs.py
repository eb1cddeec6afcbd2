# SPDX-License-Identifier: Apache-2.0
"""Options of the verbs that make files out of files: what kind they are, and where the results go."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from signwright.errors import UsageError

F = TypeVar("F", bound=Callable[..., Any])


def place_options(forms: str) -> Callable[[F], F]:
    """``-o`` (``out``) and ``--in-place``; ``forms``: what the verb makes of files, for the help."""

    def with_options(command: F) -> F:
        command = click.option("--in-place", is_flag=True, help=f"replace the files by their {forms} forms")(command)
        kind, told = click.Path(path_type=Path), "where the result goes; a folder for several files"
        return click.option("-o", "--out", "out", metavar="OUT", type=kind, help=told)(command)

    return with_options


def check_places(out: Path | None, *, in_place: bool) -> None:
    """Raises `UsageError` where both are said."""
    if out is not None and in_place:
        raise UsageError("-o and --in-place say two things", code="two-outputs")


def format_option(command: F) -> F:
    """``--format`` (``format_name``)."""
    return click.option("--format", "format_name", metavar="NAME", help="kind of file; default: by content")(command)
