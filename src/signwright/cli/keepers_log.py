# SPDX-License-Identifier: Apache-2.0
"""Keepers' verbs and the witnessed log: what stands there before they sign, and whether their own word gets there."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from signwright.cli import hubs
from signwright.cli.console import say
from signwright.errors import NotFoundError, PendingError, SignwrightError, VerificationError

if TYPE_CHECKING:
    from signwright.client.hub import Hub
    from signwright.client.log_reader import LogReader
    from signwright.client.logged_words import LoggedWords
    from signwright.policy.policy import Policy

#: How often the log is looked at.
_PAUSE = 1.0


def wait_options(command: Any) -> Any:
    """``--wait``, ``--no-wait``."""
    command = click.option("--no-wait", is_flag=True, help="do not wait for the log")(command)
    return click.option(
        "--wait",
        type=click.IntRange(1, 3600),
        default=60,
        show_default=True,
        metavar="SECONDS",
        help="how long to wait until the witnessed log has it",
    )(command)


def logged_words(hub: Hub, policy: Policy) -> LoggedWords:
    """What the witnessed log has, as the hub serves it, verified and recent; raises `SignwrightError`."""
    from signwright.client.logged_words import check_recent, read_words

    try:
        log = _log(hub, policy)
        check_recent(log, policy, now=hubs.now())
    except (NotFoundError, VerificationError) as problem:
        problem.hint = problem.hint or "is the signer up? to go on without what the log says: --without-log"
        raise
    return read_words(log)


def _log(hub: Hub, policy: Policy) -> LogReader:
    from signwright.client.log_reader import open_log

    return open_log(policy.log_trust, hub.checkpoint(), hub.log_file)


def wait_for_word(
    hub: Hub, policy: Policy, digest: str, *, what: str, seconds: float, check: Callable[[LoggedWords], None]
) -> None:
    """Until the witnessed log has the ``freshness`` or ``halt`` of this digest. ``check``: raises for what is in its
    way.

    Raises `PendingError` (``freshness-not-logged``, ``halt-not-logged``): somebody may hold it back.
    """
    from signwright.client.logged_words import read_words

    end = time.monotonic() + seconds
    problem: SignwrightError | None = None
    while True:
        try:
            logged = read_words(_log(hub, policy))
            check(logged)
            if digest in (logged.freshness if what == "freshness" else logged.halts):
                say(f"{what}: in the witnessed log")
                return
            problem = None
        except NotFoundError as found:
            problem = found  # no checkpoint yet
        if time.monotonic() >= end:
            more = f" ({problem.message})" if problem else ""
            raise PendingError(
                f"{what} {digest[:16]}… is not in the witnessed log after {seconds:.0f} s{more}",
                code=f"{what}-not-logged",
                hint="the hub may hold it back: tell the other freshness keepers and whoever runs the signer, by "
                "another way",
            )
        time.sleep(_PAUSE)
