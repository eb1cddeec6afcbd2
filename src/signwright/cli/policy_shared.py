# SPDX-License-Identifier: Apache-2.0
"""What the verbs on policy and policy root share: where it lies, what was signed last, and the change in words."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from signwright.cli.console import is_terminal, say, warn
from signwright.cli.policy import read_sources
from signwright.cli.policy_places import with_places
from signwright.errors import DeniedError, SignwrightError, UsageError
from signwright.model.operation import Strict
from signwright.model.times import format_time

if TYPE_CHECKING:
    from signwright.client.partial import Standing
    from signwright.client.policy_files import RootInUse, SignedPolicy
    from signwright.client.ssh_keys import PersonKey
    from signwright.policy.changes import Change
    from signwright.policy.policy import Policy

PATH = click.Path(path_type=Path)
DIR = click.argument("folder", type=PATH, required=False, metavar="[DIR]")
HOME = click.option("--home", type=PATH, help="home directory; default: SIGNWRIGHT_HOME")
TRUST = click.option("--trust", type=PATH, help="trust file; default: trust.json of the home or beside the sources")
OUTPUT = click.option("--output", type=click.Choice(["text", "json"]))
YES = click.option("--yes", is_flag=True, help="do not ask")
KEY = click.option("--key", "key_file", type=PATH, help="the keeper's SSH key; default: DIR/keeper/keeper")
DAYS = click.option("--days", type=click.IntRange(1, 3650), default=365, show_default=True, help="how long it holds")
HUB = click.option("--hub", "hub_url", metavar="URL", help="address of the hub (SIGNWRIGHT_URL)")
CREDENTIALS = click.option("--credentials", type=PATH, help="credential file (SIGNWRIGHT_CREDENTIALS)")
NO_POST = click.option("--no-post", is_flag=True, help="sign and write, do not hand it to the hub")
Options = Callable[[Callable[..., None]], Callable[..., None]]


def _together(*options: Options) -> Options:
    """Several options as one, in the order in which ``--help`` shows them."""

    def all_of(command: Callable[..., None]) -> Callable[..., None]:
        for option in reversed(options):
            command = option(command)
        return command

    return all_of


#: Where the sources are; what whoever signs them says besides; how what was signed reaches the hub.
SOURCES = _together(DIR, HOME, TRUST)
SIGNING = _together(SOURCES, KEY, YES)
POSTING = _together(NO_POST, DAYS, HUB, CREDENTIALS)


def signed_last(sources: Path, trust: Path | None, home: Path | None) -> SignedPolicy:
    """The signed policy beside the sources, under the pin of the trust file when there is one."""
    from signwright.client.policy_files import read_signed
    from signwright.client.trust import load_trust

    beside = [folder / "trust.json" for folder in (home, sources.parent) if folder is not None]
    where = trust or next((file for file in beside if file.is_file()), None)
    pin = load_trust(where).policy_root_sha256 if where else None
    if pin is None:
        warn("no trust file: the policy root beside the sources is believed")
    return read_signed(sources / "signed", pinned_root_sha256=pin)


def checked(
    sources: Path, current: SignedPolicy, *, under: RootInUse | None = None, quiet: bool = False
) -> tuple[dict[str, Strict], Policy]:
    """The draft, after every check; prints lint to stderr. Raises with all problems, printed one per line.

    ``under``: the root that it is made for, when that is not the one in use.
    """
    from signwright.client.policy_files import check_draft
    from signwright.policy.lint import weaknesses

    try:
        documents = read_sources(sources)
        policy = check_draft(current, documents, under=under)
    except SignwrightError as problem:
        listed = problem.details.get("problems")
        if not isinstance(listed, list):
            raise
        placed = with_places([str(line) for line in listed], sources)
        for line in placed if len(placed) > 1 else ():
            say(f"problem: {line}")
        if placed == listed:
            raise
        raise DeniedError("policy: " + "; ".join(placed), code=problem.code, details={"problems": placed}) from problem
    for line in () if quiet else weaknesses(policy, now=datetime.now(UTC)):
        say(f"weak: {line}")
    return documents, policy


def show_change(current: Policy, draft: Policy) -> None:
    """Who gains or loses what, and from when on it counts, on stderr."""
    found = differences(current, draft)
    for change in found:
        say(str(change))
    if not found:
        say("no change: the same policy with a new version and a new end")
    for line in waiting_words(current, draft, now=datetime.now(UTC)):
        say(line)


def differences(current: Policy, draft: Policy) -> list[Change]:
    """Who gains or loses what, with the policy root. A keeper who is also enrolled as a person is called by name."""
    from signwright.policy.changes import changes
    from signwright.policy.weakening import compared
    from signwright.statements.keys import verifying_key

    rows = [(n, text) for policy in (current, draft) for n, p in policy.people.people.items() for text in p.keys]
    owners = {verifying_key(text).key_id: name for name, text in rows}
    found = []
    for change in changes(compared(current), compared(draft)):
        keeper = re.fullmatch(r"policy-root: [a-z]+\.keys\[(.+)\]", change.where)
        if keeper is not None and keeper[1] in owners:
            change = replace(change, text=change.text.replace(keeper[1], f"{keeper[1]} ({owners[keeper[1]]})"))
        found.append(change)
    return found


def waiting_words(current: Policy, draft: Policy, *, now: datetime) -> Iterable[str]:
    """From when on a change that weakens counts; nothing for one that does not."""
    from signwright.policy.weakening import waiting_parts

    parts = waiting_parts(current, draft)
    if not parts:
        return
    what = f"this weakens {', '.join(parts)}"
    if not current.organisation.live:
        yield f"{what}; it counts at once, because this organisation is not live yet (signwright go-live)"
        return
    hours = current.organisation.weakening_delay_hours
    earliest = format_time(now.replace(microsecond=0) + timedelta(hours=hours))
    yield f"{what} and comes into force on {earliest} at the earliest: it is logged at once and waits {hours} h"
    yield "until then the policy in force stays in force, and a further version before then waits anew"


def confirm(question: str, *, yes: bool) -> None:
    """Raises `UsageError` when nobody can be asked, `click.Abort` for a no."""
    if yes:
        return
    if not is_terminal():
        raise UsageError("nobody can be asked here", code="not-confirmed", hint="read policy diff, then --yes")
    click.confirm(question, abort=True, err=True)


def keeper_of(sources: Path, key_file: Path | None) -> PersonKey:
    """The keeper's key, with a prompt for its passphrase."""
    from signwright.cli.hubs import person_key

    return person_key(key_file or sources.parent / "keeper" / "keeper")


def say_standing(what: str, standing: Standing) -> None:
    say(f"{what}: {standing}")
