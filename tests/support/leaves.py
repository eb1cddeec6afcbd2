# SPDX-License-Identifier: Apache-2.0
"""Leaves as an honest gate writes them, each field replaceable, and an honest little log of them."""

from __future__ import annotations

from datetime import timedelta

from signwright.model.times import format_time
from signwright.transparency.leaf import (
    CustodianLeaf,
    DenyLeaf,
    EpochLeaf,
    FreshnessLeaf,
    GenesisLeaf,
    HaltLeaf,
    IntentLeaf,
    KeyOperationLeaf,
    PolicyLeaf,
    ResultLeaf,
    ResumeLeaf,
    StartLeaf,
)
from tests.support.world import NOW, ORIGIN

ROOT, POLICY, REQUEST, OTHER = ("a" * 64, "b" * 64, "c" * 64, "d" * 64)
T = format_time(NOW)


def at(minutes: float) -> str:
    return format_time(NOW + timedelta(minutes=minutes))


def genesis(**changes):
    values = {"root_sha256": ROOT, "origin": ORIGIN, "profile": 0, "trial": True, "time": T}
    return GenesisLeaf(**(values | changes))


def policy(version=1, **changes):
    values = {"policy_sha256": POLICY, "policy_version": version, "root_sha256": ROOT, "root_version": 1}
    return PolicyLeaf(**(values | {"weakening": (), "time": T} | changes))


def intent(**changes):
    values = {
        "request": REQUEST,
        "wave": 0,
        "attempt": 1,
        "operations_sha256": OTHER,
        "key": OTHER,
        "kind": "release",
        "trial": True,
        "policy_sha256": POLICY,
        "policy_version": 1,
        "approvals": (OTHER,),
        "evidence": (OTHER,),
        "mode": "artifact",
        "content_seen": True,
        "derived": False,
        "exceptions": (),
        "profile": 0,
        "sandbox": "none",
        "key_protection": "software",
        "signing_time": T,
    }
    return IntentLeaf(**(values | changes))


def custodian(*requests, **changes):
    """A confirmation of the usual request, or of these."""
    return CustodianLeaf(**({"statement": OTHER, "requests": requests or (REQUEST,), "time": T} | changes))


def result(intent_index=2, **changes):
    values = {
        "intent": intent_index,
        "request": REQUEST,
        "wave": 0,
        "attempt": 1,
        "outcome": "signed",
        "signature_sha256": (OTHER,),
        "result_sha256": (OTHER,),
        "timestamps": "local",
        "time": T,
    }
    return ResultLeaf(**(values | changes))


def start(number=1, nonce="1", **changes):
    return StartLeaf(**({"nonce": nonce * 32, "number": number, "time": T} | changes))


def halt(**changes):
    return HaltLeaf(**({"statement": "e" * 64, "policy_version": 1, "time": T} | changes))


def resume(**changes):
    values = {"statement": "f" * 64, "halts": ("e" * 64,), "policy_version": 2, "time": T}
    return ResumeLeaf(**(values | changes))


def freshness(number=1, **changes):
    values = {"statement": "9" * 64, "number": number, "minimum_policy_version": 1, "revoked": 0, "time": T}
    return FreshnessLeaf(**(values | changes))


def key_operation(**changes):
    values = {"statement": "8" * 64, "operation": "csr", "key": OTHER, "to_be_signed": OTHER, "policy_sha256": POLICY}
    return KeyOperationLeaf(**(values | {"attempt": 1, "time": T} | changes))


def deny(count=1, **changes):
    return DenyLeaf(**({"request": OTHER, "codes": ("approvals",), "count": count, "time": T} | changes))


def beat(time=T):
    return EpochLeaf(time=time)


BEAT = beat()
HONEST = (genesis(), policy(), intent(), result(), BEAT)
