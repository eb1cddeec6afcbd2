# SPDX-License-Identifier: Apache-2.0
"""Hand requests to the courier, and take in what the signer made of them."""

from __future__ import annotations

import io
from datetime import datetime
from functools import lru_cache
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from signwright.errors import ConflictError, MalformedError
from signwright.hub.workflow.decide import advance, enter
from signwright.hub.workflow.ports import Json, Records, RequestRecord
from signwright.hub.workflow.states import State
from signwright.model.framing import Frame, read_frame
from signwright.model.operation import Many, Sha256Text, Strict
from signwright.model.text import first_bad_character
from signwright.policy.policy import Policy
from signwright.statements.parse import validate_model

#: After the signer and the forecast disagreed, in seconds.
DISAGREEMENT_PAUSE = 30
#: Result frames up to this are kept as they were read, a few of them.
_SMALL = 64 << 10

#: What a request waits for while the signer has it, by the gate's word for where it is.
_WAITS: dict[str, list[Json]] = {
    "custodian": [
        {
            "rule": "custodian",
            "effect": "await",
            "found": "the signer has verified it",
            "wanted": "a custodian's confirmation on the signer's console",
            "who": "custodian",
        }
    ]
}

Prose = Annotated[str, StringConstraints(max_length=4096)]
Part = Annotated[int, Field(ge=0)]


class SignerReason(Strict):
    rule: Prose
    effect: Literal["deny", "await"]
    found: Prose
    wanted: Prose
    who: Prose


class SignedArtifact(Strict):
    """Part indexes of one artifact's receipt bundle, patch and envelopes."""

    bundle: Part
    patch: Part | None = None
    envelopes: Many[Part] = ()
    result_sha256: Sha256Text | None = None


class SignerResult(Strict):
    """The gate's answer, as the courier passes it on. ``id``: whatever courier and gate called the job."""

    type: Literal["result"]
    id: int | str | None = None
    outcome: Literal["signed", "denied", "waiting", "failed"]
    code: Prose | None = None
    message: Prose | None = None
    reasons: Many[SignerReason] = ()
    intent: Many[int] = ()
    artifacts: Many[SignedArtifact] = ()


def whole_frame(content: bytes) -> Frame:
    """Read ``content`` as exactly one frame; raises `MalformedError`."""
    stream = io.BytesIO(content)

    def exactly(count: int) -> bytes:
        piece = stream.read(count)
        if len(piece) != count:
            raise MalformedError("the result frame is cut off", code="bad-result")
        return piece

    frame = read_frame(exactly)
    if stream.read(1):
        raise MalformedError("bytes after the result frame", code="bad-result")
    return frame


def open_result(content: bytes) -> tuple[SignerResult, Frame]:
    """Read a result frame; raises `MalformedError` for anything but one whole frame whose parts all exist."""
    return _open_small(content) if len(content) <= _SMALL else _open(content)


def _open(content: bytes) -> tuple[SignerResult, Frame]:
    frame = whole_frame(content)
    result = validate_model(SignerResult, frame.message)
    used = [p for a in result.artifacts for p in (a.bundle, a.patch, *a.envelopes) if p is not None]
    if any(part >= len(frame.parts) for part in (*used, *result.intent)):
        raise MalformedError("the result names a part that did not come along", code="bad-result")
    texts = [result.message or "", *(t for r in result.reasons for t in (r.rule, r.found, r.wanted, r.who))]
    if any(first_bad_character(text) is not None for text in texts):
        raise MalformedError("the result holds control characters", code="bad-result")
    return result, frame


#: A result is read when it comes in and once more for whoever waits for it.
_open_small = lru_cache(maxsize=64)(_open)


def claim(records: Records, *, owner: str, now: datetime, lease: int, most: int) -> list[tuple[RequestRecord, int]]:
    """Up to ``most`` authorized requests and their fences, now ``signing`` and leased to ``owner``."""
    taken = []
    for job in records.jobs.claim("sign", owner=owner, now=int(now.timestamp()), lease=lease, most=most):
        record = records.find(job.request_id)
        if record is not None and record.state is State.SIGNING:
            # Its lease ended and the sweeper has not come by yet: back to where the next poll finds it.
            enter(records, record, State.AUTHORIZED, now=now, who="hub", reasons=[])
            continue
        if record is None or record.state is not State.AUTHORIZED:
            records.jobs.remove(job.request_id)
            continue
        enter(records, record, State.SIGNING, now=now, who=owner, reasons=[])
        taken.append((record, job.fence))
    return taken


def note_progress(records: Records, request_id: str, state: str) -> None:
    """Show whoever asks what a request that the signer has waits for; ``state``: the gate's word."""
    record = records.find(request_id)
    reasons = _WAITS.get(state, [])
    if record is not None and record.state is State.SIGNING and record.reasons != reasons:
        record.reasons = [dict(reason) for reason in reasons]
        records.save(record)


def store_result(
    records: Records,
    policy: Policy,
    record: RequestRecord,
    *,
    result: SignerResult,
    content: bytes,
    fence: int,
    who: str,
    now: datetime,
) -> RequestRecord:
    """Take in the signer's answer. A repeated one changes nothing; one under an old lease is refused."""
    if record.is_final and record.state is _end_of(result):
        return record
    if record.state is not State.SIGNING or not records.jobs.holds("sign", record.id, fence=fence):
        raise ConflictError(
            f"request {record.id} is {record.state} and not leased to this answer",
            code="stale-lease",
            details={"state": str(record.state)},
        )
    reasons: list[Json] = [dict(reason.model_dump()) for reason in result.reasons]
    if result.outcome == "signed":
        if len(result.artifacts) != len(record.artifacts):
            found = f"{len(result.artifacts)} results for {len(record.artifacts)} artifacts"
            raise MalformedError(found, code="bad-result")
        records.set_result(record.id, content)
        record.results = [
            {"artifact": index, "result_sha256": a.result_sha256, "has_patch": a.patch is not None}
            for index, a in enumerate(result.artifacts)
        ]
    elif not reasons:
        reasons = [_plain_reason(result)]
    end = _end_of(result)
    if end is not None:
        enter(records, record, end, now=now, who=who, reasons=reasons)
    else:
        _wait_again(records, policy, record, reasons, who=who, now=now)
    return record


def _end_of(result: SignerResult) -> State | None:
    if result.outcome == "denied":
        return State.REJECTED if any(r.rule == "rejected" for r in result.reasons) else State.DENIED
    return {"signed": State.COMPLETED, "failed": State.FAILED}.get(result.outcome)


def _plain_reason(result: SignerResult) -> Json:
    effect = "await" if result.outcome == "waiting" else "deny"
    found = result.message or result.outcome
    return {
        "rule": result.code or result.outcome,
        "effect": effect,
        "found": found,
        "wanted": "a signature",
        "who": "signer",
    }


def _wait_again(
    records: Records, policy: Policy, record: RequestRecord, reasons: list[Json], *, who: str, now: datetime
) -> None:
    """The signer still misses something: back to where the forecast says, and not at once to the signer again."""
    later = int(now.timestamp()) + DISAGREEMENT_PAUSE
    enter(records, record, State.AUTHORIZED, now=now, who=who, reasons=reasons, run_after=later)
    advance(records, policy, record, now=now, who=who)
    if record.state is State.AUTHORIZED:
        record.reasons = reasons
        records.save(record)
