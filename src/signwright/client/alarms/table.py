# SPDX-License-Identifier: Apache-2.0
"""Every rule over a leaf, with its code and severity: the visible table. Codes are stable."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from signwright.client.alarms import intents, life, policies, results
from signwright.client.alarms.base import Alarm, Look, Rule, Severity, error, warning
from signwright.transparency.leaf import (
    DenyLeaf,
    EpochLeaf,
    FreshnessLeaf,
    GenesisLeaf,
    HaltLeaf,
    IntentLeaf,
    KeyOperationLeaf,
    Leaf,
    PolicyLeaf,
    ResultLeaf,
    ResumeLeaf,
    StartLeaf,
)

_TRIES = (IntentLeaf, KeyOperationLeaf)

RULES: tuple[Rule, ...] = (
    error("genesis", Leaf, life.misplaced_genesis),
    error("genesis", GenesisLeaf, life.other_genesis),
    error("clock", Leaf, life.clock_back),
    error("heartbeat-gap", EpochLeaf, life.heartbeat_gap),
    error("denials", DenyLeaf, life.deny_burst),
    error("start-rollback", StartLeaf, life.start_back),
    error("start-nonce", StartLeaf, life.nonce_again),
    error("halt", HaltLeaf, life.halted),
    warning("resume", ResumeLeaf, life.resumed),
    error("bad-resume", ResumeLeaf, life.resumed_without_a_new_policy),
    error("freshness-rollback", FreshnessLeaf, life.freshness_back),
    error("freshness-fork", FreshnessLeaf, life.freshness_twice),
    warning("key-operation", KeyOperationLeaf, life.key_operation),
    error("policy-rollback", PolicyLeaf, policies.rollback),
    warning("weakened-policy", PolicyLeaf, policies.weakened),
    error("no-delay", PolicyLeaf, policies.no_delay),
    error("unknown-policy", IntentLeaf, policies.unknown_policy),
    error("early-policy", IntentLeaf, policies.too_early),
    error("old-policy", ResultLeaf, policies.signed_under_old),
    error("trial", IntentLeaf, intents.trial_flag),
    error("software-key", IntentLeaf, intents.software_key),
    error("no-approval", IntentLeaf, intents.no_approval),
    error("no-exception", IntentLeaf, intents.digest_mode),
    error("no-evidence", IntentLeaf, intents.no_evidence),
    error("bad-intent", IntentLeaf, intents.content_seen),
    error("bad-intent", IntentLeaf, intents.wave_alone),
    Rule("attempt", Severity.ERROR, _TRIES, intents.attempt_back),
    Rule("signed-again", Severity.ERROR, _TRIES, intents.signed_again),
    error("no-custodian", IntentLeaf, intents.no_custodian),
    warning("custodian-skipped", IntentLeaf, intents.custodian_skipped),
    warning("odd-hour", IntentLeaf, intents.odd_hour),
    error("stray-result", ResultLeaf, results.stray),
    error("wrong-result", ResultLeaf, results.other_request),
    error("wrong-result", ResultLeaf, results.no_signature),
    error("no-timestamp", ResultLeaf, results.no_timestamp),
    error("signed-while-halted", ResultLeaf, results.signed_while_halted),
    error("key-quota", ResultLeaf, results.over_quota),
)


def alarms_about(look: Look[Leaf]) -> Iterator[Alarm]:
    """What every rule has to say about one leaf, in the order of the table."""
    for rule in _rules_for(type(look.leaf)):
        text = rule.find(look)
        if text is not None:
            yield Alarm(rule.code, text, look.index, rule.severity)


@lru_cache(maxsize=64)
def _rules_for(kind: type[Leaf]) -> tuple[Rule, ...]:
    return tuple(rule for rule in RULES if issubclass(kind, rule.kinds))
