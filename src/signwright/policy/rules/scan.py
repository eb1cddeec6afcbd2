# SPDX-License-Identifier: Apache-2.0
"""Every artifact has a clean, current verdict of an enrolled scanner, and none that says otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from signwright.model.times import parse_time
from signwright.policy.documents import SigningPolicy
from signwright.policy.facts import Facts
from signwright.policy.policy import Policy
from signwright.policy.rules.freshness import SKEW
from signwright.policy.rules.reason import Reason


def scan_is_clean(policy: Policy, rule: SigningPolicy, facts: Facts) -> Iterator[Reason]:
    del policy
    oldest = facts.now - timedelta(hours=rule.scan.max_age_hours)
    for subject in {s.digest.sha256: s for s in facts.request.subjects}.values():
        about = [s for s in facts.scans if s.statement.subjects[0].digest.sha256 == subject.digest.sha256]
        for scan in about:
            verdict = scan.statement.predicate
            if verdict.verdict != "clean":
                what = "; ".join(f"{f.path}: {f.rule}" for f in verdict.findings[:5]) or verdict.verdict
                yield Reason(
                    "scan", "deny", f"{subject.name!r} {verdict.verdict}: {what}", "a clean verdict", "submitter"
                )
        times = [parse_time(s.statement.predicate.created) for s in about if s.statement.predicate.verdict == "clean"]
        if rule.scan.required and not any(oldest < t <= facts.now + SKEW for t in times):
            found = f"no current verdict on {subject.name!r}"
            yield Reason("scan", "await", found, f"a clean one younger than {rule.scan.max_age_hours} h", "scanner")
