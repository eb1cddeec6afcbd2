# SPDX-License-Identifier: Apache-2.0
"""Rules that could never lead to a signature. Whoever writes a policy is told; nothing is signed under them anyway, so
that the signer need not know them (`signwright.policy.validate` has what it must refuse).
"""

from __future__ import annotations

from collections.abc import Iterator

from signwright.policy.documents import SigningPolicy
from signwright.policy.policy import Policy


def dead_ends(policy: Policy) -> Iterator[str]:
    """Each in words."""
    authorities = [a.name for a in policy.services.timestamp_authorities]
    if len(set(authorities)) != len(authorities):
        yield "services: a timestamp authority is listed twice"
    for project, document in sorted(policy.projects.items()):
        for name, rule in sorted(document.signing_policies.items()):
            yield from (f"{project}/{name}: {problem}" for problem in _of_rule(policy, rule))


def _of_rule(policy: Policy, rule: SigningPolicy) -> Iterator[str]:
    people = [p for p in policy.people.people.values() if not p.disabled]
    eligible = [p for p in people if not rule.approvals.eligible or set(p.groups) & set(rule.approvals.eligible)]
    if len(eligible) < rule.approvals.required:
        yield f"{rule.approvals.required} approvals wanted, {len(eligible)} people could give one"
    for group, count in sorted(rule.approvals.groups.items()):
        if sum(group in p.groups for p in eligible) < count:
            yield f"{count} of group {group} wanted, fewer are enrolled and eligible"
    if rule.hold and not any(rule.hold in p.groups for p in people):
        yield f"held for group {rule.hold}, in which nobody is"
    if rule.timestamp == "required" and not policy.services.timestamp_authorities:
        yield "a timestamp is required and no timestamp authority is listed"
    if rule.scan.required and not policy.services.scanners:
        yield "a scan is required and no scanner is listed"
