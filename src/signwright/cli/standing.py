# SPDX-License-Identifier: Apache-2.0
"""Where an organisation stands, in words: how old the freshness statement is, halts, a policy that waits."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from signwright.cli.console import warn
from signwright.errors import SignwrightError

if TYPE_CHECKING:
    from signwright.cli.home import Home
    from signwright.client.hub import Hub
    from signwright.client.standing import Known
    from signwright.policy.policy import Policy


def standing_json(known: Known, now: datetime) -> dict[str, object]:
    """For ``--output json``."""
    left = known.left(now)
    said = known.freshness.predicate.model_dump(mode="json") if known.freshness else None
    return {
        "policy_version": known.policy.version,
        "freshness": said,
        "seconds_left": int(left.total_seconds()) if left is not None else None,
        "renew": known.gets_old(now),
        "halts": [{"sha256": h.digest, **h.statement.predicate.model_dump(mode="json")} for h in known.halts],
        "gate_halts": list(known.gate_halts),
        "waiting_policy": known.waiting.model_dump(mode="json") if known.waiting else None,
    }


def standing_lines(known: Known, now: datetime) -> Iterator[str]:
    """For people: freshness, who is revoked, halts, a policy that waits."""
    if known.freshness is None:
        yield "fresh     none: no release can be signed"
    else:
        said = known.freshness.predicate
        yield f"fresh     number {said.number}, {age_words(known, now)}"
        for name in (*said.revoked_credentials, *said.revoked_people):
            yield f"revoked   {name}"
        for digest in said.halts:
            yield f"HALTED    so the freshness statement says: no release is signed ({digest})"
    for halt in known.halts:
        word = halt.statement.predicate
        yield f"HALTED    {word.created}: {word.reason} ({halt.digest})"
    for digest in sorted(set(known.gate_halts) - {halt.digest for halt in known.halts}):
        yield f"HALTED    at the gate itself, as the hub says ({digest})"
    if known.waiting is not None:
        waiting = known.waiting
        yield f"waits     policy version {waiting.version} ({waiting.delay_hours} h since {waiting.since}): it weakens"


def age_words(known: Known, now: datetime) -> str:
    """How old it is and how long it holds."""
    left = known.left(now)
    if known.freshness is None or left is None:
        return "there is no freshness statement: no release can be signed (signwright freshness renew)"
    created = known.freshness.predicate.created
    if left <= timedelta():
        return f"created {created}: too old, no release can be signed (signwright freshness renew)"
    if known.freshness.predicate.halts:
        halts = len(known.freshness.predicate.halts)
        return f"created {created}, names {halts} open halt(s): no release can be signed (renew it after the resume)"
    more = "; renew it now (signwright freshness renew)" if known.gets_old(now) else ""
    return f"created {created}, holds for {_span(left)} more{more}"


def _span(time: timedelta) -> str:
    hours = int(time.total_seconds() // 3600)
    return f"{hours // 24} d {hours % 24} h" if hours >= 48 else f"{hours} h {int(time.total_seconds() // 60) % 60} min"


def warn_ahead(known: Known, now: datetime) -> None:
    """Before releases stop, every client that has the hub at hand says so; also that signing is halted."""
    if known.gets_old(now):
        warn(f"freshness: {age_words(known, now)}")
    for halt in known.halts:
        warn(f"signing is halted: {halt.statement.predicate.reason} ({halt.digest[:16]}…)")


def tell_standing(hub: Hub, policy: Policy, now: datetime) -> None:
    """`warn_ahead` from a machine that only submits: what cannot be found out is a warning and no more."""
    from signwright.client.standing import look

    try:
        warn_ahead(look(hub, policy, now=now), now)
    except SignwrightError as problem:
        warn(problem.message)
    except OSError as problem:  # a build machine need not have a place that outlives the build
        warn(f"freshness cannot be remembered, so an older one would not be noticed: {problem.strerror}")


def standing_of_home(home: Home, policy: Policy) -> Known:
    """As the hub of a home shows it, verified and not remembered; without a hub, from the signed policy's folder.

    Raises `SignwrightError` when neither says anything that holds.
    """
    from signwright.cli.hubs import call_key
    from signwright.client.credentials import load_credentials
    from signwright.client.http import HubConnection
    from signwright.client.hub import Hub, StandingView
    from signwright.client.standing import Known, shown
    from signwright.policy.facts import verified_freshness
    from signwright.statements.dsse import parse_envelope

    view: StandingView | None = None
    try:
        credential = load_credentials(home / "credentials" / "ci.json")[0]
        with HubConnection(home.read().url, call_key(credential), read_seconds=5) as connection:
            view = Hub(connection).standing()
    except SignwrightError:
        pass  # not up, or not with this home's credentials
    if view is not None:
        return shown(view, policy)
    try:
        envelope = parse_envelope((home / "policy" / "signed" / "freshness.json").read_bytes())
    except OSError:
        return Known(policy, None, None, (), None, ())
    return Known(policy, verified_freshness(policy, envelope).statement, envelope, (), None, ())
