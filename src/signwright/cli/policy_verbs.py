# SPDX-License-Identifier: Apache-2.0
"""``signwright policy``: check, compare, show; signing is in `signwright.cli.policy_sign`, trying a draft in
`signwright.cli.policy_try`. YAML is read by `signwright.cli.policy`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from signwright.cli.console import json_result, result, say
from signwright.cli.policy import policy_folder
from signwright.cli.policy_shared import OUTPUT, SOURCES, checked, differences, signed_last, waiting_words
from signwright.cli.policy_sign import apply, sign
from signwright.cli.policy_try import try_draft
from signwright.cli.settings import output_format

if TYPE_CHECKING:
    from signwright.client.policy_files import SignedPolicy


@click.group()
def command() -> None:
    """Check, compare, sign and load the policy.

    The sources are DIR/policy/*.yaml and DIR/policy/projects/*.yaml; DIR/policy/signed is what was signed last,
    DIR/policy/next what some of several keepers have signed so far.
    """


command.add_command(sign)
command.add_command(apply)
command.add_command(try_draft)


@command.command()
@SOURCES
def check(folder: Path | None, home: Path | None, trust: Path | None) -> None:
    """Read the sources strictly; report every problem with file and line, and every weak setting in words."""
    sources = policy_folder(folder, home)
    documents, _ = checked(sources, signed_last(sources, trust, home))
    result(f"ok: {len(documents)} documents")


@command.command()
@SOURCES
@OUTPUT
def diff(folder: Path | None, home: Path | None, trust: Path | None, output: str | None) -> None:
    """Who gains or loses what, from the signed policy to the sources, and from when on."""
    from dataclasses import asdict

    sources = policy_folder(folder, home)
    current = signed_last(sources, trust, home)
    _, draft = checked(sources, current)
    found = differences(current.policy, draft)
    waits = list(waiting_words(current.policy, draft, now=datetime.now(UTC)))
    if output_format(output) == "json":
        rows = [asdict(change) for change in found]
        json_result({"from_version": current.policy.version, "changes": rows, "waits": waits})
        return
    for change in found:
        result(str(change))
    for line in waits:
        say(line)
    if not found:
        say(f"no change since version {current.policy.version}")


@command.command()
@SOURCES
@OUTPUT
@click.option("--next", "following", is_flag=True, help="the version that keepers are signing, and who is missing")
def show(folder: Path | None, home: Path | None, trust: Path | None, output: str | None, following: bool) -> None:
    """The signed policy: version, who may approve, which signing policies."""
    from signwright.policy.weakening import documents_of

    sources = policy_folder(folder, home)
    current = signed_last(sources, trust, home)
    if following:
        _show_next(sources, current, output)
        return
    policy = current.policy
    if output_format(output) == "json":
        documents = {name: document.model_dump(mode="json") for name, document in documents_of(policy).items()}
        json_result(
            {"version": policy.version, "sha256": policy.sha256, "trial": policy.root.trial, "documents": documents}
        )
        return
    result(f"version {policy.version} of {policy.organisation.name}, sha256:{policy.sha256}")
    trial = ", TRIAL" if policy.root.trial else ""
    result(f"holds until {policy.index.expires}, root {policy.root.version} until {policy.root.expires}{trial}")
    live = f"wait {policy.organisation.weakening_delay_hours} h" if policy.organisation.live else "count at once"
    result(f"{'live' if policy.organisation.live else 'not live'}: changes that weaken {live}")
    for name, person in sorted(policy.people.people.items()):
        result(f"person  {name}: {', '.join(person.groups) or 'no group'}{' (disabled)' if person.disabled else ''}")
    for project, content in sorted(policy.projects.items()):
        for name, rule in sorted(content.signing_policies.items()):
            who = f"{rule.approvals.required} approvals" if rule.approvals.required else "automatic"
            result(f"policy  {project}/{name}: {rule.kind}, key {rule.key}, {who}, {'/'.join(rule.modes)} mode")
    for exception in policy.organisation.exceptions:
        result(f"without {exception.name} for {exception.scope}: {exception.owner}, until {exception.expires}")


def _show_next(sources: Path, current: SignedPolicy, output: str | None) -> None:
    from signwright.client.policy_next import read_next

    following = read_next(sources / "next", current)
    if output_format(output) == "json":
        row = None
        if following is not None:
            who = following.standing
            row = {
                "version": following.index.version,
                "root_version": following.under.root.version,
                "expires": following.index.expires,
                "wanted": who.wanted,
                "signed": list(who.signed),
                "missing": list(who.missing),
                "complete": who.reached,
            }
        json_result({"next": row})
        return
    if following is None:
        say(f"nobody has signed a version after {current.policy.version}")
        return
    result(f"version {following.index.version} under root {following.under.root.version}: {following.standing}")
    for key_id in following.standing.missing:
        result(f"missing {key_id}")
