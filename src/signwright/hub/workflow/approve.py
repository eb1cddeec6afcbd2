# SPDX-License-Identifier: Apache-2.0
"""Take in a person's word: verified, about this request, said under the policy in force."""

from __future__ import annotations

from datetime import datetime

from signwright.errors import ConflictError, VerificationError
from signwright.hub.workflow.decide import advance, newest_freshness
from signwright.hub.workflow.ports import Records, RequestRecord
from signwright.hub.workflow.states import State
from signwright.policy.facts import gather
from signwright.policy.policy import Policy
from signwright.statements.dsse import Envelope, parse_envelope


def approve(
    records: Records, policy: Policy, record: RequestRecord, *, envelope: Envelope, now: datetime
) -> RequestRecord:
    """Store an approval, a no, or a release from hold, and decide again. The same word twice counts once."""
    fresh = newest_freshness(records)
    facts = gather(policy, parse_envelope(record.envelope), approvals=[envelope], evidence=fresh, now=now)
    if not facts.approvals:
        why = next((text for text in facts.ignored if text.startswith("approval")), "approval: not counted")
        raise VerificationError(why, code="bad-approval")
    statement = facts.approvals[0].statement
    word = statement.predicate
    if statement.digest in {str(a["sha256"]) for a in record.approvals}:
        return record
    if record.is_final or record.state is State.SIGNING:
        raise ConflictError(
            f"request {record.id} is {record.state}", code="wrong-state", details={"state": str(record.state)}
        )
    if word.policy_sha256 != policy.sha256:
        raise ConflictError(
            f"said under policy {word.policy_sha256[:16]}…; the policy in force is {policy.sha256[:16]}…",
            code="other-policy",
            hint="fetch the policy, look again and approve again",
        )
    seconds = int(now.timestamp())
    records.add_word("approval", record.id, statement.digest, envelope.encode(), now=seconds)
    record.approvals.append(
        {"person": word.person, "decision": word.decision, "created": word.created, "sha256": statement.digest}
    )
    records.save(record)
    details = {"decision": word.decision, "approval_sha256": statement.digest}
    records.event("approval", who=word.person, request_id=record.id, details=dict(details))
    advance(records, policy, record, now=now, who=word.person)
    return record
