# SPDX-License-Identifier: Apache-2.0
"""The leaves that the keyholder reads, and what all leaves share: strict JSON of at most 4 KiB in one written form.

The other leaves are in `signwright.transparency.leaf`, which the keyholder has no use for.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, TypeVar

from pydantic import Field, StringConstraints

from signwright.errors import LimitError, MalformedError
from signwright.model.operation import Many, Name, Sha256Text, Strict, Time
from signwright.statements.parse import strict_json, validate_model

MAX_LEAF = 4 << 10
#: Longer lists of digests are folded into one by `fold_digests`, so that a leaf stays within its limit.
MAX_LISTED = 24
_encode = json.JSONEncoder(separators=(",", ":"), sort_keys=True, ensure_ascii=True).encode


Sha256 = Sha256Text
Number = Annotated[int, Field(ge=0, lt=1 << 53)]
Digests = Annotated[Many[Sha256], Field(max_length=MAX_LISTED)]
Names = Annotated[Many[Name], Field(max_length=16)]


class Leaf(Strict):
    """Base of all leaves. Digests are SHA-256 in lower-case hex, times RFC 3339 in UTC."""

    v: Literal[1] = 1
    type: str

    def encode(self) -> bytes:
        """The one written form; raises `LimitError` beyond 4 KiB."""
        members = self.model_dump(mode="json")
        content = _encode(members).encode()
        if len(content) > MAX_LEAF:
            raise LimitError(f"log leaf: {len(content)} bytes; at most {MAX_LEAF} are logged", code="leaf-too-large")
        return content


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


class PolicyLeaf(Leaf):
    """A policy version was accepted. ``weakening``: kinds of document in which something became weaker;
    ``delay_hours``: how long after its cosignatures it comes into force, 0 for at once.
    """

    type: Literal["policy"] = "policy"
    policy_sha256: Sha256
    policy_version: Number
    root_sha256: Sha256
    root_version: Number
    weakening: Names
    delay_hours: Number = 0
    time: Time


class StartLeaf(Leaf):
    """A keyholder process came up. ``nonce``: 128 random bits of that process in hex; ``number``: its how manieth
    start, as its own state counts: one that goes back is a state that was taken back.
    """

    type: Literal["start"] = "start"
    nonce: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
    number: Number
    time: Time


class KeyOperationLeaf(Leaf):
    """A use of a key that is no release, logged before the key is used. ``key``: of its SubjectPublicKeyInfo."""

    type: Literal["key-operation"] = "key-operation"
    statement: Sha256
    operation: Name
    key: Sha256
    to_be_signed: Sha256
    policy_sha256: Sha256
    attempt: Annotated[int, Field(ge=1, le=3)]
    time: Time


class FreshnessLeaf(Leaf):
    """A freshness statement was accepted. ``revoked``: how many credentials and people it revokes."""

    type: Literal["freshness"] = "freshness"
    statement: Sha256
    number: Number
    minimum_policy_version: Number
    revoked: Number
    time: Time


class HaltLeaf(Leaf):
    """Signing was halted while ``policy_version`` was in force."""

    type: Literal["halt"] = "halt"
    statement: Sha256
    policy_version: Number
    time: Time


L = TypeVar("L", bound=Leaf)


def read_leaf(content: bytes, types: Mapping[str, type[L]]) -> L:
    """Read a leaf of one of ``types``; raises `MalformedError` and `LimitError`. Another written form is refused."""
    value = strict_json(content, limit=MAX_LEAF, depth=2)
    name = value.get("type") if isinstance(value, dict) else None
    model = types.get(name) if isinstance(name, str) else None
    if model is None:
        raise MalformedError(f"log leaf: found {str(name)[:40]}; wanted {', '.join(types)}", code="bad-leaf")
    leaf = validate_model(model, value)
    if leaf.encode() != content:
        raise MalformedError(f"log leaf: {name} is not in its one written form", code="bad-leaf")
    return leaf


def parse_intent(content: bytes) -> IntentLeaf:
    """Read a leaf that must be an intent; errors as `read_leaf`."""
    return read_leaf(content, {"intent": IntentLeaf})


def fold_digests(*lists: Sequence[str]) -> tuple[bool, tuple[tuple[str, ...], ...]]:
    """``listed`` and the lists for a result leaf: as they are when each is short enough, else one digest for each list.

    That digest is the SHA-256 of the list's raw digests one after the other.
    """
    if all(len(digests) <= MAX_LISTED for digests in lists):
        return True, tuple(tuple(digests) for digests in lists)
    return False, tuple((hashlib.sha256(bytes.fromhex("".join(digests))).hexdigest(),) for digests in lists)
