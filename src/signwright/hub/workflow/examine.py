# SPDX-License-Identifier: Apache-2.0
"""Have the scanner look at every artifact of a request, keep its signed verdicts, decide again."""

from __future__ import annotations

from datetime import datetime

from signwright.errors import SignwrightError
from signwright.hub.workflow.decide import advance, enter, envelopes
from signwright.hub.workflow.ports import Claim, Json, Records, RequestRecord
from signwright.hub.workflow.states import State
from signwright.model.times import parse_time
from signwright.policy.facts import gather
from signwright.policy.policy import Policy
from signwright.statements.dsse import parse_envelope
from signwright.statements.models import ScanEvidence, parse_statement

MAX_PAUSE = 60


def unscanned(records: Records, policy: Policy, record: RequestRecord, *, now: datetime) -> list[Json]:
    """Artifacts, each content once, on which no fact of a scanner of ``policy`` is stored."""
    facts = gather(
        policy,
        parse_envelope(record.envelope),
        approvals=[],
        evidence=envelopes(records, "evidence", record.id),
        now=now,
    )
    rule = policy.signing_policy(record.project, record.signing_policy)
    hours = rule.scan.max_age_hours if rule else 0
    fresh = {
        scan.statement.subjects[0].digest.sha256
        for scan in facts.scans
        if (now - _created(scan.statement.predicate)).total_seconds() < hours * 3600
    }
    return [a for a in {a["sha256"]: a for a in record.artifacts}.values() if a["sha256"] not in fresh]


def _created(verdict: ScanEvidence) -> datetime:
    return parse_time(verdict.created)


def store_verdicts(
    records: Records, *, policy: Policy, claim: Claim, verdicts: list[bytes], now: datetime
) -> RequestRecord | None:
    """Keep the verdicts and decide again; None when the lease went to somebody else or the request moved on."""
    record = records.find(claim.request_id)
    if record is None or not records.jobs.holds("examine", claim.request_id, fence=claim.fence):
        return None
    seconds = int(now.timestamp())
    for content in verdicts:
        envelope = parse_envelope(content)
        digest = parse_statement(envelope, ScanEvidence).digest
        records.add_word("evidence", record.id, digest, envelope.encode(), now=seconds)
    advance(records, policy, record, now=now, who="scanner")
    if record.state is State.SCANNING:  # the verdicts do not count under this policy
        records.jobs.put_back("examine", record.id, run_after=seconds + pause(claim.attempt))
    return record


def postpone(records: Records, *, claim: Claim, problem: SignwrightError, now: datetime) -> None:
    """The scanner did not answer: say so on the request and try again later; it fails closed when it expires."""
    record = records.find(claim.request_id)
    if record is None or not records.jobs.holds("examine", claim.request_id, fence=claim.fence):
        return
    reason: Json = {
        "rule": "scan",
        "effect": "await",
        "found": problem.message[:500],
        "wanted": "a scanner's verdict",
        "who": "scanner",
    }
    enter(records, record, record.state, now=now, who="hub", reasons=[reason])
    records.jobs.put_back("examine", record.id, run_after=int(now.timestamp()) + pause(claim.attempt))


def pause(attempt: int) -> int:
    """Seconds before the next attempt: 2, 4, 8 … at most 60."""
    return min(MAX_PAUSE, 1 << min(attempt, 6))
