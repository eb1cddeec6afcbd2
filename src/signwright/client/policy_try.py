# SPDX-License-Identifier: Apache-2.0
"""What a draft of the policy would have decided: stored requests, decided again by the same pure function.

Each request is decided twice, under the policy in force and under the draft, on the same words and at the moment at
which it stood. Approvals name the policy under which they were given; here they count as given for both. What cannot
be known afterwards (quotas, freshness) is left out of both.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from signwright.client.hub import Hub, RequestView, Words
from signwright.errors import SignwrightError
from signwright.model.times import parse_time
from signwright.policy.decide import decide
from signwright.policy.facts import gather
from signwright.policy.policy import Policy
from signwright.policy.rules.reason import Reason
from signwright.statements.dsse import Envelope
from signwright.statements.models import Approval, parse_statement, predicate_name

PAGE = 500
Outcome = Literal["allow", "await", "deny"]
#: Rules about the moment or about other requests: no stored word tells how they were.
NOT_REPLAYED = frozenset({"freshness", "stale-policy", "policy-expired", "key-quota", "policy-quota"})
#: States that say how a request ended, not how it was decided.
_ENDS = frozenset({"canceled", "expired", "failed"})


@dataclass(frozen=True, slots=True)
class Replayed:
    """``at``: the moment that was taken for both; ``problem``: why it could not be replayed, else empty."""

    view: RequestView
    at: datetime
    before: Outcome
    after: Outcome
    reasons_before: tuple[Reason, ...] = ()
    reasons_after: tuple[Reason, ...] = ()
    problem: str = ""

    @property
    def changed(self) -> bool:
        return not self.problem and self.before != self.after


def stored_requests(hub: Hub, *, since: datetime | None) -> Iterator[RequestView]:
    """Newest first, page by page, down to ``since``."""
    last: str | None = None
    while True:
        page = hub.requests(limit=PAGE, before=last)
        for view in page:
            if since is not None and parse_time(str(view.created)) < since:
                return
            yield view
        if len(page) < PAGE:
            return
        last = page[-1].id


def replayed(hub: Hub, view: RequestView, current: Policy, draft: Policy, *, now: datetime) -> Replayed:
    """One request decided twice; what the hub no longer has, or shows in a form that does not read, is told."""
    at = moment(view, now=now)
    try:
        words = hub.words(view.id)
        before, why_before = decided(current, words, at=at)
        after, why_after = decided(draft, words, at=at)
    except SignwrightError as problem:
        return Replayed(view, at, "deny", "deny", problem=problem.message)
    return Replayed(view, at, before, after, why_before, why_after)


def moment(view: RequestView, *, now: datetime) -> datetime:
    """When the request stood for decision the last time: now while it is open."""
    if not view.is_final:
        return now
    times = [parse_time(str(row.time)) for row in view.history if row.state not in _ENDS]
    return max(times, default=parse_time(str(view.created)))


def decided(policy: Policy, words: Words, *, at: datetime) -> tuple[Outcome, tuple[Reason, ...]]:
    """Under ``policy`` as if it had been in force when the newest approval was given."""
    policy = replace(policy, sha256=_approved_under(words.approvals) or policy.sha256)
    evidence = [envelope for envelope in words.evidence if predicate_name(envelope) != "freshness"]
    facts = gather(policy, words.request, approvals=words.approvals, evidence=evidence, now=at)
    reasons = tuple(r for r in decide(policy, facts).reasons if r.rule not in NOT_REPLAYED)
    effects = {reason.effect for reason in reasons}
    return ("deny" if "deny" in effects else "await" if "await" in effects else "allow"), reasons


def _approved_under(approvals: Sequence[Envelope]) -> str | None:
    newest: tuple[str, str] | None = None
    for envelope in approvals:
        try:
            said = parse_statement(envelope, Approval).predicate
        except SignwrightError:
            continue  # `gather` passes it over as well
        if newest is None or said.created > newest[0]:
            newest = (said.created, said.policy_sha256)
    return newest[1] if newest else None
