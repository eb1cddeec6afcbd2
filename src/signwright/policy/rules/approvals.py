# SPDX-License-Identifier: Apache-2.0
"""People, each counted once however many keys they hold."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Literal

from signwright.model.times import parse_time
from signwright.policy.documents import SigningPolicy
from signwright.policy.facts import Facts, VerifiedApproval
from signwright.policy.policy import Policy
from signwright.policy.rules.freshness import SKEW
from signwright.policy.rules.reason import Reason


def people_who(
    said: Literal["approve", "release"], policy: Policy, rule: SigningPolicy, facts: Facts
) -> dict[str, VerifiedApproval]:
    """Distinct people whose current word counts for this request under this policy."""
    submitter = policy.credentials.credentials.get(facts.submitter or "")
    excluded = submitter.person if submitter and rule.approvals.exclude_submitter else None
    return {
        approval.statement.predicate.person: approval
        for approval in facts.approvals
        if approval.statement.predicate.decision == said
        and approval.statement.predicate.person != excluded
        and _counts(policy, rule, facts, approval)
    }


def _counts(policy: Policy, rule: SigningPolicy, facts: Facts, approval: VerifiedApproval) -> bool:
    word, request = approval.statement.predicate, facts.request.predicate
    created = parse_time(word.created)
    return (
        created <= facts.now + SKEW
        and facts.now < parse_time(word.expires)
        and facts.now - created < timedelta(hours=rule.approvals.max_age_hours)
        and word.policy_sha256 == policy.sha256
        and (word.project, word.signing_policy) == (request.project, request.signing_policy)
        and (word.artifacts_rehashed or request.mode == "digest")
    )


def nobody_said_no(policy: Policy, rule: SigningPolicy, facts: Facts) -> Iterator[Reason]:
    del policy, rule
    for approval in facts.approvals:
        word = approval.statement.predicate
        if word.decision == "deny":
            why = f" ({word.comment})" if word.comment else ""
            yield Reason("rejected", "deny", f"{word.person} said no{why}", "nobody's no", word.person)


def enough_people_approved(policy: Policy, rule: SigningPolicy, facts: Facts) -> Iterator[Reason]:
    groups = {name: set(person.groups) for name, person in policy.people.people.items()}
    approved = people_who("approve", policy, rule, facts)
    eligible = set(rule.approvals.eligible)
    counted = {name for name in approved if not eligible or groups[name] & eligible}
    if len(counted) < rule.approvals.required:
        who = f"group {', '.join(sorted(eligible))}" if eligible else "any approver"
        found = f"{len(counted)} of {rule.approvals.required} approvals ({', '.join(sorted(counted)) or 'nobody'})"
        found += "".join(f"; {row}" for row in _lapsed(policy, rule, facts, approved=set(approved)))
        yield Reason("approvals", "await", found, f"{rule.approvals.required} people", who)
    for group, wanted in sorted(rule.approvals.groups.items()):
        have = sorted(name for name in counted if group in groups[name])
        if len(have) < wanted:
            found = f"{len(have)} of group {group} ({', '.join(have) or 'nobody'})"
            yield Reason("approvals", "await", found, f"{wanted} of group {group}", f"group {group}")


def _lapsed(policy: Policy, rule: SigningPolicy, facts: Facts, *, approved: set[str]) -> Iterator[str]:
    """Who approved once and has to look again, in words."""
    told: set[str] = set()
    for approval in facts.approvals:
        word = approval.statement.predicate
        if word.decision != "approve" or word.person in approved | told:
            continue
        too_old = facts.now - parse_time(word.created) >= timedelta(hours=rule.approvals.max_age_hours)
        if word.policy_sha256 != policy.sha256:
            why = "was given under another policy"
        elif too_old or facts.now >= parse_time(word.expires):
            why = "is too old"
        else:
            continue
        told.add(word.person)
        yield f"the approval of {word.person} {why}"


def hold_is_released(policy: Policy, rule: SigningPolicy, facts: Facts) -> Iterator[Reason]:
    if rule.hold is None:
        return
    released = people_who("release", policy, rule, facts)
    if not any(rule.hold in policy.people.people[name].groups for name in released):
        yield Reason("hold", "await", f"held for {rule.hold}", f"a release by group {rule.hold}", f"group {rule.hold}")
