# SPDX-License-Identifier: Apache-2.0
"""Where a request goes next: the forecast of what gate and keyholder will decide, made by the same function."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from signwright.hub.workflow.ports import Json, Records, RequestRecord
from signwright.hub.workflow.states import FINAL, State, check_move
from signwright.policy.decide import Decision, decide
from signwright.policy.facts import Counters, Facts, gather
from signwright.policy.policy import Policy
from signwright.policy.rules.reason import Reason
from signwright.statements.dsse import Envelope, parse_envelope

DAY = timedelta(hours=24)


def advance(
    records: Records, policy: Policy, record: RequestRecord, *, now: datetime, who: str, facts: Facts | None = None
) -> None:
    """Decide an open request again and move it. Does nothing to one that ended or that the signer has."""
    if record.is_final or record.state is State.SIGNING:
        return
    facts = facts or _facts(records, policy, record, now)
    facts = _with_counters(records, policy, facts, now)
    decision = _unless_halted(records, policy, decide(policy, facts))
    missing = records.missing(record) if decision.outcome != "deny" else []
    reasons = [reason.as_json() for reason in decision.reasons]
    enter(records, record, target_of(decision, missing), now=now, who=who, reasons=[dict(r) for r in reasons])


def _unless_halted(records: Records, policy: Policy, decision: Decision) -> Decision:
    """The signer signs nothing while a halt is open."""
    halts = records.halts(policy.version)
    if not halts:
        return decision
    reasons = (*decision.reasons, *(halt_reason(halt) for halt in halts))
    return Decision("deny" if decision.outcome == "deny" else "await", reasons)


def halt_reason(halt: str) -> Reason:
    """In the gate's words."""
    return Reason(
        "halted", "await", f"halt {halt[:16]}…", "a resume by the policy keepers, and a newer policy", "policy keepers"
    )


def target_of(decision: Decision, missing: list[str]) -> State:
    """The state that a decision asks for. Artifacts that are not there yet hold back everything but a denial."""
    rules = {reason.rule for reason in decision.of("deny")}
    if decision.outcome == "deny":
        if "rejected" in rules:
            return State.REJECTED
        return State.EXPIRED if rules == {"request-expired"} else State.DENIED
    if missing:
        return State.UPLOADING
    if decision.outcome == "allow":
        return State.AUTHORIZED
    return State.SCANNING if any(r.rule == "scan" for r in decision.of("await")) else State.AWAITING_APPROVAL


def enter(
    records: Records,
    record: RequestRecord,
    state: State,
    *,
    now: datetime,
    who: str,
    reasons: list[Json],
    run_after: int | None = None,
) -> None:
    """Move a request, keep its history and put or remove the job that the new state needs."""
    seconds = int(now.timestamp())
    if state is record.state:
        if reasons != record.reasons:
            record.reasons = reasons
            records.save(record)
        return
    check_move(record.state, state)
    record.state, record.reasons = state, reasons
    record.history.append({"state": str(state), "time": seconds, "who": who})
    if state in FINAL:
        record.finished = seconds
        records.event(str(state), who=who, request_id=record.id, details={"reasons": [r["rule"] for r in reasons]})
    kind = {State.SCANNING: "examine", State.AUTHORIZED: "sign"}.get(state)
    if kind is not None:
        records.jobs.put(kind, record.id, run_after=run_after or seconds)
    elif state is not State.SIGNING:
        records.jobs.remove(record.id)
    records.save(record)


def _facts(records: Records, policy: Policy, record: RequestRecord, now: datetime) -> Facts:
    approvals, evidence = (envelopes(records, kind, record.id) for kind in ("approval", "evidence"))
    evidence += newest_freshness(records) if record.kind != "test" else []
    return gather(policy, parse_envelope(record.envelope), approvals=approvals, evidence=evidence, now=now)


def newest_freshness(records: Records) -> list[Envelope]:
    """The one with the highest number, if there is one."""
    content = records.newest_freshness()
    return [] if content is None else [parse_envelope(content)]


def envelopes(records: Records, kind: str, request_id: str) -> list[Envelope]:
    """The stored approvals or evidence of a request."""
    return [parse_envelope(content) for content in records.words(kind, request_id)]


def _with_counters(records: Records, policy: Policy, facts: Facts, now: datetime) -> Facts:
    """Counts only where the policy sets a limit: the gate keeps the counters that matter."""
    request = facts.request.predicate
    rule = policy.signing_policy(request.project, request.signing_policy)
    if rule is None or (rule.max_per_day is None and policy.key_of(rule).max_per_day is None):
        return facts
    since = int((now - DAY).timestamp())
    shared = [
        (project, name)
        for project, document in policy.projects.items()
        for name, other in document.signing_policies.items()
        if other.key == rule.key
    ]
    counters = Counters(
        key=sum(records.operations_since(project, [name], since) for project, name in shared),
        signing_policy=records.operations_since(request.project, [request.signing_policy], since),
    )
    return replace(facts, counters=counters)
