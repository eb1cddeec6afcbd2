# SPDX-License-Identifier: Apache-2.0
"""What stands in the log: strict JSON of at most 4 KiB in one written form (compact, members sorted, ASCII).

Leaves hold digests, counts, times and opaque names from the policy. Names of people and files, versions and comments
never stand here: a leaf cannot be erased.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints

from signwright.errors import LimitError, MalformedError
from signwright.model.operation import Name, Strict
from signwright.model.times import format_time, parse_time
from signwright.statements.parse import strict_json, validate_model

MAX_LEAF = 4 << 10
#: Longer lists of digests are folded into one by `fold_digests`, so that a leaf stays within its limit.
MAX_LISTED = 24


def _one_form(text: str) -> str:
    if format_time(parse_time(text)) != text:
        raise MalformedError(f"not a time in ASCII digits: {text!r}", code="bad-time")
    return text


def _tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Time = Annotated[str, AfterValidator(_one_form)]
Number = Annotated[int, Field(ge=0, lt=1 << 53)]
Digests = Annotated[tuple[Sha256, ...], BeforeValidator(_tuple), Field(max_length=MAX_LISTED)]
Names = Annotated[tuple[Name, ...], BeforeValidator(_tuple), Field(max_length=16)]
Origin = Annotated[str, StringConstraints(min_length=1, max_length=255)]


class Leaf(Strict):
    """Base of all leaves. Digests are SHA-256 in lower-case hex, times RFC 3339 in UTC."""

    v: Literal[1] = 1
    type: str

    def encode(self) -> bytes:
        """The one written form; raises `LimitError` beyond 4 KiB."""
        members = self.model_dump(mode="json")
        content = json.dumps(members, separators=(",", ":"), sort_keys=True, ensure_ascii=True).encode()
        if len(content) > MAX_LEAF:
            raise LimitError(f"log leaf: {len(content)} bytes; at most {MAX_LEAF} are logged", code="leaf-too-large")
        return content


class GenesisLeaf(Leaf):
    """Leaf 0: which policy root this log serves."""

    type: Literal["genesis"] = "genesis"
    root_sha256: Sha256
    origin: Origin
    profile: Number
    trial: bool
    time: Time


class PolicyLeaf(Leaf):
    """A policy version came into force. ``weakening``: names of the changes that make it weaker."""

    type: Literal["policy"] = "policy"
    policy_sha256: Sha256
    policy_version: Number
    root_sha256: Sha256
    root_version: Number
    weakening: Names
    time: Time


class IntentLeaf(Leaf):
    """What exactly will be signed, logged before the key is used.

    ``request``: digest of the request envelope's payload; ``operations_sha256``: of `operation_list`; ``key``: of the
    key's SubjectPublicKeyInfo; ``approvals``, ``evidence``: of the envelopes that were counted.
    """

    type: Literal["intent"] = "intent"
    request: Sha256
    wave: Number
    attempt: Annotated[int, Field(ge=1, le=3)]
    operations_sha256: Sha256
    key: Sha256
    kind: Literal["test", "release"]
    trial: bool
    policy_sha256: Sha256
    policy_version: Number
    approvals: Digests
    evidence: Digests
    mode: Literal["artifact", "digest"]
    content_seen: bool
    derived: bool
    exceptions: Names
    profile: Number
    sandbox: Name
    key_protection: Literal["attested", "claimed", "software"]
    signing_time: Time


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
    "hub-events": HubEventsLeaf,
    "epoch": EpochLeaf,
}


def parse_leaf(content: bytes) -> Leaf:
    """Read a leaf of any type; raises `MalformedError` and `LimitError`. Another written form of it is refused."""
    value = strict_json(content, limit=MAX_LEAF, depth=2)
    name = value.get("type") if isinstance(value, dict) else None
    model = _TYPES.get(name) if isinstance(name, str) else None
    if model is None:
        raise MalformedError(f"log leaf: unknown type {str(name)[:40]!r}", code="bad-leaf")
    leaf = validate_model(model, value)
    if leaf.encode() != content:
        raise MalformedError(f"log leaf: {name} is not in its one written form", code="bad-leaf")
    return leaf


def parse_intent(content: bytes) -> IntentLeaf:
    """Read a leaf that must be an intent; errors as `parse_leaf`."""
    leaf = parse_leaf(content)
    if not isinstance(leaf, IntentLeaf):
        raise MalformedError(f"log leaf: found {leaf.type}; wanted intent", code="bad-leaf")
    return leaf


def fold_digests(*lists: Sequence[str]) -> tuple[bool, tuple[tuple[str, ...], ...]]:
    """``listed`` and the lists for a result leaf: as they are when each is short enough, else one digest for each list.

    That digest is the SHA-256 of the list's raw digests one after the other.
    """
    if all(len(digests) <= MAX_LISTED for digests in lists):
        return True, tuple(tuple(digests) for digests in lists)
    return False, tuple((hashlib.sha256(bytes.fromhex("".join(digests))).hexdigest(),) for digests in lists)
