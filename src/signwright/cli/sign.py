# SPDX-License-Identifier: Apache-2.0
"""``signwright sign``: one command from files to signed files."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from signwright.cli import hubs, outputs, settings
from signwright.cli.console import json_result, result, say, show_error, warn
from signwright.cli.standing import tell_standing
from signwright.cli.views import request_json, signed_json
from signwright.cli.waiting import DEFAULT_SECONDS, Reporter, check_completed, reporter, timeout_option, wait_for_end
from signwright.client.hub import RequestView
from signwright.client.results import SavedResult, Target, Trusted, check_repeats, output_for, requested, save_results
from signwright.client.source import find_revision
from signwright.client.submit import Order, PreparedRequest, prepare_request, submit
from signwright.errors import ConflictError, SignwrightError, UsageError
from signwright.statements.models import Request, parse_statement

#: How long the answer to a digest-mode request may be waited for within the call that asks.
FIRST_WAIT = 20.0


@dataclass(frozen=True, slots=True)
class Wishes:
    """The flags that say what becomes of the results."""

    output: Path | None
    in_place: bool
    wait: bool
    again: bool
    idempotency_key: str | None
    seconds: int
    several: bool
    #: Output of a file where it is not found by the rules of ``-o``, and where its source revision is looked for.
    places: Mapping[Path, Path] = field(default_factory=dict)
    source: Path | None = None


@dataclass(slots=True)
class Job:
    """One request on its way."""

    prepared: PreparedRequest
    targets: list[Target]
    view: RequestView | None = None


@click.command("sign")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--project", metavar="P", help="project, when --policy does not name it (SIGNWRIGHT_PROJECT)")
@click.option("--policy", metavar="PROJECT/POLICY", help="signing policy (SIGNWRIGHT_POLICY; default: default/test)")
@outputs.place_options("signed")
@click.option("--mode", type=click.Choice(["artifact", "digest"]), help="digest: the files stay here")
@outputs.format_option
@click.option("--separate", is_flag=True, help="one request for each file")
@click.option("--no-wait", is_flag=True, help="print the request's name and end")
@click.option("--again", is_flag=True, help="sign once more what was signed before")
@click.option(
    "--idempotency-key", metavar="K", help="default: from credential, policy, files, options and source commit"
)
@click.option("--option", "options", multiple=True, metavar="NAME=VALUE", help="see: signwright formats")
@click.option("--description", metavar="TEXT", help="the same as --option description=TEXT")
@click.option("--url", metavar="URL", help="the same as --option url=URL")
@timeout_option
@hubs.hub_options
@hubs.output_option
def sign_command(**flags: Any) -> None:
    """Sign FILES: one request for all of them, one decision, a receipt for each.

    The receipt of OUT is OUT.swreceipt; a detached signature of FILE is FILE.p7s (FILE.sig for a raw one). The same
    command again answers with the earlier request unless that ended badly.
    """
    wishes = Wishes(
        output=flags["out"],
        in_place=flags["in_place"],
        wait=not flags["no_wait"],
        again=flags["again"],
        idempotency_key=flags["idempotency_key"],
        seconds=settings.seconds(flags["timeout"], DEFAULT_SECONDS),
        several=len(flags["files"]) > 1,
    )
    _check_wishes(wishes)
    paths: list[Path] = list(flags["files"])
    groups = [[path] for path in paths] if flags["separate"] else [paths]
    json_wanted = settings.output_format(flags["output"]) == "json"
    Run(flags, wishes, json_wanted=json_wanted).run(groups)


def _check_wishes(wishes: Wishes) -> None:
    outputs.check_places(wishes.output, in_place=wishes.in_place)
    if wishes.again and wishes.idempotency_key:
        raise UsageError("--again and --idempotency-key say two things", code="two-keys")


class Run:
    """One call of the verb, or one step of a verb that signs several things in order. ``flags``: those of the verb."""

    def __init__(self, flags: Mapping[str, Any], wishes: Wishes, *, json_wanted: bool) -> None:
        self._wishes = wishes
        self._json = json_wanted
        self._flags = flags
        self._credentials = hubs.credentials_of(flags["credentials"])
        self._trust = hubs.trust_of(flags["trust"])
        self._hub = hubs.machine_hub(flags["hub"], self._credentials)
        self._policy = hubs.policy_of(self._hub, self._trust)

    def signed(self, group: list[Path]) -> tuple[RequestView, list[SavedResult]]:
        """One request: asked, waited for, and its results in their places."""
        job = self._prepared(group)
        with reporter() as report:
            self._submit(job, report)
            return self._finish(job, report)

    def run(self, groups: Sequence[list[Path]]) -> None:
        jobs = [self._prepared(group) for group in groups]
        finished: list[tuple[RequestView, list[SavedResult]]] = []
        problems: list[SignwrightError] = []
        with reporter() as report:
            try:
                for job in jobs:
                    self._submit(job, report)
                if self._wishes.wait:
                    problems = self._finish_all(jobs, report, finished)
            except KeyboardInterrupt:
                _say_how_to_resume(jobs, self._wishes)
                raise
        for row in finished:
            self._print_signed(*row)
        if problems:
            raise problems[0]
        if not self._wishes.wait:
            for job in jobs:
                self._print_submitted(job)

    def _order(self, group: Sequence[Path]) -> Order:
        project, policy = settings.signing_policy_address(self._flags["policy"], self._flags["project"])
        return Order(
            project=project,
            signing_policy=policy,
            mode=self._flags["mode"],
            format=self._flags["format_name"],
            options=_options(self._flags),
            source=find_revision(self._wishes.source or group[0].parent),
        )

    def _prepared(self, group: list[Path]) -> Job:
        wishes = self._wishes
        prepared = prepare_request(
            group, self._order(group), policy=self._policy, credentials=self._credentials, now=hubs.now()
        )
        targets = []
        for index, file in enumerate(prepared.files if wishes.wait else ()):
            several = wishes.several
            output = wishes.places.get(file.path) or output_for(
                file.format, file.path, output=wishes.output, in_place=wishes.in_place, several=several
            )
            targets.append(Target(index, file.path, output))
        if len({target.output for target in targets}) != len(targets):
            raise UsageError("two files would have the same output", code="same-output", hint="use --separate and -o")
        return Job(prepared, targets)

    def _submit(self, job: Job, report: Reporter) -> None:
        prepared, wishes = job.prepared, self._wishes
        self._hub.connection.use(hubs.call_key(prepared.credential))
        key = None if wishes.again else (wishes.idempotency_key or prepared.default_key)
        wait = min(FIRST_WAIT, wishes.seconds) if wishes.wait else None
        try:
            view = submit(self._hub, prepared, idempotency_key=key, wait=wait, progress=report.upload)
        except ConflictError as problem:
            if problem.code != "idempotency-key-reused":
                raise
            # Only a key that somebody named can be one: ours is made from all that the hub compares.
            raise UsageError(
                f"--idempotency-key: {problem.message}",
                code=problem.code,
                hint="other files, options or policy want another key; without the flag one is made from all of these",
                details=problem.details,
            ) from problem
        if view.request_sha256 not in ("", prepared.digest):
            say(f"this was asked for before: request {view.id} ({view.state}); --again asks anew")
        elif not view.is_final:
            say(f"request {view.id} submitted to {prepared.order.address}")
            if prepared.credential.kind == "release":
                tell_standing(self._hub, self._policy, hubs.now())
        job.view = view

    def _finish_all(
        self, jobs: Sequence[Job], report: Reporter, finished: list[tuple[RequestView, list[SavedResult]]]
    ) -> list[SignwrightError]:
        """Wait for each; one that ends badly does not keep the others from being fetched. What went wrong."""
        problems: list[SignwrightError] = []
        for job in jobs:
            try:
                finished.append(self._finish(job, report))
            except SignwrightError as problem:
                if len(jobs) == 1:
                    raise
                problems.append(problem)
                show_error(problem)
        return problems

    def _finish(self, job: Job, report: Reporter) -> tuple[RequestView, list[SavedResult]]:
        assert job.view is not None
        hub, ours = self._hub, job.view.request_sha256 in ("", job.prepared.digest)
        hub.connection.use(hubs.call_key(job.prepared.credential))
        job.view = wait_for_end(hub, job.view, seconds=self._wishes.seconds, report=report)
        check_completed(job.view)
        request = parse_statement(job.prepared.envelope, Request)
        if not ours:
            earlier = requested(hub, job.view)
            check_repeats(earlier, request)
            request = earlier
        trusted = Trusted(self._policy, self._trust, hubs.now())
        return job.view, save_results(hub, job.view, request, targets=job.targets, trusted=trusted)

    def _print_submitted(self, job: Job) -> None:
        assert job.view is not None
        if self._json:
            json_result(request_json(job.view))
        else:
            result(job.view.id)
        check_completed(job.view)
        _say_how_to_fetch(job, self._wishes)

    def _print_signed(self, view: RequestView, saved: list[SavedResult]) -> None:
        tell_of(view, saved)
        if self._json:
            json_result(signed_json(view, saved))
            return
        for one in saved:
            result(str(one.target.output))


def tell_of(view: RequestView, saved: Sequence[SavedResult]) -> None:
    """For people: what was signed and how sure that is, on stderr."""
    if any(one.receipt.predicate.trial for one in saved):
        warn("TRIAL signature: it proves nothing to anybody else")
    for one in saved:
        said = one.receipt.predicate
        by = f", approved by {', '.join(said.people)}" if said.people else ""
        intents = ", ".join(map(str, said.intents))
        say(f"{one.target.output.name} signed under {view.address or said.signing_policy}{by}, log entry {intents}")
        if not one.checks:
            warn(f"{one.target.output.name} was not verified: no trust file is named (SIGNWRIGHT_TRUST)")


def _options(flags: Mapping[str, Any]) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in flags["options"]:
        name, separator, value = text.partition("=")
        if not separator or not name:
            raise UsageError(f"--option {text!r}; wanted NAME=VALUE", code="bad-option")
        if name in found:
            raise UsageError(f"--option {name} is given twice", code="bad-option")
        found[name] = value
    for name in ("description", "url"):
        if flags[name] is not None:
            if name in found:
                raise UsageError(f"--{name} and --option {name}=… say two things", code="bad-option")
            found[name] = flags[name]
    return found


def _say_how_to_resume(jobs: Sequence[Job], wishes: Wishes) -> None:
    for job in jobs:
        if job.view is not None and not job.view.is_final:
            say(f"interrupted; request {job.view.id} goes on")
            _say_how_to_fetch(job, wishes)


def _say_how_to_fetch(job: Job, wishes: Wishes) -> None:
    """The command that does later what this one was asked for; nothing else remembers where the output goes."""
    assert job.view is not None
    name, files = job.view.id, [str(file.path) for file in job.prepared.files]
    beside = all(file.format.detached_suffix for file in job.prepared.files)
    place = ["--in-place"] if wishes.in_place else [] if beside and not wishes.output else ["-o"]
    if place == ["-o"]:
        place.append(str(wishes.output or "OUT"))
    fetch = shlex.join(["signwright", "fetch", name, *files, *place])
    if job.view.is_final:
        say(f"hint: {fetch}")
    else:
        say(f"hint: signwright wait {name}, then {fetch}; or: signwright cancel {name}")
