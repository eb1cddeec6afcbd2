# SPDX-License-Identifier: Apache-2.0
"""``signwright go-live``: set-up is over; from now on a change that weakens the policy waits."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click

from signwright.cli.console import result, say, warn
from signwright.cli.policy import policy_folder
from signwright.cli.policy_shared import POSTING, SIGNING, confirm, signed_last
from signwright.cli.policy_sign import next_signed, post
from signwright.errors import ConflictError


@click.command("go-live")
@SIGNING
@POSTING
def command(
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
    """Write live: true into organisation.yaml, sign it as the next version of the policy and load it.

    While an organisation is not live every signed change counts at once, so that it can be set up. From then on a
    change that weakens the policy is logged at once, where monitors see it, and counts only after
    weakening_delay_hours (24 by default). Going back is such a change itself: it is logged, and it waits.
    """
    from signwright.cli.policy_edit import set_switch
    from signwright.client.files import replace_file
    from signwright.policy.lint import weaknesses

    sources = policy_folder(folder, home)
    current = signed_last(sources, trust, home)
    organisation = current.policy.organisation
    if organisation.live:
        raise ConflictError(f"{organisation.name} is live already", code="live")
    for line in weaknesses(current.policy, now=datetime.now(UTC)):
        say(f"weak: {line}")
    hours = organisation.weakening_delay_hours
    say(f"from the next version on a change that weakens the policy is logged at once and waits {hours} h")
    say(f"this cannot be taken back silently: to go back is a change that weakens, so it is logged and waits {hours} h")
    if current.policy.root.trial:
        warn("this is a TRIAL root for ever: going live protects an experiment")
    confirm(f"is {organisation.name} set up?", yes=yes)
    file = sources / "organisation.yaml"
    before = file.read_bytes()
    set_switch(file, "live", True)
    if current.policy.root.policy.threshold > 1:
        result(f"{file}: live")
        say("several keepers must sign: signwright policy sign by each, then signwright policy apply")
        return
    try:
        signed = next_signed(sources, current, key_file=key_file, yes=yes, days=days)
    except BaseException:
        replace_file(file, before)  # nothing was signed: the sources stay as they were
        raise
    if not no_post:
        keeper = key_file or sources.parent / "keeper" / "keeper"
        post(signed, hub_url, credentials, keeper=keeper, sources=sources)
    result(f"live with version {signed.policy.version} sha256:{signed.policy.sha256}")
