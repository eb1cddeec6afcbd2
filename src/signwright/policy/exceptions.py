# SPDX-License-Identifier: Apache-2.0
"""What a release does without only under a named exception (owner, reason, expiry)."""

from __future__ import annotations

from signwright.policy.documents import Services, SigningPolicy


def needed_exceptions(rule: SigningPolicy, services: Services) -> frozenset[str]:
    """Names of the exceptions that a signing policy of kind release leans on; none for test."""
    if rule.kind != "release":
        return frozenset()
    stamped = rule.timestamp == "required"
    needs = {
        "digest-mode": "digest" in rule.modes,
        "no-scan": not rule.scan.required,
        "no-timestamp": not stamped,
        "local-timestamp": stamped and not any(a.outside for a in services.timestamp_authorities),
        "local-witness": services.quorum.outside < 1,
    }
    return frozenset(name for name, needed in needs.items() if needed)
