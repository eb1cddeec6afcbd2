# SPDX-License-Identifier: Apache-2.0
"""``signwright policy sign | apply``: one keeper signs and loads; several sign one after the other, then it loads."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from signwright.cli.console import result, say, warn
from signwright.cli.policy import policy_folder
from signwright.cli.policy_shared import (
    DAYS,
    POSTING,
    SIGNING,
    checked,
    confirm,
    keeper_of,
    show_change,
    signed_last,
)
from signwright.errors import DeniedError, SignwrightError

if TYPE_CHECKING:
    from signwright.client.policy_files import RootInUse, SignedPolicy
    from signwright.client.policy_next import NextPolicy


@click.command("sign")
@SIGNING
@DAYS
@click.option("--restart", is_flag=True, help="give up what was signed of the next version and begin again")
def sign(
    folder: Path | None,
    home: Path | None,
    trust: Path | None,
    key_file: Path | None,
    yes: bool,
    days: int,
    restart: bool,
) -> None:
    """Sign the next version as one keeper of several; `policy apply` loads it when enough have signed.

    What was signed so far lies in DIR/policy/next: carry it to the next keeper together with the sources, for example
    in version control. Each keeper reads the change in words; a source that changed since is refused.
    """
    from signwright.client.policy_next import begin_next, forget_next, read_next, sign_also, write_next

    sources = policy_folder(folder, home)
    current = signed_last(sources, trust, home)
    if restart:
        forget_next(sources / "next")
    following = read_next(sources / "next", current)
    if following is None:
        from signwright.client.policy_files import root_of

        forget_next(sources / "next")  # of a version that is over
        documents, draft = checked(sources, current)
        following = begin_next(current, documents, under=root_of(current), now=datetime.now(UTC), days=days)
    else:
        documents, draft = checked(sources, current, under=following.under)
        following = following.made_again(current, documents)
    show_change(current.policy, draft)
    say(f"version {following.index.version} holds until {following.index.expires}; {following.standing}")
    confirm(f"sign this as version {following.index.version}?", yes=yes)
    following = sign_also(following, keeper_of(sources, key_file))
    write_next(sources / "next", following)
    result(f"version {following.index.version}: {following.standing}")
    if following.standing.reached:
        say("enough have signed: signwright policy apply loads it")


@click.command("apply")
@SIGNING
@POSTING
@click.option("--post-only", is_flag=True, help="hand the policy that was signed last to the hub")
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
    """Check, show the change in words, sign as keeper, write DIR/policy/signed and load it into the hub.

    Where several keepers must sign, what they signed with `policy sign` is taken instead.
    """
    sources = policy_folder(folder, home)
    signed = signed_last(sources, trust, home)
    if not post_only:
        signed = next_signed(sources, signed, key_file=key_file, yes=yes, days=days)
    if not no_post:
        keeper = None if post_only else key_file or sources.parent / "keeper" / "keeper"
        post(signed, hub_url, credentials, keeper=keeper, sources=sources)
    result(f"version {signed.policy.version} sha256:{signed.policy.sha256}")


def post(
    signed: SignedPolicy,
    hub_url: str | None,
    credentials: Path | None,
    *,
    keeper: Path | None = None,
    sources: Path | None = None,
) -> None:
    """Hand a signed policy to the hub, and a freshness statement about it when ``keeper`` may sign one alone."""
    from signwright.cli.freshness import renew_with
    from signwright.cli.hubs import credentials_of, machine_hub

    hub = machine_hub(hub_url, credentials_of(credentials))
    with hub.connection:
        hub.load_policy(signed.parts)
        say(f"the hub has version {signed.policy.version}")
        waiting = hub.standing().waiting_policy
        if waiting is not None and waiting.version == signed.policy.version:
            say(f"it weakens what is in force and waits {waiting.delay_hours} h from now (signwright freshness show)")
        renew_with(hub, signed.policy, keeper, folder=sources / "signed" if sources else None)


def next_signed(sources: Path, current: SignedPolicy, *, key_file: Path | None, yes: bool, days: int) -> SignedPolicy:
    """The next version, in ``policy/signed``: what enough keepers signed, or signed here where one is enough."""
    from signwright.client.policy_files import root_of
    from signwright.client.policy_next import read_next

    following = read_next(sources / "next", current)
    if following is not None and following.standing.reached:
        return take_next(sources, current, following, yes=yes)
    under = root_of(current) if following is None else following.under
    if under.root.policy.threshold > 1:
        words = str(following.standing) if following else f"{under.root.policy.threshold} keepers must sign"
        raise DeniedError(
            f"version {current.policy.version + 1}: {words}",
            code="too-few-keepers",
            hint="each keeper: signwright policy sign --key FILE; then policy apply",
        )
    return _sign_alone(sources, current, under=under, key_file=key_file, yes=yes, days=days)


def take_next(sources: Path, current: SignedPolicy, following: NextPolicy, *, yes: bool) -> SignedPolicy:
    """What enough keepers signed becomes ``policy/signed``, after the whole check that the signer will make."""
    from signwright.client.policy_files import write_signed

    signed = following.opened(current)
    try:
        documents, _ = checked(sources, current, under=following.under, quiet=True)
        following.made_again(current, documents)
    except SignwrightError as problem:
        warn(f"what the keepers signed is loaded, and the sources are not that: {problem.message}")
    show_change(current.policy, signed.policy)
    confirm(f"load this as version {signed.policy.version}?", yes=yes)
    write_signed(sources / "signed", signed.parts)
    _tidy(sources, signed)
    return signed


def _sign_alone(
    sources: Path, current: SignedPolicy, *, under: RootInUse, key_file: Path | None, yes: bool, days: int
) -> SignedPolicy:
    from signwright.client.policy_files import sign_next, write_signed

    documents, draft = checked(sources, current, under=under)
    show_change(current.policy, draft)
    confirm(f"sign this as version {current.policy.version + 1}?", yes=yes)
    keeper = keeper_of(sources, key_file)
    signed = sign_next(current, documents, keeper=keeper, now=datetime.now(UTC), days=days, under=under)
    write_signed(sources / "signed", signed.parts)
    _tidy(sources, signed)
    return signed


def _tidy(sources: Path, signed: SignedPolicy) -> None:
    """Drafts that have become what is signed, or have been overtaken."""
    from signwright.client.policy_next import forget_next
    from signwright.client.root_next import FILE, read_root

    forget_next(sources / "next")
    if read_root(sources, signed) is None:
        (sources / FILE).unlink(missing_ok=True)
