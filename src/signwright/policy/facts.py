# SPDX-License-Identifier: Apache-2.0
"""Facts about a request, each verified from a signature before it becomes one.

Trust is a type: rules see only what `gather` let through. An approval or verdict that does not verify, or speaks about
something else, is not a fact; why it was left out is kept in ``ignored`` so that the answer can say so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from signwright.errors import SignwrightError
from signwright.policy.policy import Policy
from signwright.statements.dsse import Envelope
from signwright.statements.keys import verify_envelope, verifying_key
from signwright.statements.models import Approval, Request, ScanEvidence, Statement, parse_statement


@dataclass(frozen=True, slots=True)
class Counters:
    """How often the key, the signing policy and the credential were used in the last 24 h, as this process counts."""

    key: int = 0
    signing_policy: int = 0


@dataclass(frozen=True, slots=True)
class VerifiedApproval:
    """Signed by a key of ``statement.predicate.person`` as the policy has it. ``key_id``: which of their keys."""

    statement: Statement[Approval]
    key_id: str


@dataclass(frozen=True, slots=True)
class VerifiedScan:
    statement: Statement[ScanEvidence]
    scanner: str


@dataclass(frozen=True, slots=True)
class Facts:
    """``submitter``: KeyId that signed the request, or None; ``now``: the deciding process's own clock."""

    request: Statement[Request]
    submitter: str | None
    approvals: tuple[VerifiedApproval, ...]
    scans: tuple[VerifiedScan, ...]
    now: datetime
    counters: Counters = Counters()
    ignored: tuple[str, ...] = ()


def gather(
    policy: Policy,
    request: Envelope,
    *,
    approvals: Sequence[Envelope],
    evidence: Sequence[Envelope],
    now: datetime,
    counters: Counters = Counters(),
) -> Facts:
    """Verify each envelope against ``policy`` and keep what holds. Raises only for a request that does not parse."""
    statement = parse_statement(request, Request)
    ignored: list[str] = []
    kept_approvals, kept_scans = [], []
    for envelope in approvals:
        try:
            kept_approvals.append(_approval(policy, statement, envelope))
        except SignwrightError as problem:
            ignored.append(f"approval: {problem.message}")
    for envelope in evidence:
        try:
            kept_scans.append(_scan(policy, statement, envelope))
        except SignwrightError as problem:
            ignored.append(f"evidence: {problem.message}")
    try:
        submitter = _submitter(policy, request)
    except SignwrightError as problem:
        submitter = None
        ignored.append(f"request: {problem.message}")
    return Facts(statement, submitter, tuple(kept_approvals), tuple(kept_scans), now, counters, tuple(ignored))


def _submitter(policy: Policy, request: Envelope) -> str | None:
    hinted = {s.keyid for s in request.signatures}
    credentials = policy.credentials.credentials
    keys = [credentials[k].public_key for k in hinted if k in credentials and not credentials[k].disabled]
    signed = verify_envelope(request, "request", keys)
    return signed[0].key_id if len(signed) == 1 else None


def _approval(policy: Policy, request: Statement[Request], envelope: Envelope) -> VerifiedApproval:
    statement = parse_statement(envelope, Approval)
    name = statement.predicate.person
    person = policy.people.people.get(name)
    if person is None or person.disabled:
        raise SignwrightError(f"{name!r} is not enrolled")
    signed = verify_envelope(envelope, "approval", list(person.keys))
    if not signed:
        raise SignwrightError(f"not signed by a key of {name!r}")
    about = [(s.name, s.digest.sha256) for s in statement.subjects]
    wanted = [("request", request.digest), *((s.name, s.digest.sha256) for s in request.subjects)]
    if about != wanted:
        raise SignwrightError(f"by {name!r}: about another request or other artifacts")
    return VerifiedApproval(statement, signed[0].key_id)


def _scan(policy: Policy, request: Statement[Request], envelope: Envelope) -> VerifiedScan:
    statement = parse_statement(envelope, ScanEvidence)
    scanners = {verifying_key(s.public_key).key_id: s.name for s in policy.services.scanners}
    signed = verify_envelope(envelope, "evidence", [s.public_key for s in policy.services.scanners])
    if not signed:
        raise SignwrightError("not signed by a scanner of this policy")
    if statement.subjects[0].digest.sha256 not in {s.digest.sha256 for s in request.subjects}:
        raise SignwrightError("about an artifact that is not in this request")
    return VerifiedScan(statement, scanners[signed[0].key_id])
