# SPDX-License-Identifier: Apache-2.0
"""Alarms about intents: what a release leans on must be named in its leaf, and attempts only go up."""

from __future__ import annotations

from signwright.client.alarms.base import Look
from signwright.client.alarms.history import OpenIntent
from signwright.model.times import parse_time
from signwright.transparency.leaf import IntentLeaf, KeyOperationLeaf

#: The profile whose installation wants a custodian for releases.
AIR_GAP = 3


def trial_flag(look: Look[IntentLeaf]) -> str | None:
    return None if look.leaf.trial == look.site.trial else "the intent's trial flag is not the trust file's"


def software_key(look: Look[IntentLeaf]) -> str | None:
    leaf = look.leaf
    if leaf.kind != "release" or leaf.trial or leaf.key_protection != "software":
        return None
    return "a release with a software key outside a trial"


def no_approval(look: Look[IntentLeaf]) -> str | None:
    return "a release without any approval" if look.leaf.kind == "release" and not look.leaf.approvals else None


def digest_mode(look: Look[IntentLeaf]) -> str | None:
    leaf = look.leaf
    if leaf.kind != "release" or leaf.mode != "digest" or "digest-mode" in leaf.exceptions:
        return None
    return "a release in digest mode without the exception for it"


def no_evidence(look: Look[IntentLeaf]) -> str | None:
    leaf = look.leaf
    if leaf.kind != "release" or leaf.evidence or {"no-scan", "digest-mode"} & set(leaf.exceptions):
        return None
    return "a release without evidence and without an exception for it"


def content_seen(look: Look[IntentLeaf]) -> str | None:
    leaf = look.leaf
    if leaf.content_seen == (leaf.mode == "artifact"):
        return None
    return f"{leaf.mode} mode and content_seen {leaf.content_seen}"


def attempt_back(look: Look[IntentLeaf | KeyOperationLeaf]) -> str | None:
    before = look.history.uses.get(OpenIntent(leaf=look.leaf).use)
    if before is None or look.leaf.attempt > before.attempt:
        return None
    return f"attempt {look.leaf.attempt} after {before.attempt} of the same request"


def signed_again(look: Look[IntentLeaf | KeyOperationLeaf]) -> str | None:
    """What was signed in a wave comes to nothing when the next one is not: then all of it is tried once more."""
    done = look.history.done_by(OpenIntent(leaf=look.leaf))
    return None if done is None else f"a new intent for what intent {done} signed"


def wave_alone(look: Look[IntentLeaf]) -> str | None:
    """What follows from signatures says so, and comes after them, in the same attempt."""
    leaf = look.leaf
    if leaf.derived != (leaf.wave > 0) or (leaf.derived and leaf.mode == "digest"):
        return f"wave {leaf.wave} in {leaf.mode} mode, and derived {leaf.derived}"
    if leaf.wave and not _follows(look):
        return f"wave {leaf.wave} of attempt {leaf.attempt} without the one before it"
    return None


def _follows(look: Look[IntentLeaf]) -> bool:
    """A later wave of an attempt, which a custodian has confirmed as a whole."""
    leaf = look.leaf
    before = look.history.uses.get(f"{leaf.request}/{leaf.wave - 1}")
    return before is not None and before.signed is not None and before.attempt == leaf.attempt


def no_custodian(look: Look[IntentLeaf]) -> str | None:
    """Where the monitor was told what custodians have to confirm."""
    kinds = {"release": ("release",), "required": ("release", "test")}.get(look.site.custodian or "", ())
    if look.leaf.kind not in kinds or look.leaf.request in look.history.confirmed or _follows(look):
        return None
    return f"no custodian confirmed this {look.leaf.kind} since its last intent"


def custodian_skipped(look: Look[IntentLeaf]) -> str | None:
    """Where it was not told: the log itself says that others were confirmed, or that it is an air gap."""
    leaf, history = look.leaf, look.history
    if look.site.custodian is not None or leaf.request in history.confirmed or _follows(look):
        return None
    if leaf.kind in history.confirmed_kinds:
        return f"no custodian confirmed this {leaf.kind}; others of its kind were confirmed before"
    if leaf.kind == "release" and leaf.profile == AIR_GAP:
        return "no custodian confirmed this release of a signer without a network"
    return None


def odd_hour(look: Look[IntentLeaf]) -> str | None:
    """Releases alone: build servers sign tests at night."""
    hours, leaf = look.site.hours, look.leaf
    if hours is None or leaf.kind != "release" or hours.hold(parse_time(leaf.signing_time)):
        return None
    local = parse_time(leaf.signing_time).astimezone(hours.zone)
    return f"a release at {local:%H:%M} ({hours.zone}), outside {hours.first:%H:%M} to {hours.last:%H:%M}"
