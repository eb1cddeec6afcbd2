# SPDX-License-Identifier: Apache-2.0
"""Alarms about the policy: versions that go back, weaker ones, and intents under one that is not in force."""

from __future__ import annotations

from signwright.client.alarms.base import Look
from signwright.client.alarms.history import SLACK
from signwright.model.times import parse_time
from signwright.transparency.leaf import IntentLeaf, PolicyLeaf, ResultLeaf


def rollback(look: Look[PolicyLeaf]) -> str | None:
    leaf, history = look.leaf, look.history
    if leaf.policy_version > history.version and leaf.root_version >= history.root_version:
        return None
    if leaf.policy_version > history.version:
        return f"policy root version {leaf.root_version} after {history.root_version}"
    known = history.policies.get(str(leaf.policy_version))
    if known is not None and known.sha256 != leaf.policy_sha256:
        return f"another policy with version {leaf.policy_version}: {leaf.policy_sha256[:16]}…"
    return f"policy version {leaf.policy_version} after {history.version}"


def weakened(look: Look[PolicyLeaf]) -> str | None:
    """The first policy of a log weakens nothing."""
    leaf = look.leaf
    if not leaf.weakening or not look.history.version:
        return None
    when = f"in force {leaf.delay_hours} hours later" if leaf.delay_hours else "in force at once"
    return f"policy version {leaf.policy_version} is weaker in {', '.join(leaf.weakening)}, {when}"


def no_delay(look: Look[PolicyLeaf]) -> str | None:
    """Once a policy had to wait, the organisation is live, and every weaker one after it has to wait as well."""
    if not look.history.live or not look.leaf.weakening or look.leaf.delay_hours:
        return None
    return f"policy version {look.leaf.policy_version} is weaker and came into force at once; earlier ones waited"


def unknown_policy(look: Look[IntentLeaf]) -> str | None:
    known = look.history.policies.get(str(look.leaf.policy_version))
    if known is not None and known.sha256 == look.leaf.policy_sha256:
        return None
    return f"intent under policy version {look.leaf.policy_version} that was not logged"


def too_early(look: Look[IntentLeaf]) -> str | None:
    """The delay runs from the cosignatures on the policy's leaf, which are younger than the leaf's own time."""
    known = look.history.policies.get(str(look.leaf.policy_version))
    if known is None or known.in_force is None or known.sha256 != look.leaf.policy_sha256:
        return None
    if parse_time(look.leaf.signing_time) >= parse_time(known.in_force) - SLACK:
        return None
    return f"intent under policy version {look.leaf.policy_version}, which waits until {known.in_force}"


def signed_under_old(look: Look[ResultLeaf]) -> str | None:
    """An intent under a policy that is no longer in force is harmless when the keyholder refused it."""
    intent = look.history.intent_of(look.leaf)
    if intent is None or not intent.late or look.leaf.outcome != "signed":
        return None
    return f"intent {look.leaf.intent} was signed under a policy no longer in force"
