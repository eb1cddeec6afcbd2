# SPDX-License-Identifier: Apache-2.0
"""Where an organisation stands: freshness, halts, resumes, a policy that waits; verified here, whatever the hub says.

The newest freshness statement that this client has ever verified is kept, so that a hub cannot show an older one, and
a renewal never forgets what was revoked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from signwright.client.files import write_private
from signwright.client.hub import Hub, StandingView, WaitingView
from signwright.client.keepers_words import draft_freshness
from signwright.client.sessions import state_folder
from signwright.errors import ConfigurationError, SignwrightError, UsageError, VerificationError
from signwright.model.times import parse_time
from signwright.policy.facts import VerifiedFreshness, verified_freshness
from signwright.policy.incoming import check_not_ahead
from signwright.policy.policy import Policy
from signwright.policy.succession import opened_halt
from signwright.statements.dsse import Envelope, parse_envelope
from signwright.statements.models import Freshness, Halt, Statement, parse_statement

#: From this part of the limit on, keepers are told that a freshness statement gets old.
WARN_AFTER = 0.75


@dataclass(frozen=True, slots=True)
class OpenHalt:
    """Signed by a panic key. ``under``: policy version in force when it reached the hub, which is the hub's word."""

    statement: Statement[Halt]
    under: int

    @property
    def digest(self) -> str:
        return self.statement.digest


@dataclass(frozen=True, slots=True)
class Known:
    """``freshness`` and ``halts`` hold under ``policy``; ``waiting`` and ``gate_halts`` (digests) are the hub's word.

    ``newest``: the envelope of ``freshness``; ``shown`` and ``resumes``: as the hub shows them, verified or not.
    """

    policy: Policy
    freshness: Statement[Freshness] | None
    newest: Envelope | None
    halts: tuple[OpenHalt, ...]
    waiting: WaitingView | None
    gate_halts: tuple[str, ...]
    resumes: tuple[Envelope, ...] = ()
    shown: Envelope | None = None

    @property
    def evidence(self) -> tuple[Envelope, ...]:
        """What goes among a request's evidence."""
        return (self.newest,) if self.newest is not None else ()

    def limit(self) -> timedelta:
        """How old a freshness statement may be."""
        return timedelta(hours=self.policy.organisation.freshness_hours)

    def left(self, now: datetime) -> timedelta | None:
        """How long releases can still be signed without another freshness statement; None without one."""
        if self.freshness is None:
            return None
        said = self.freshness.predicate
        return min(parse_time(said.expires), parse_time(said.created) + self.limit()) - now

    def gets_old(self, now: datetime) -> bool:
        """Whether it is time to renew; one that names halts is to be followed by one that does not."""
        left, said = self.left(now), self.freshness
        return left is None or left <= self.limit() * (1 - WARN_AFTER) or bool(said and said.predicate.halts)


def look(hub: Hub, policy: Policy, *, now: datetime, folder: Path | None = None) -> Known:
    """`shown`, remembered; raises `VerificationError` when it shows an older freshness statement than this client has
    seen (``freshness-rollback``), and `DeniedError` for one from the future.
    """
    view = hub.standing()
    newest, verified = view.freshness.opened() if view.freshness else None, _verified(policy, view)
    if verified is not None:
        check_not_ahead(verified, now=now)
    follow_freshness(policy, newest, holds=verified is not None, folder=folder)
    return shown(view, policy)


def shown(view: StandingView, policy: Policy) -> Known:
    """What the hub shows, verified under ``policy``; raises `SignwrightError` for halts that do not hold."""
    verified = _verified(policy, view)
    newest = view.freshness.opened() if view.freshness else None
    return Known(
        policy=policy,
        freshness=verified.statement if verified else None,
        newest=newest if verified else None,
        halts=tuple(OpenHalt(opened_halt(policy, row.opened()), row.number) for row in view.halts),
        waiting=view.waiting_policy,
        gate_halts=view.gate.halts if view.gate else (),
        resumes=tuple(row.opened() for row in view.resumes),
        shown=newest,
    )


def _verified(policy: Policy, view: StandingView) -> VerifiedFreshness | None:
    """None also for one that a new root no longer knows."""
    if view.freshness is None:
        return None
    try:
        return verified_freshness(policy, view.freshness.opened())
    except SignwrightError:
        return None


def _is_remembered(policy: Policy, shown: Envelope | None, *, folder: Path | None) -> bool:
    """Whether the hub shows the very statement that was verified before: then it holds nothing back, and only a new
    root no longer takes it.
    """
    before = remembered(policy, folder=folder)
    if before is None or shown is None:
        return False
    try:
        return parse_statement(shown, Freshness).digest == before.digest
    except SignwrightError:
        return False


def follow_freshness(policy: Policy, shown: Envelope | None, *, holds: bool, folder: Path | None = None) -> None:
    """Remember a freshness statement that ``holds``; raises `VerificationError` when a newer one was seen before.

    One that does not hold is not believed: it may be of a keeper whom a newer root no longer knows.
    """
    before = remembered(policy, folder=folder)
    number = parse_statement(shown, Freshness).predicate.number if shown is not None else 0
    if before is not None and number < before.predicate.number:
        found = f"freshness number {number}" if number else "no freshness statement"
        raise VerificationError(
            f"the hub shows {found}, and number {before.predicate.number} was seen before",
            code="freshness-rollback",
            hint="somebody may hold back that a credential or a person was revoked; tell the keepers",
        )
    if shown is not None and holds and (before is None or number > before.predicate.number):
        file = _file(policy, folder)
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(file, shown.encode())


def remembered(policy: Policy, *, folder: Path | None = None) -> Statement[Freshness] | None:
    """The newest one that this client ever verified under the policy's pinned root."""
    file = _file(policy, folder)
    try:
        return parse_statement(parse_envelope(file.read_bytes()), Freshness)
    except FileNotFoundError:
        return None
    except SignwrightError as problem:
        raise ConfigurationError(f"{file}: the remembered statement does not read", code="bad-state") from problem


def _file(policy: Policy, folder: Path | None) -> Path:
    return (folder or state_folder() / "freshness") / f"{policy.roots[0][:24]}.json"


def next_freshness(
    known: Known,
    *,
    now: datetime,
    hours: int | None = None,
    revoke: tuple[frozenset[str], frozenset[str]] = (frozenset(), frozenset()),
    unrevoke: frozenset[str] = frozenset(),
    halts: Sequence[str] = (),
    number: int | None = None,
    minimum_policy_version: int = 1,
    folder: Path | None = None,
) -> bytes:
    """The payload of the next one: everything that was revoked stays so, unless it is named in ``unrevoke``.

    ``hours``: how long it holds, at most and by default as long as the policy allows; ``revoke``: credentials, people;
    ``halts``: digests of those that are not over; ``number``: instead of the next one; ``minimum_policy_version``: a
    higher one than that in force, such as of a policy that somebody holds back. Raises `UsageError` for a number that
    is no higher one, or higher than numbers may be now.
    """
    last = max(
        (one.predicate for one in (known.freshness, remembered(known.policy, folder=folder)) if one is not None),
        key=lambda said: said.number,
        default=None,
    )
    credentials, people = revoke
    if last is not None:
        credentials, people = credentials | {*last.revoked_credentials}, people | {*last.revoked_people}
    limit = known.policy.organisation.freshness_hours
    lowest, highest = (last.number + 1 if last else 1), int(now.timestamp())
    if not lowest <= (number or lowest) <= highest:
        found = f"freshness number {number or lowest}; wanted one from {lowest} to {highest}, the time in seconds"
        raise UsageError(found, code="freshness-number")
    least = max(minimum_policy_version, last.minimum_policy_version if last else 1)
    return draft_freshness(
        known.policy.root_sha256,
        number=number or lowest,
        minimum_policy_version=max(known.policy.version, least),
        halts=halts,
        now=now,
        hours=min(hours or limit, limit),
        revoked_credentials=sorted(credentials - unrevoke),
        revoked_people=sorted(people - unrevoke),
    )
