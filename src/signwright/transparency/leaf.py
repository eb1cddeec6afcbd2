# SPDX-License-Identifier: Apache-2.0
"""What stands in the log: strict JSON of at most 4 KiB in one written form (compact, members sorted, ASCII).

Leaves hold digests, counts, times and opaque names from the policy. Names of people and files, versions and comments
never stand here: a leaf cannot be erased.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from signwright.model.operation import Time
from signwright.transparency.intent import (
    MAX_LEAF,
    MAX_LISTED,
    Digests,
    FreshnessLeaf,
    HaltLeaf,
    IntentLeaf,
    KeyOperationLeaf,
    Leaf,
    Names,
    Number,
    PolicyLeaf,
    Sha256,
    StartLeaf,
    fold_digests,
    parse_intent,
    read_leaf,
)

__all__ = [
    "MAX_LEAF",
    "MAX_LISTED",
    "CustodianLeaf",
    "DenyLeaf",
    "EpochLeaf",
    "FreshnessLeaf",
    "GenesisLeaf",
    "HaltLeaf",
    "HubEventsLeaf",
    "IntentLeaf",
    "KeyOperationLeaf",
    "Leaf",
    "PolicyLeaf",
    "ResultLeaf",
    "ResumeLeaf",
    "StartLeaf",
    "fold_digests",
    "parse_intent",
    "parse_leaf",
]


class GenesisLeaf(Leaf):
    """Leaf 0: which policy root this log serves."""

    type: Literal["genesis"] = "genesis"
    root_sha256: Sha256
    origin: Annotated[str, StringConstraints(min_length=1, max_length=255)]
    profile: Number
    trial: bool
    time: Time


class ResumeLeaf(Leaf):
    """The keepers ended halts, as soon as a policy of ``policy_version`` is in force."""

    type: Literal["resume"] = "resume"
    statement: Sha256
    halts: Digests
    policy_version: Number
    time: Time


class ResultLeaf(Leaf):
    """What became of an intent.

    ``intent``: its index in the log; ``signature_sha256``: of each signature value in the order of the operations;
    ``result_sha256``: of each finished artifact. ``listed`` is false when a list was too long: then each list holds the
    one digest that `fold_digests` gives.
    """

    type: Literal["result"] = "result"
    intent: Number
    request: Sha256
    wave: Number
    attempt: Annotated[int, Field(ge=1, le=3)]
    outcome: Literal["signed", "failed", "unknown"]
    listed: bool = True
    signature_sha256: Digests
    result_sha256: Digests
    timestamps: Literal["outside", "local", "none"]
    time: Time


class DenyLeaf(Leaf):
    """Refusals of one request since the last such leaf. ``codes``: the rules' names."""

    type: Literal["deny"] = "deny"
    request: Sha256
    codes: Names
    count: Annotated[int, Field(ge=1, lt=1 << 53)]
    time: Time


class CustodianLeaf(Leaf):
    """A custodian confirmed these requests at the signer's console, each for one intent to come. ``statement``: what
    they signed; one of more requests than a leaf lists has several leaves.
    """

    type: Literal["custodian"] = "custodian"
    statement: Sha256
    requests: Annotated[Digests, Field(min_length=1)]
    time: Time


class HubEventsLeaf(Leaf):
    """``head``: of the hub's hash chain of events, after ``count`` events."""

    type: Literal["hub-events"] = "hub-events"
    head: Sha256
    count: Number
    time: Time


class EpochLeaf(Leaf):
    """The heartbeat: its absence is an alarm."""

    type: Literal["epoch"] = "epoch"
    time: Time


_TYPES: dict[str, type[Leaf]] = {
    "genesis": GenesisLeaf,
    "policy": PolicyLeaf,
    "intent": IntentLeaf,
    "result": ResultLeaf,
    "deny": DenyLeaf,
    "start": StartLeaf,
    "freshness": FreshnessLeaf,
    "halt": HaltLeaf,
    "resume": ResumeLeaf,
    "key-operation": KeyOperationLeaf,
    "custodian": CustodianLeaf,
    "hub-events": HubEventsLeaf,
    "epoch": EpochLeaf,
}


def parse_leaf(content: bytes) -> Leaf:
    """Read a leaf of any type; raises `MalformedError` and `LimitError`. Another written form of it is refused."""
    return read_leaf(content, _TYPES)
