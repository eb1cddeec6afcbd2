# SPDX-License-Identifier: Apache-2.0
"""The decision: facts and a policy in, `Allow`, `Await` or `Deny` with every reason out. Pure.

Hub, gate and keyholder call the same function on facts that each has verified for itself. Taking a supporting fact
away (an approval, a clean verdict, the submitter's signature) never turns a denial into leave; only facts that speak
against a request (a person's no, an infected verdict) can be suppressed by whoever carries them, which is why nothing
rests on them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from signwright.policy.documents import SigningPolicy
from signwright.policy.facts import Facts
from signwright.policy.policy import Policy
from signwright.policy.rules import approvals, artifacts, freshness, key, scan, submitter
from signwright.policy.rules.reason import Reason


@dataclass(frozen=True, slots=True)
class Decision:
    """``outcome`` follows from the reasons: any denial denies, any missing fact waits, none of either allows."""

    outcome: Literal["allow", "await", "deny"]
    reasons: tuple[Reason, ...]

    def of(self, effect: str) -> tuple[Reason, ...]:
        return tuple(r for r in self.reasons if r.effect == effect)


Rule = Callable[[Policy, SigningPolicy, Facts], Iterable[Reason]]

#: Every rule; all of them always run, so that all problems are reported at once.
RULES: tuple[Rule, ...] = (
    freshness.policy_is_current,
    freshness.request_is_current,
    freshness.nothing_newer_is_known,
    submitter.submitter_is_allowed,
    submitter.quota_is_left,
    artifacts.mode_is_listed,
    artifacts.derived_is_allowed,
    artifacts.artifacts_fit_the_configuration,
    artifacts.options_are_listed,
    key.operations_fit_the_key,
    key.key_quota_is_left,
    key.operations_fit_their_artifacts,
    scan.scan_is_clean,
    approvals.nobody_said_no,
    approvals.enough_people_approved,
    approvals.hold_is_released,
)


def decide(policy: Policy, facts: Facts) -> Decision:
    """Decide one request. Never raises for anything that a request can contain."""
    request = facts.request.predicate
    signing_policy = policy.signing_policy(request.project, request.signing_policy)
    if signing_policy is None:
        found = f"{request.project}/{request.signing_policy}"
        return Decision(
            "deny", (Reason("signing-policy", "deny", found, "a signing policy of this policy", "keepers"),)
        )
    reasons = tuple(reason for rule in RULES for reason in rule(policy, signing_policy, facts))
    effects = {reason.effect for reason in reasons}
    outcome: Literal["allow", "await", "deny"]
    outcome = "deny" if "deny" in effects else "await" if "await" in effects else "allow"
    return Decision(outcome, reasons)
