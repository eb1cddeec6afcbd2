# SPDX-License-Identifier: Apache-2.0
"""Who may ask, and how often."""

from __future__ import annotations

from collections.abc import Iterator

from signwright.model.times import parse_time
from signwright.policy.documents import SigningPolicy
from signwright.policy.facts import Facts
from signwright.policy.policy import Policy
from signwright.policy.rules.reason import Reason


def submitter_is_allowed(policy: Policy, rule: SigningPolicy, facts: Facts) -> Iterator[Reason]:
    if facts.submitter is None:
        yield Reason("submitter", "deny", "no valid signature of one enrolled credential", "one", "submitter")
        return
    credential = policy.credentials.credentials[facts.submitter]
    if facts.submitter not in rule.submitters:
        request = facts.request.predicate
        wanted = f"a submitter of {request.project}/{request.signing_policy}"
        yield Reason("submitter", "deny", f"credential {facts.submitter}", wanted, "policy keepers")
    if credential.kind != rule.kind:
        yield Reason(
            "submitter-kind", "deny", f"a {credential.kind} credential", f"a {rule.kind} one", "policy keepers"
        )
    if credential.expires is not None and facts.now >= parse_time(credential.expires):
        yield Reason(
            "credential-expired", "deny", f"expired {credential.expires}", "a current credential", "policy keepers"
        )


def quota_is_left(policy: Policy, rule: SigningPolicy, facts: Facts) -> Iterator[Reason]:
    del policy
    if rule.max_per_day is not None and facts.counters.signing_policy + facts.wanted > rule.max_per_day:
        found = f"{facts.counters.signing_policy} used, {facts.wanted} more asked"
        yield Reason("policy-quota", "deny", found, f"at most {rule.max_per_day} in 24 h", "policy keepers")
