# SPDX-License-Identifier: Apache-2.0
"""Alarms about the log's own life: its beginning, its clock and heartbeat, refusals, starts, halts, freshness."""

from __future__ import annotations

from signwright.client.alarms.base import Look
from signwright.client.alarms.history import total
from signwright.model.times import parse_time
from signwright.transparency.leaf import (
    DenyLeaf,
    EpochLeaf,
    FreshnessLeaf,
    GenesisLeaf,
    HaltLeaf,
    KeyOperationLeaf,
    Leaf,
    ResumeLeaf,
    StartLeaf,
)


def misplaced_genesis(look: Look[Leaf]) -> str | None:
    if (look.index == 0) == isinstance(look.leaf, GenesisLeaf):
        return None
    return f"a {look.leaf.type} leaf at {look.index}; the first leaf, and no other, is genesis"


def other_genesis(look: Look[GenesisLeaf]) -> str | None:
    """Said once: a second genesis is an alarm already."""
    leaf, site = look.leaf, look.site
    if look.index or (leaf.root_sha256, leaf.origin, leaf.trial) == (site.root_sha256, site.origin, site.trial):
        return None
    return "the log began for another policy root, origin or kind than the trust file's"


def clock_back(look: Look[Leaf]) -> str | None:
    last = look.history.last_time
    if look.time is None or last is None or parse_time(last) - look.time <= look.site.limits.clock:
        return None
    return f"time {look.time:%Y-%m-%dT%H:%M:%SZ} after {last}"


def heartbeat_gap(look: Look[EpochLeaf]) -> str | None:
    """Between two heartbeats there is never more than the limit."""
    last = look.history.last_beat
    if last is None or parse_time(look.leaf.time) - parse_time(last) <= look.site.limits.heartbeat:
        return None
    return f"no heartbeat from {last} to {look.leaf.time}"


def deny_burst(look: Look[DenyLeaf]) -> str | None:
    """Said when the limit is crossed, not for each refusal after it."""
    limits = look.site.limits
    before = total(look.history.denials, look.leaf.time, window=limits.denial_window)
    if not before < limits.denials <= before + look.leaf.count:
        return None
    return f"{before + look.leaf.count} refusals within {limits.denial_window}: somebody is trying"


def start_back(look: Look[StartLeaf]) -> str | None:
    """Each start counts one up. The leaf of one and the same start may stand twice."""
    last, leaf = look.history.start, look.leaf
    if last is None or leaf.number > last or look.history.nonces.get(leaf.nonce) == leaf.number:
        return None
    return f"start {leaf.number} of the keyholder after its start {last}: its state was taken back or copied"


def nonce_again(look: Look[StartLeaf]) -> str | None:
    known = look.history.nonces.get(look.leaf.nonce)
    if known is None or known == look.leaf.number:
        return None
    return f"start {look.leaf.number} has the nonce of start {known}: orders of that time could be used again"


def halted(look: Look[HaltLeaf]) -> str | None:
    return f"signing was halted under policy version {look.leaf.policy_version}"


def resumed(look: Look[ResumeLeaf]) -> str | None:
    return f"halts were ended by the keepers, for policy version {look.leaf.policy_version} and later"


def resumed_without_a_new_policy(look: Look[ResumeLeaf]) -> str | None:
    """Ending a halt takes a policy that is newer than the one in force when it came."""
    history, leaf = look.history, look.leaf
    under = max((history.halts[name].under for name in history.ended_by(leaf)), default=0)
    if under < leaf.policy_version:
        return None
    return f"ends a halt that came under policy version {under} with version {leaf.policy_version}"


def freshness_back(look: Look[FreshnessLeaf]) -> str | None:
    last = look.history.freshness
    if last is None or look.leaf.number >= last:
        return None
    return f"freshness statement {look.leaf.number} after {last}"


def freshness_twice(look: Look[FreshnessLeaf]) -> str | None:
    if look.leaf.number != look.history.freshness:
        return None
    return f"two freshness statements of number {look.leaf.number}: a keeper may not know what another revoked"


def key_operation(look: Look[KeyOperationLeaf]) -> str | None:
    return f"operation {look.leaf.operation} with key {look.leaf.key[:16]}…, which is no release"
