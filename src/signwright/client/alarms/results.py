# SPDX-License-Identifier: Apache-2.0
"""Alarms about results: each belongs to one open intent, and a key is used no more often than the policy says."""

from __future__ import annotations

from signwright.client.alarms.base import Look
from signwright.client.alarms.history import DAY, OpenIntent, operations_of, total
from signwright.transparency.leaf import IntentLeaf, ResultLeaf


def stray(look: Look[ResultLeaf]) -> str | None:
    """After a crash an outcome may be unknown first and known later; never the other way round, never twice."""
    if look.history.intent_of(look.leaf) is not None:
        return None
    return f"a result for intent {look.leaf.intent}, which is not open"


def other_request(look: Look[ResultLeaf]) -> str | None:
    intent, leaf = look.history.intent_of(look.leaf), look.leaf
    if intent is None or intent.about == (leaf.request, leaf.wave, leaf.attempt):
        return None
    return f"not the result of intent {leaf.intent}"


def no_signature(look: Look[ResultLeaf]) -> str | None:
    if _own(look) is None or look.leaf.outcome != "signed" or look.leaf.signature_sha256:
        return None
    return "signed, and no signature named"


def no_timestamp(look: Look[ResultLeaf]) -> str | None:
    intent = _own(look)
    if intent is None or not isinstance(intent.leaf, IntentLeaf) or intent.leaf.kind != "release":
        return None
    if (look.leaf.outcome, look.leaf.timestamps) != ("signed", "none") or "no-timestamp" in intent.leaf.exceptions:
        return None
    return "a release without a timestamp and without an exception for it"


def signed_while_halted(look: Look[ResultLeaf]) -> str | None:
    intent = look.history.intent_of(look.leaf)
    if intent is None or not intent.halted or look.leaf.outcome != "signed":
        return None
    return f"intent {look.leaf.intent} was logged and signed while signing was halted"


def over_quota(look: Look[ResultLeaf]) -> str | None:
    """Said when the limit is crossed. A folded list counts as one more than a leaf lists: at least so many."""
    intent, leaf = look.history.intent_of(look.leaf), look.leaf
    quota = look.site.quotas.get(intent.leaf.key) if intent else None
    if intent is None or quota is None:
        return None
    before = total(look.history.operations.get(intent.leaf.key, []), leaf.time, window=DAY)
    if not before <= quota < before + operations_of(leaf):
        return None
    found = before + operations_of(leaf)
    return f"key {intent.leaf.key[:16]}… was used at least {found} times in 24 h; the policy allows {quota}"


def _own(look: Look[ResultLeaf]) -> OpenIntent | None:
    """The open intent that the result truly belongs to."""
    intent, leaf = look.history.open.get(str(look.leaf.intent)), look.leaf
    return intent if intent and intent.about == (leaf.request, leaf.wave, leaf.attempt) else None
