# SPDX-License-Identifier: Apache-2.0
"""A verified request as a custodian is shown it: what the gate itself found to hold, and nothing that it was told."""

from __future__ import annotations

from signwright.errors import LimitError
from signwright.policy.exceptions import needed_exceptions
from signwright.signer.gate.verify import Case
from signwright.statements.custodian import ShownApproval, ShownArtifact, ShownEvidence, ShownRequest
from signwright.statements.parse import MAX_DOCUMENT


def shown(case: Case) -> bytes:
    """What a custodian is shown of a verified case; raises `LimitError` for what nobody could read."""
    policy, request, rule = case.opened.policy, case.job.statement.predicate, case.rule
    submitter = case.facts.submitter or ""
    credential = policy.credentials.credentials[submitter]
    needed = needed_exceptions(rule, policy.services) - ({"digest-mode"} if request.mode != "digest" else set())
    content = ShownRequest(
        request=case.job.digest,
        project=request.project,
        signing_policy=request.signing_policy,
        kind=rule.kind,
        mode=request.mode,
        key=rule.key,
        policy_version=policy.version,
        policy_sha256=policy.sha256,
        submitter=submitter,
        submitter_description=credential.description,
        submitter_person=credential.person,
        source=request.source,
        artifacts=_artifacts(case),
        approvals=_approvals(case),
        evidence=_evidence(case),
        content_read=request.mode == "artifact",
        derived=any(artifact.derived for artifact in request.artifacts),
        exceptions=tuple(sorted(needed)),
        created=request.created,
        expires=request.expires,
    ).encode()
    if len(content) > MAX_DOCUMENT:
        raise LimitError(f"{len(content)} bytes to be shown to the custodian; at most {MAX_DOCUMENT}", code="too-long")
    return content


def _artifacts(case: Case) -> tuple[ShownArtifact, ...]:
    statement = case.job.statement
    return tuple(
        ShownArtifact(
            name=subject.name,
            sha256=subject.digest.sha256,
            size=artifact.size,
            format=artifact.format,
            options=artifact.options,
            operations=len(artifact.operations) + len(artifact.derived),
        )
        for subject, artifact in zip(statement.subjects, statement.predicate.artifacts, strict=True)
    )


def _approvals(case: Case) -> tuple[ShownApproval, ...]:
    rows = sorted(case.facts.approvals, key=lambda approval: approval.statement.digest)
    return tuple(
        ShownApproval(
            person=row.statement.predicate.person,
            decision=row.statement.predicate.decision,
            key=row.key_id,
            statement=row.statement.digest,
            created=row.statement.predicate.created,
            expires=row.statement.predicate.expires,
        )
        for row in rows
    )


def _evidence(case: Case) -> tuple[ShownEvidence, ...]:
    scans = sorted(case.facts.scans, key=lambda scan: scan.statement.digest)
    rows = [
        ShownEvidence(
            kind="scan",
            says=scan.statement.predicate.verdict,
            by=scan.scanner,
            statement=scan.statement.digest,
            created=scan.statement.predicate.created,
        )
        for scan in scans
    ]
    fresh = case.facts.freshness
    if fresh is not None:
        said = fresh.statement.predicate
        rows.append(
            ShownEvidence(
                kind="freshness",
                says=f"number {said.number}",
                by="freshness keepers",
                statement=fresh.statement.digest,
                created=said.created,
            )
        )
    return tuple(rows)
