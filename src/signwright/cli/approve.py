# SPDX-License-Identifier: Apache-2.0
"""``signwright approve`` and ``signwright deny``: a person looks, and says a word that they sign."""

from __future__ import annotations

from pathlib import Path

import click

from signwright.cli import hubs, settings
from signwright.cli.console import is_terminal, json_result, result, say, table
from signwright.cli.standing import standing_lines, warn_ahead
from signwright.cli.views import request_json
from signwright.cli.waiting import described
from signwright.client.approve import Review, Word, review, say_word
from signwright.client.hub import Hub, RequestView
from signwright.client.ssh_keys import PersonKey
from signwright.errors import DeniedError, UsageError
from signwright.model.text import check_text

WAITING = "awaiting-approval"


@click.command("approve")
@click.argument("request", required=False)
@click.option("--yes", is_flag=True, help="sign without asking once more")
@click.option("--comment", metavar="TEXT", help="stands in what you sign")
@click.option("--release", is_flag=True, help="let a held request go (group qa); it does not count as an approval")
@hubs.person_options
@hubs.hub_options
@hubs.output_option
def approve_command(
    request: str | None,
    yes: bool,
    comment: str | None,
    release: bool,
    key: Path | None,
    person: str | None,
    hub: str | None,
    credentials: Path | None,
    trust: Path | None,
    output: str | None,
) -> None:
    """Look at REQUEST and approve it with your SSH key. Without REQUEST: list what waits.

    Everything shown was verified on this machine from the trust file: policy, request, approvals, scan verdicts, the
    artifacts themselves, and that the log continues the one you saw last.
    """
    del credentials
    caller, person_key, name = hubs.person_hub(hub, key, person)
    json_wanted = settings.output_format(output) == "json"
    if request is None:
        _list_waiting(caller, json_wanted)
        return
    seen = review(caller, request, trust=hubs.needed_trust(trust), now=hubs.now())
    _refuse_hopeless(seen)
    _show(seen)
    if seen.rule.kind == "release":
        warn_ahead(seen.standing, hubs.now())
    word: Word = "release" if release else "approve"
    _confirm(f"{word} {seen.view.id} as {name}?", yes)
    _finish(caller, seen, person_key, word=word, comment=comment, json_wanted=json_wanted)


@click.command("deny")
@click.argument("request")
@click.option("--yes", is_flag=True, help="sign without asking once more")
@click.option("--comment", metavar="TEXT", help="why; stands in what you sign, and the submitter sees it")
@hubs.person_options
@hubs.hub_options
@hubs.output_option
def deny_command(
    request: str,
    yes: bool,
    comment: str | None,
    key: Path | None,
    person: str | None,
    hub: str | None,
    credentials: Path | None,
    trust: Path | None,
    output: str | None,
) -> None:
    """Say no to REQUEST with your SSH key: it ends there."""
    del credentials
    caller, person_key, name = hubs.person_hub(hub, key, person)
    seen = review(caller, request, trust=hubs.needed_trust(trust), now=hubs.now(), read_artifacts=False)
    _show(seen)
    # A no needs no second thought where nobody can be asked: it is the safe word.
    _confirm(f"deny {seen.view.id} as {name}?", yes or not is_terminal())
    json_wanted = settings.output_format(output) == "json"
    _finish(caller, seen, person_key, word="deny", comment=comment, json_wanted=json_wanted)


def _list_waiting(caller: Hub, json_wanted: bool) -> None:
    views = caller.requests(state=WAITING, limit=500)
    if json_wanted:
        json_result({"requests": [request_json(view) for view in views]})
        return
    rows = [(v.id, v.address, _have(v), ", ".join(a.name for a in v.artifacts[:3])) for v in views]
    for line in table(("request", "policy", "waits for", "files"), rows):
        result(line)
    say(f"{len(views)} requests wait; to look at one: signwright approve REQUEST")


def _have(view: RequestView) -> str:
    return "; ".join(r.get("found", "") for r in view.reasons if r.get("effect") == "await") or view.state


def _refuse_hopeless(seen: Review) -> None:
    """What the policy denies anyhow is not worth a touch."""
    denials = seen.decision.of("deny")
    if denials:
        raise DeniedError(
            f"{seen.view.id}: the policy does not allow this request",
            code=denials[0].rule,
            details={"reasons": [reason.as_json() for reason in denials]},
        )


def _show(seen: Review) -> None:
    """Signed fields only. On stderr: it is not a result."""
    asked = seen.request.predicate
    say(f"request   {seen.view.id} = {seen.request.digest}")
    say(f"policy    {asked.project}/{asked.signing_policy} ({seen.rule.kind}), policy version {seen.policy.version}")
    say(f"asked by  {seen.submitter}, {asked.created}; expires {asked.expires}")
    if asked.source is not None:
        ref = f" ({asked.source.ref})" if asked.source.ref else ""
        say(f"source    {asked.source.repository} @ {asked.source.commit}{ref} - the submitter's word")
    for file in seen.files:
        say(f"file      {file.name}: {file.format}, {file.size} bytes, sha256:{file.sha256}")
        more = {**{f"option {k}": v for k, v in file.options.items()}, **file.facts}
        if more:
            say("          " + ", ".join(f"{name} {value}" for name, value in sorted(more.items())))
    _show_evidence(seen)
    if seen.rule.kind == "release":
        for line in standing_lines(seen.standing, hubs.now()):
            say(line)
    if seen.changes is None:
        say("changes   no earlier release under this policy is known")
    for line in seen.changes or ():
        say(f"changes   {line}")
    before = "continues what you saw before" if seen.continues_log else "seen by this client for the first time"
    say(f"log       {seen.checkpoint.origin}, {seen.checkpoint.size} leaves, {before}")


def _show_evidence(seen: Review) -> None:
    read = "fetched, hashed again, operations recomputed" if seen.rehashed else "NOT looked at on this machine"
    say(f"content   {read}")
    for scan in seen.facts.scans:
        said = scan.statement.predicate
        engines = ", ".join(f"{e.name} {e.version} ({e.definitions})" for e in said.engines)
        say(f"scan      {said.verdict} by {scan.scanner}, {said.created}: {engines}; sandbox {said.sandbox}")
    for approval in seen.facts.approvals:
        word = approval.statement.predicate
        why = f": {word.comment}" if word.comment else ""
        say(f"word      {word.person} said {word.decision}, {word.created}{why}")
    for reason in seen.decision.of("await"):
        say(f"missing   {reason}")


def _confirm(question: str, yes: bool) -> None:
    if yes:
        return
    if not is_terminal():
        raise UsageError("nobody can be asked here", code="no-terminal", hint="--yes signs without asking")
    if not click.confirm(question, default=False, err=True):
        raise click.Abort


def _finish(caller: Hub, seen: Review, key: PersonKey, *, word: Word, comment: str | None, json_wanted: bool) -> None:
    if comment is not None:
        check_text(comment, "comment")
    view, statement = say_word(caller, seen, key, word=word, comment=comment, now=hubs.now())
    say(f"{statement.predicate.person} said {word}; request {view.id} {described(view)}")
    if json_wanted:
        json_result({"statement_sha256": statement.digest, "decision": word, **request_json(view)})
    else:
        result(view.id)
