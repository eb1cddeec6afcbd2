# SPDX-License-Identifier: Apache-2.0
"""``signwright policy``: check, compare, sign and load. YAML is read by `signwright.cli.policy`."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from signwright.cli.console import is_terminal, json_result, result, say, warn
from signwright.cli.policy import policy_folder, read_sources
from signwright.cli.settings import output_format
from signwright.errors import SignwrightError, UsageError
from signwright.model.operation import Strict

if TYPE_CHECKING:
    from signwright.client.policy_files import SignedPolicy

_PATH = click.Path(path_type=Path)


@click.group()
def command() -> None:
    """Check, compare, sign and load the policy.

    The sources are DIR/policy/*.yaml and DIR/policy/projects/*.yaml; DIR/policy/signed is what was signed last.
    """


def _current(sources: Path, trust: Path | None, home: Path | None) -> SignedPolicy:
    """The signed policy beside the sources, under the pin of the trust file when there is one."""
    from signwright.client.policy_files import read_signed
    from signwright.client.trust import load_trust

    beside = [folder / "trust.json" for folder in (home, sources.parent) if folder is not None]
    where = trust or next((file for file in beside if file.is_file()), None)
    pin = load_trust(where).policy_root_sha256 if where else None
    if pin is None:
        warn("no trust file: the policy root beside the sources is believed")
    return read_signed(sources / "signed", pinned_root_sha256=pin)


def _checked(sources: Path, current: SignedPolicy) -> dict[str, Strict]:
    """The draft, after every check; prints lint to stderr. Raises with all problems, printed one per line."""
    from signwright.client.policy_files import check_draft
    from signwright.policy.lint import weaknesses

    try:
        documents = read_sources(sources)
        policy = check_draft(current, documents)
    except SignwrightError as problem:
        listed = problem.details.get("problems")
        for line in listed if isinstance(listed, list) and len(listed) > 1 else []:
            say(f"problem: {line}")
        raise
    for line in weaknesses(policy, now=datetime.now(UTC)):
        say(f"weak: {line}")
    return documents


_DIR = click.argument("folder", type=_PATH, required=False, metavar="[DIR]")
_HOME = click.option("--home", type=_PATH, help="home directory; default: SIGNWRIGHT_HOME")
_TRUST = click.option("--trust", type=_PATH, help="trust file; default: trust.json of the home or beside the sources")
_OUTPUT = click.option("--output", type=click.Choice(["text", "json"]))


@command.command()
@_DIR
@_HOME
@_TRUST
def check(folder: Path | None, home: Path | None, trust: Path | None) -> None:
    """Read the sources strictly; report every problem with file and line, and every weak setting in words."""
    sources = policy_folder(folder, home)
    documents = _checked(sources, _current(sources, trust, home))
    result(f"ok: {len(documents)} documents")


@command.command()
@_DIR
@_HOME
@_TRUST
@_OUTPUT
def diff(folder: Path | None, home: Path | None, trust: Path | None, output: str | None) -> None:
    """Who gains or loses what, from the signed policy to the sources."""
    from dataclasses import asdict

    from signwright.policy.changes import changes, documents_of

    sources = policy_folder(folder, home)
    current = _current(sources, trust, home)
    found = changes(documents_of(current.policy), _checked(sources, current))
    if output_format(output) == "json":
        json_result({"from_version": current.policy.version, "changes": [asdict(change) for change in found]})
        return
    for change in found:
        result(str(change))
    if not found:
        say(f"no change since version {current.policy.version}")


@command.command()
@_DIR
@_HOME
@_TRUST
@click.option("--key", "key_file", type=_PATH, help="the keeper's SSH key; default: DIR/keeper/keeper")
@click.option("--yes", is_flag=True, help="do not ask")
@click.option("--no-post", is_flag=True, help="sign and write, do not hand it to the hub")
@click.option("--post-only", is_flag=True, help="hand the policy that was signed last to the hub")
@click.option("--days", type=click.IntRange(1, 3650), default=365, show_default=True, help="how long it holds")
@click.option("--hub", "hub_url", metavar="URL", help="address of the hub (SIGNWRIGHT_URL)")
@click.option("--credentials", type=_PATH, help="credential file (SIGNWRIGHT_CREDENTIALS)")
def apply(
    folder: Path | None,
    home: Path | None,
    trust: Path | None,
    key_file: Path | None,
    yes: bool,
    no_post: bool,
    post_only: bool,
    days: int,
    hub_url: str | None,
    credentials: Path | None,
) -> None:
    """Check, show the change in words, sign as keeper, write DIR/policy/signed and load it into the hub."""
    sources = policy_folder(folder, home)
    signed = _current(sources, trust, home)
    if not post_only:
        keeper = key_file or sources.parent / "keeper" / "keeper"
        signed = _sign(sources, signed, key_file=keeper, yes=yes, days=days)
    if not no_post:
        from signwright.cli.hubs import credentials_of, machine_hub

        hub = machine_hub(hub_url, credentials_of(credentials))
        with hub.connection:
            hub.load_policy(signed.parts)
        say(f"the hub has version {signed.policy.version}")
    result(f"version {signed.policy.version} sha256:{signed.policy.sha256}")


def _sign(sources: Path, current: SignedPolicy, *, key_file: Path, yes: bool, days: int) -> SignedPolicy:
    from signwright.cli.hubs import person_key
    from signwright.client.policy_files import sign_next, write_signed
    from signwright.policy.changes import changes, documents_of

    documents = _checked(sources, current)
    found = changes(documents_of(current.policy), documents)
    for change in found:
        say(str(change))
    if not found:
        say("no change: the same policy with a new version and a new end")
    if not yes:
        if not is_terminal():
            raise UsageError("nobody can be asked here", code="not-confirmed", hint="read policy diff, then --yes")
        click.confirm(f"sign this as version {current.policy.version + 1}?", abort=True, err=True)
    keeper = person_key(key_file)
    signed = sign_next(current, documents, keeper=keeper, now=datetime.now(UTC), days=days)
    write_signed(sources / "signed", signed.parts)
    return signed


@command.command()
@_DIR
@_HOME
@_TRUST
@_OUTPUT
def show(folder: Path | None, home: Path | None, trust: Path | None, output: str | None) -> None:
    """The signed policy: version, who may approve, which signing policies."""
    from signwright.policy.changes import documents_of

    policy = _current(policy_folder(folder, home), trust, home).policy
    if output_format(output) == "json":
        documents = {name: document.model_dump(mode="json") for name, document in documents_of(policy).items()}
        json_result(
            {"version": policy.version, "sha256": policy.sha256, "trial": policy.root.trial, "documents": documents}
        )
        return
    result(f"version {policy.version} of {policy.organisation.name}, sha256:{policy.sha256}")
    result(
        f"holds until {policy.index.expires}, root until {policy.root.expires}{', TRIAL' if policy.root.trial else ''}"
    )
    for name, person in sorted(policy.people.people.items()):
        result(f"person  {name}: {', '.join(person.groups) or 'no group'}{' (disabled)' if person.disabled else ''}")
    for project, content in sorted(policy.projects.items()):
        for name, rule in sorted(content.signing_policies.items()):
            who = f"{rule.approvals.required} approvals" if rule.approvals.required else "automatic"
            result(f"policy  {project}/{name}: {rule.kind}, key {rule.key}, {who}, {'/'.join(rule.modes)} mode")
    for exception in policy.organisation.exceptions:
        result(f"without {exception.name} for {exception.scope}: {exception.owner}, until {exception.expires}")
