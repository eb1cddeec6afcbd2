# SPDX-License-Identifier: Apache-2.0
"""``signwright fetch``: the results of a request that was signed, for whoever did not wait."""

from __future__ import annotations

from pathlib import Path

import click

from signwright.cli import hubs, outputs, settings
from signwright.cli.console import json_result, result
from signwright.cli.sign import tell_of
from signwright.cli.views import signed_json
from signwright.cli.waiting import check_completed, pending
from signwright.client.files import check_output, hash_file, open_input
from signwright.client.hub import Hub
from signwright.client.recognise import format_named
from signwright.client.results import Target, Trusted, output_for, requested, save_results
from signwright.errors import UsageError
from signwright.statements.models import Request, Statement


@click.command("fetch")
@click.argument("request")
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@outputs.place_options("signed")
@hubs.hub_options
@hubs.person_options
@hubs.output_option
def fetch_command(
    request: str,
    files: tuple[Path, ...],
    out: Path | None,
    in_place: bool,
    hub: str | None,
    credentials: Path | None,
    trust: Path | None,
    key: Path | None,
    person: str | None,
    output: str | None,
) -> None:
    """Get the results of REQUEST.

    FILES are the originals, matched by content. Without them the originals come from the hub too (not in digest mode).
    """
    outputs.check_places(out, in_place=in_place)
    caller, view = hubs.caller_of(hub, credentials, key, person).find(request)
    if not view.is_final:
        raise pending(view, 0)
    check_completed(view)
    statement = requested(caller, view)
    targets = _targets(statement, files, out, in_place=in_place)
    trusted = _trusted(caller, trust)
    saved = save_results(caller, view, statement, targets=targets, trusted=trusted)
    tell_of(view, saved)
    if settings.output_format(output) == "json":
        json_result(signed_json(view, saved))
        return
    for one in saved:
        result(str(one.target.output))


def _trusted(hub: Hub, flag: Path | None) -> Trusted:
    trust = hubs.trust_of(flag)
    return Trusted(hubs.policy_of(hub, trust), trust, hubs.now())


def _targets(request: Statement[Request], files: tuple[Path, ...], out: Path | None, *, in_place: bool) -> list[Target]:
    if files:
        return _matched(request, files, out, in_place=in_place)
    if in_place:
        raise UsageError("--in-place wants the files", code="no-files")
    if out is None:
        raise UsageError("where should the results go?", code="no-output", hint="-o OUT, or name the original files")
    several = len(request.subjects) > 1
    if several and not out.is_dir():
        raise UsageError(f"{out}: no such folder", code="no-output-folder", hint="several files: -o names a folder")
    targets = []
    for index, (subject, artifact) in enumerate(zip(request.subjects, request.predicate.artifacts, strict=True)):
        # A subject's name is the submitter's word: only its last part may name a file here.
        name = Path(subject.name.replace("\\", "/")).name + format_named(artifact.format).detached_suffix
        output = out / name if several or out.is_dir() else out
        check_output(output)
        targets.append(Target(index, None, output))
    return targets


def _matched(request: Statement[Request], files: tuple[Path, ...], out: Path | None, *, in_place: bool) -> list[Target]:
    left = dict(enumerate(request.subjects))
    targets = []
    for path in files:
        with open_input(path) as opened:
            sha256, _ = hash_file(opened)
        alike = [index for index, subject in left.items() if subject.digest.sha256 == sha256]
        if not alike:
            raise UsageError(f"{path}: not a file of this request (SHA-256 {sha256})", code="other-file")
        # Two files may have the same content: then the name tells them apart.
        index = next((i for i in alike if left[i].name == path.name), alike[0])
        del left[index]
        chosen = format_named(request.predicate.artifacts[index].format)
        several = len(files) > 1
        targets.append(Target(index, path, output_for(chosen, path, output=out, in_place=in_place, several=several)))
    return targets
