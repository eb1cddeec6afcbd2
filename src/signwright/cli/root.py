# SPDX-License-Identifier: Apache-2.0
"""``signwright root``: who may change the policy. A new root is signed by the old threshold and by its own."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from signwright.cli.console import json_result, result, say, warn
from signwright.cli.policy import policy_folder
from signwright.cli.policy_shared import (
    OUTPUT,
    POSTING,
    SIGNING,
    SOURCES,
    checked,
    confirm,
    differences,
    keeper_of,
    show_change,
    signed_last,
)
from signwright.cli.settings import output_format
from signwright.errors import ConflictError, DeniedError, UsageError

if TYPE_CHECKING:
    from signwright.client.policy_files import SignedPolicy
    from signwright.client.root_next import NextRoot

ROOT_DAYS = 1825
_ALL = ("root", "policy", "freshness")


@click.group()
def command() -> None:
    """Show and change the policy root: the keys that sign root, policy and freshness, and those that may halt.

    The next root is drafted in DIR/policy/root-next.json and signed there by one keeper after the other. What verifies
    pins the first root; each later one comes from it by signatures, so trust files stay as they are.
    """


@command.command()
@SOURCES
@OUTPUT
def show(folder: Path | None, home: Path | None, trust: Path | None, output: str | None) -> None:
    """The root in use, and the next one with who has signed it and who is missing."""
    from signwright.client.root_next import ROLES, read_root
    from signwright.statements.keys import verifying_key

    sources = policy_folder(folder, home)
    current = signed_last(sources, trust, home)
    policy, following = current.policy, read_root(sources, current)
    roles = {
        name: (getattr(policy.root, name).threshold, [verifying_key(k).key_id for k in getattr(policy.root, name).keys])
        for name in ROLES
    }
    if output_format(output) == "json":
        json_result(
            {
                "version": policy.root.version,
                "sha256": policy.root_sha256,
                "pinned": policy.roots[0],
                "expires": policy.root.expires,
                "trial": policy.root.trial,
                "roles": {name: {"threshold": wanted, "keys": keys} for name, (wanted, keys) in roles.items()},
                "next": _next_json(following) if following else None,
            }
        )
        return
    trial = ", TRIAL" if policy.root.trial else ""
    result(f"root {policy.root.version} of {policy.root.organisation}, sha256:{policy.root_sha256}{trial}")
    result(f"holds until {policy.root.expires}; pinned by trust files: sha256:{policy.roots[0]}")
    for name, (wanted, keys) in roles.items():
        result(f"{name:<10} {wanted} of {len(keys)}: {', '.join(keys)}")
    if following is not None:
        result(f"next root {following.root.version}, by the keepers in use: {following.old}")
        result(f"next root {following.root.version}, by its own keepers:    {following.own}")


def _next_json(following: NextRoot) -> dict[str, object]:
    rows = {"old": following.old, "own": following.own}
    said = {n: {"wanted": s.wanted, "signed": list(s.signed), "missing": list(s.missing)} for n, s in rows.items()}
    return {"version": following.root.version, "complete": following.complete, **said}


@command.command()
@SOURCES
@click.option("--add", multiple=True, metavar="ROLE=FILE.pub", help="give a key a role; may be repeated")
@click.option("--remove", multiple=True, metavar="ROLE=KEY", help="take a role away; KEY: SHA256:… or FILE.pub")
@click.option("--threshold", multiple=True, metavar="ROLE=N", help="how many keys of a role must sign")
@click.option("--days", type=click.IntRange(1, 3650), default=ROOT_DAYS, show_default=True, help="how long it holds")
@click.option("--restart", is_flag=True, help="give up a draft that is there")
def new(
    folder: Path | None,
    home: Path | None,
    trust: Path | None,
    add: tuple[str, ...],
    remove: tuple[str, ...],
    threshold: tuple[str, ...],
    days: int,
    restart: bool,
) -> None:
    """Draft the next root. ROLE: root, policy, freshness, panic, or keeper for the first three.

    Nothing is signed here and nothing changes: `root sign` by each keeper, then `root apply`.
    """
    from signwright.client.partial import write_partial
    from signwright.client.policy_files import check_draft
    from signwright.client.root_next import FILE, begin_root, changed_root, read_root
    from signwright.policy.weakening import documents_of

    sources = policy_folder(folder, home)
    current = signed_last(sources, trust, home)
    if not restart and read_root(sources, current) is not None:
        raise ConflictError("a next root is being signed", code="exists", hint="root show; or root new --restart")
    root = changed_root(
        current.policy.root,
        add=[(role, _line(value)) for role, value in _pairs(add, "--add ROLE=FILE.pub")],
        remove=[(role, _key_id(value)) for role, value in _pairs(remove, "--remove ROLE=KEY")],
        thresholds=dict(_thresholds(threshold)),
        now=datetime.now(UTC),
        days=days,
    )
    following = begin_root(current, root)
    check_draft(current, documents_of(current.policy), under=following.under(current))
    _show(current, following)
    write_partial(sources / FILE, following.envelope)
    result(f"root {root.version} drafted in {sources / FILE}")
    say(f"by the keepers in use: {following.old}")
    say(f"by its own keepers: {following.own}")


@command.command()
@SIGNING
def sign(folder: Path | None, home: Path | None, trust: Path | None, key_file: Path | None, yes: bool) -> None:
    """Sign the next root as one of the keepers in use, or of those that it names; the change is shown first."""
    from signwright.client.partial import write_partial
    from signwright.client.root_next import FILE, sign_root

    sources = policy_folder(folder, home)
    current = signed_last(sources, trust, home)
    following = _drafted(sources, current)
    _show(current, following)
    confirm(f"sign this as root {following.root.version}?", yes=yes)
    following = sign_root(following, keeper_of(sources, key_file), current)
    write_partial(sources / FILE, following.envelope)
    result(f"by the keepers in use: {following.old}")
    result(f"by its own keepers: {following.own}")
    if following.complete:
        say("enough have signed: signwright root apply puts it in force")


@command.command()
@SIGNING
@POSTING
def apply(
    folder: Path | None,
    home: Path | None,
    trust: Path | None,
    key_file: Path | None,
    yes: bool,
    no_post: bool,
    days: int,
    hub_url: str | None,
    credentials: Path | None,
) -> None:
    """Check both thresholds and sign the policy that brings the new root: one version up, over the sources as they are.

    Where the new root wants several policy keepers, this is the first signature: the others follow with `policy sign`.
    """
    from signwright.cli.policy_sign import post, take_next
    from signwright.client.policy_files import root_after
    from signwright.client.policy_next import begin_next, read_next, sign_also, write_next

    sources = policy_folder(folder, home)
    current = signed_last(sources, trust, home)
    following = _drafted(sources, current)
    if not following.complete:
        raise DeniedError(
            f"root {following.root.version}: by the keepers in use {following.old}; by its own {following.own}",
            code="too-few-keepers",
            hint="signwright root sign --key FILE",
        )
    under = root_after(current, following.envelope)
    if read_next(sources / "next", current) is not None:
        text = f"keepers are signing policy version {current.policy.version + 1} already"
        raise ConflictError(text, code="exists", hint="policy apply it first, or remove policy/next")
    documents, draft = checked(sources, current, under=under)
    show_change(current.policy, draft)
    confirm(f"sign policy version {current.policy.version + 1} under root {under.root.version}?", yes=yes)
    begun = begin_next(current, documents, under=under, now=datetime.now(UTC), days=days)
    begun = sign_also(begun, keeper_of(sources, key_file))
    write_next(sources / "next", begun)
    if not begun.standing.reached:
        result(f"version {begun.index.version} under root {under.root.version}: {begun.standing}")
        say("the other keepers: signwright policy sign; then signwright policy apply")
        return
    signed = take_next(sources, current, begun, yes=True)
    if not no_post:
        keeper = key_file or sources.parent / "keeper" / "keeper"
        post(signed, hub_url, credentials, keeper=keeper, sources=sources)
    result(f"root {under.root.version}, version {signed.policy.version} sha256:{signed.policy.sha256}")


def _drafted(sources: Path, current: SignedPolicy) -> NextRoot:
    from signwright.client.root_next import read_root

    following = read_root(sources, current)
    if following is None:
        raise UsageError("no next root is drafted here", code="no-draft", hint="signwright root new")
    return following


def _show(current: SignedPolicy, following: NextRoot) -> None:
    new = following.root
    for change in differences(current.policy, replace(current.policy, root=new)):
        say(str(change))
    say(f"root {new.version} holds until {new.expires}")
    if new.root.threshold == 1 or new.policy.threshold == 1:
        warn("one key alone can change the policy")


def _pairs(texts: tuple[str, ...], wanted: str) -> list[tuple[str, str]]:
    from signwright.client.root_next import ROLES

    found: list[tuple[str, str]] = []
    for text in texts:
        role, _, value = text.partition("=")
        if role not in (*ROLES, "keeper") or not value:
            names = f"ROLE one of {', '.join(ROLES)}, keeper"
            raise UsageError(f"{text[:100]!r}; wanted {wanted}, {names}", code="bad-role")
        found += [(name, value) for name in (_ALL if role == "keeper" else (role,))]
    return found


def _thresholds(texts: tuple[str, ...]) -> list[tuple[str, int]]:
    found = []
    for role, value in _pairs(texts, "--threshold ROLE=N"):
        if not value.isascii() or not value.isdigit() or not 1 <= int(value) <= 16:
            raise UsageError(f"--threshold {role}={value[:20]}; wanted 1 to 16", code="bad-role")
        found.append((role, int(value)))
    return found


def _line(file: str) -> str:
    from signwright.cli.people import read_public_key

    return read_public_key(Path(file)).line


def _key_id(text: str) -> str:
    from signwright.cli.people import read_public_key

    return text if text.startswith(("SHA256:", "swk_")) else read_public_key(Path(text)).fingerprint
