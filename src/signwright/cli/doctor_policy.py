# SPDX-License-Identifier: Apache-2.0
"""What the signed policy of a home gives and what it does not; the part of ``doctor`` that looks at nothing else."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from cryptography import x509

from signwright.cli.home import Home
from signwright.cli.standing import age_words, standing_of_home
from signwright.errors import SignwrightError
from signwright.model.times import parse_time
from signwright.policy.policy import Policy

SOON = timedelta(days=30)
Level = Literal["ok", "weak", "bad", "note"]


@dataclass(frozen=True, slots=True)
class Finding:
    """``level``: ``ok`` given, ``weak`` not given and knowingly so, ``bad`` to be mended, ``note`` for information."""

    level: Level
    topic: str
    text: str


def examine_policy(home: Home, policy: Policy, now: datetime) -> Iterator[Finding]:
    """Its dates, exceptions, keepers, services and keys, and the keepers' newest word."""
    yield from _policy(policy, now)
    yield from _freshness(home, policy, now)
    yield from _services(policy)
    yield from _keys(policy, now)


def _policy(policy: Policy, now: datetime) -> Iterator[Finding]:
    for what, text in (("policy", policy.index.expires), ("policy root", policy.root.expires)):
        expires = parse_time(text)
        level: Level = "bad" if expires <= now else "weak" if expires - now < SOON else "ok"
        verb = "expired" if expires <= now else "holds until"
        yield Finding(level, what, f"version {policy.version} {verb} {text}" if what == "policy" else f"{verb} {text}")
    for exception in policy.organisation.exceptions:
        over = parse_time(exception.expires) <= now
        text = (
            f"{exception.name} for {exception.scope}: {exception.reason} ({exception.owner}, until {exception.expires})"
        )
        yield Finding(
            "bad" if over else "weak", "exception", text + (" - expired: releases are refused" if over else "")
        )
    if policy.root.policy.threshold == 1:
        yield Finding("weak", "keeper", "one keeper's key decides what the policy says: keep it off this machine")


def _freshness(home: Home, policy: Policy, now: datetime) -> Iterator[Finding]:
    """The word that nothing was revoked, as the hub has it or this home: without a recent one nothing is released."""
    try:
        known = standing_of_home(home, policy)
    except SignwrightError as problem:
        yield Finding("bad", "freshness", problem.message)
        return
    left = known.left(now)
    none = left is None or left <= timedelta() or (known.freshness is not None and known.freshness.predicate.halts)
    level: Level = "bad" if none else "weak" if known.gets_old(now) else "ok"
    number = f"number {known.freshness.predicate.number}, " if known.freshness else ""
    yield Finding(level, "freshness", number + age_words(known, now))
    for halt in known.halts:
        said = halt.statement.predicate
        yield Finding("bad", "halted", f"since {said.created}: {said.reason} ({halt.digest}); signwright resume")


def _services(policy: Policy) -> Iterator[Finding]:
    services = policy.services
    if services.quorum.outside:
        yield Finding("ok", "witness", f"{services.quorum.outside} cosignatures from outside are wanted")
    else:
        text = "only local: whoever has this machine can rewrite the log, unless an approver's client notices"
        yield Finding("weak", "witness", text)
    if any(authority.outside for authority in services.timestamp_authorities):
        yield Finding("ok", "timestamp", "an outside authority stamps")
    else:
        yield Finding("weak", "timestamp", "only the built-in authority: its clock is this machine's clock")


def _keys(policy: Policy, now: datetime) -> Iterator[Finding]:
    for name, key in sorted(policy.keys.keys.items()):
        words = {
            "software": "a file: whoever reads it and its passphrase file has the key",
            "claimed": "in a token that says it cannot leave; not proved by an attestation",
            "attested": "in a token whose maker attests that it cannot leave",
        }
        kind = f"key {name} ({key.kind}): {words[key.protection]}"
        yield Finding("weak" if key.kind == "release" and key.protection != "attested" else "note", "key", kind)
        for certificate in key.chain[:1]:
            yield _certificate(name, base64.b64decode(certificate), now)


def _certificate(name: str, content: bytes, now: datetime) -> Finding:
    expires = x509.load_der_x509_certificate(content).not_valid_after_utc
    days = (expires - now).days
    if expires <= now:
        return Finding("bad", "certificate", f"of key {name} expired {expires:%Y-%m-%d}")
    return Finding("weak" if expires - now < SOON else "ok", "certificate", f"of key {name} holds {days} days more")
