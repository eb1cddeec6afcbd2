# SPDX-License-Identifier: Apache-2.0
"""The intent leaf that a set of facts stands for. The gate logs it; the keyholder and every verifier build it again."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from datetime import datetime

from signwright.errors import DeniedError
from signwright.model.operation import Operation, operation_list
from signwright.model.times import format_time
from signwright.policy.exceptions import needed_exceptions
from signwright.policy.facts import Facts
from signwright.policy.policy import Policy, spki_sha256
from signwright.statements.models import Request
from signwright.statements.parse import validate_model
from signwright.transparency.intent import IntentLeaf, fold_digests

_DIGEST = re.compile(rb'"digest":"sha[0-9]{3}:([0-9a-f]+)"')


def requested_operations(request: Request) -> bytes:
    """The written operation list of a request's direct operations, in the order of its artifacts."""
    artifacts = enumerate(request.artifacts)
    return operation_list((index, operation) for index, artifact in artifacts for operation in artifact.operations)


def wave_operations(request: Request, wave: int, written: bytes) -> list[Operation]:
    """What ``written`` says is to be signed in a wave: the direct operations of the approved request, or those that it
    names for a later wave, with digests that nobody approved. Raises `DeniedError` (``wrong-operations``) for anything
    else, and `MalformedError`.
    """
    # Taken are the digests alone. Everything else is written anew from the request, and has to come out the same.
    digests = iter(_DIGEST.findall(written))
    found: list[tuple[int, Operation]] = []
    for index, artifact in enumerate(request.artifacts):
        if wave == 0:
            found += ((index, operation) for operation in artifact.operations)
        for planned in (one for one in artifact.derived if one.wave == wave):
            told = planned.model_dump(exclude={"wave", "algorithm"})
            digest = f"{planned.algorithm}:{next(digests, b'').decode()}"
            found.append((index, validate_model(Operation, {**told, "digest": digest})))
    if not found or operation_list(found) != written:
        raise DeniedError("the operations are not those of the request", code="wrong-operations")
    return [operation for _, operation in found]


def intent_leaf(
    policy: Policy,
    facts: Facts,
    *,
    operations: bytes,
    wave: int,
    attempt: int,
    profile: int,
    sandbox: str,
    signing_time: datetime,
) -> IntentLeaf:
    """The leaf for one wave of an allowed request. Digests are sorted, so that facts and not their order count."""
    request = facts.request.predicate
    rule = policy.projects[request.project].signing_policies[request.signing_policy]
    key = policy.key_of(rule)
    needed = needed_exceptions(rule, policy.services) - ({"digest-mode"} if request.mode != "digest" else set())
    return IntentLeaf(
        request=facts.request.digest,
        wave=wave,
        attempt=attempt,
        operations_sha256=hashlib.sha256(operations).hexdigest(),
        key=spki_sha256(key),
        kind=rule.kind,
        trial=policy.root.trial,
        policy_sha256=policy.sha256,
        policy_version=policy.version,
        approvals=_folded(a.statement.digest for a in facts.approvals),
        evidence=_folded(facts.evidence),
        mode=request.mode,
        content_seen=request.mode == "artifact",
        derived=wave > 0,
        exceptions=tuple(sorted(needed)),
        profile=profile,
        sandbox=sandbox,
        key_protection=key.protection,
        signing_time=format_time(signing_time),
    )


def _folded(digests: Iterable[str]) -> tuple[str, ...]:
    return fold_digests(sorted(set(digests)))[1][0]
