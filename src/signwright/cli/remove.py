# SPDX-License-Identifier: Apache-2.0
"""``signwright remove``: a file without its signatures. Needs no hub and no key."""

from __future__ import annotations

from pathlib import Path

import click

from signwright.cli import hubs, outputs, settings
from signwright.cli.console import error_json, json_result, result, say, warn
from signwright.client.removal import Problem, Removed, Wish, remove_signatures
from signwright.client.results import RECEIPT_SUFFIX
from signwright.errors import UsageError


@click.command("remove")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@outputs.place_options("unsigned")
@outputs.format_option
@hubs.output_option
def remove_command(
    files: tuple[Path, ...], out: Path | None, in_place: bool, format_name: str | None, output: str | None
) -> None:
    """Take every signature out of FILES and leave the rest as it is.

    Nothing is written when one of the files has a problem, such as no signature inside. Each file is replaced whole;
    when the disk fails between two of them, the error names those that were. A signature beside its file (FILE.p7s) is
    removed by deleting it.
    """
    outputs.check_places(out, in_place=in_place)
    if out is None and not in_place:
        raise UsageError("where should the unsigned files go?", code="no-output", hint="-o OUT, or --in-place")
    removed, problems = remove_signatures(files, Wish(out, in_place, len(files) > 1, format_name))
    as_json = settings.output_format(output) == "json"
    if problems:
        raise click.exceptions.Exit(_tell_problems(problems, as_json=as_json))
    _tell_removed(removed, as_json=as_json)


def _tell_problems(problems: list[Problem], *, as_json: bool) -> int:
    """Every one of them; the exit code is that of the first."""
    from signwright.cli.main import exit_code_of

    for problem in problems:
        name = f"{problem.file}: "
        said = problem.error.message
        say(f"error: {said if said.startswith(name) else name + said}")
    for hint in dict.fromkeys(problem.error.hint for problem in problems if problem.error.hint):
        say(f"hint: {hint}")
    say("nothing was written")
    if as_json:
        rows = [{"file": str(one.file), **_error(one)} for one in problems]
        json_result({**error_json(problems[0].error), "problems": rows})
    return exit_code_of(problems[0].error)


def _error(problem: Problem) -> dict[str, object]:
    return {"code": problem.error.code, "message": problem.error.message}


def _tell_removed(removed: list[Removed], *, as_json: bool) -> None:
    for one in removed:
        say(f"{one.output.name}: no signature any more ({one.format})")
        if (receipt := one.output.with_name(one.output.name + RECEIPT_SUFFIX)).exists():
            warn(f"{receipt.name} is about the signed file")
    if as_json:
        json_result({"files": [_json(one) for one in removed]})
        return
    for one in removed:
        result(str(one.output))


def _json(one: Removed) -> dict[str, object]:
    return {
        "source": str(one.source),
        "output": str(one.output),
        "format": one.format,
        "sha256": one.sha256,
        "size": one.size,
    }
