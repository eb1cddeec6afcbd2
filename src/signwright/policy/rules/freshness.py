# SPDX-License-Identifier: Apache-2.0
"""Nothing old counts: neither the policy nor the request."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from signwright.model.times import format_time, parse_time
from signwright.policy.documents import SigningPolicy
from signwright.policy.facts import Facts
from signwright.policy.policy import Policy
from signwright.policy.rules.reason import Reason

#: How far a client's clock may be ahead of ours.
SKEW = timedelta(minutes=5)


def policy_is_current(policy: Policy, rule: SigningPolicy, facts: Facts) -> Iterator[Reason]:
    del rule
    for what, expires in (("policy", policy.index.expires), ("policy root", policy.root.expires)):
        if facts.now >= parse_time(expires):
            yield Reason("policy-expired", "deny", f"{what} that expired {expires}", "a current one", "policy keepers")


def nothing_newer_is_known(policy: Policy, rule: SigningPolicy, facts: Facts) -> Iterator[Reason]:
    """A release needs a recent word that nothing was revoked: whoever carries messages may hold bad news back."""
    if rule.kind != "release":
        return
    who, hours = "freshness keepers (signwright freshness renew)", policy.organisation.freshness_hours
    wanted = f"one younger than {hours} h"
    if facts.freshness is None:
        yield Reason("freshness", "await", "no freshness statement", wanted, who)
        return
    said = facts.freshness.statement.predicate
    created, expires = parse_time(said.created), parse_time(said.expires)
    found = f"number {said.number}, created {said.created}, expires {said.expires}"
    if created > facts.now + SKEW or facts.now >= expires or facts.now - created >= timedelta(hours=hours):
        yield Reason("freshness", "await", found, wanted, who)
    if said.halts:
        yield Reason("halted", "await", f"halt {said.halts[0][:16]}… in {found}", "one without open halts", who)
    if policy.in_force_from is not None and created < policy.in_force_from:
        since = f"one made after this policy's delay ended {format_time(policy.in_force_from)}"
        yield Reason("freshness", "await", found, since, who)
    if policy.version < said.minimum_policy_version:
        found = f"policy version {policy.version}"
        yield Reason("stale-policy", "deny", found, f"at least {said.minimum_policy_version}", "whoever runs the hub")


def request_is_current(policy: Policy, rule: SigningPolicy, facts: Facts) -> Iterator[Reason]:
    del policy
    request = facts.request.predicate
    created, expires = parse_time(request.created), parse_time(request.expires)
    limit = timedelta(hours=rule.max_request_age_hours)
    if created > facts.now + SKEW:
        yield Reason("request-time", "deny", f"created {request.created}", "a time not ahead of the clock", "submitter")
    # Differences cannot leave the calendar; a sum with a time that somebody else chose can.
    if facts.now >= expires or facts.now - created >= limit:
        found = f"created {request.created}, expires {request.expires}"
        yield Reason("request-expired", "deny", found, f"younger than {rule.max_request_age_hours} h", "submitter")
