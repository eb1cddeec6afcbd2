# SPDX-License-Identifier: Apache-2.0
"""The gate's own decision on a request: from envelopes that anybody may have written to facts and leave."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from signwright.envelopes.templates import TEMPLATES
from signwright.errors import DeniedError, MalformedError
from signwright.formats.registry import FORMATS
from signwright.policy.decide import Decision, decide
from signwright.policy.documents import Key, SigningPolicy
from signwright.policy.facts import Facts, gather
from signwright.policy.policy import spki_sha256
from signwright.signer.gate.counters import UsageCounters
from signwright.signer.gate.log import Log
from signwright.signer.gate.policy import Opened
from signwright.signer.gate.words import KeepersWords
from signwright.statements.dsse import Envelope, parse_envelope
from signwright.statements.models import Request, Statement, parse_statement, predicate_name

MAX_APPROVALS = 64
MAX_EVIDENCE = 256


@dataclass(frozen=True, slots=True)
class Job:
    """A request as it came in. Wire forms and parsed envelopes; nothing is verified."""

    request_bytes: bytes
    request: Envelope
    statement: Statement[Request]
    approvals: tuple[tuple[bytes, Envelope], ...]
    evidence: tuple[tuple[bytes, Envelope], ...]

    @property
    def digest(self) -> str:
        return self.statement.digest

    @property
    def address(self) -> str:
        """``project/signing-policy``."""
        return f"{self.statement.predicate.project}/{self.statement.predicate.signing_policy}"


@dataclass(frozen=True, slots=True)
class Case:
    """A request with the facts that hold under one policy. Only envelopes that made a fact are kept."""

    job: Job
    opened: Opened
    facts: Facts
    approvals: tuple[bytes, ...]
    evidence: tuple[bytes, ...]

    @property
    def rule(self) -> SigningPolicy:
        request = self.job.statement.predicate
        return self.opened.policy.projects[request.project].signing_policies[request.signing_policy]

    @property
    def key(self) -> Key:
        return self.opened.policy.key_of(self.rule)


def open_job(request: bytes, approvals: Sequence[bytes], evidence: Sequence[bytes]) -> Job:
    """Parse; raises `MalformedError` and `LimitError`. An approval or verdict that does not parse is left out."""
    if len(approvals) > MAX_APPROVALS or len(evidence) > MAX_EVIDENCE:
        raise MalformedError(f"{len(approvals)} approvals and {len(evidence)} pieces of evidence are too many")
    envelope = parse_envelope(request)
    return Job(request, envelope, parse_statement(envelope, Request), _parsed(approvals), _parsed(evidence))


def _parsed(contents: Sequence[bytes]) -> tuple[tuple[bytes, Envelope], ...]:
    found = []
    for content in dict.fromkeys(contents):
        try:
            found.append((content, parse_envelope(content)))
        except MalformedError:
            continue
    return tuple(found)


class Verifier:
    """``now``: aware UTC."""

    def __init__(self, counters: UsageCounters, log: Log, words: KeepersWords, *, now: Callable[[], datetime]) -> None:
        self._counters = counters
        self._words = words
        self._log = log
        self._now = now

    def gather(self, job: Job, opened: Opened) -> Case:
        """What of the job holds under the policy. A release is given the newest freshness statement that we have."""
        policy, now, revoked = opened.policy, self._now(), self._words.revoked()
        evidence = [(content, e) for content, e in job.evidence if predicate_name(e) != "freshness"]
        request = job.statement.predicate
        rule = policy.signing_policy(request.project, request.signing_policy)
        fresh = self._words.freshness() if rule is not None and rule.kind == "release" else None
        if fresh is not None:
            evidence.append((fresh[1], fresh[0]))

        def facts_of(approvals: Sequence[Envelope], evidence: Sequence[Envelope]) -> Facts:
            return gather(policy, job.request, approvals=approvals, evidence=evidence, now=now, revoked=revoked)

        facts = facts_of([e for _, e in job.approvals], [e for _, e in evidence])
        approvals = list(job.approvals)
        if facts.ignored:
            approvals = [(content, e) for content, e in approvals if facts_of([e], []).approvals]
            evidence = [(content, e) for content, e in evidence if facts_of([], [e]).evidence]
        return Case(job, opened, facts, tuple(c for c, _ in approvals), tuple(c for c, _ in evidence))

    def decide(self, case: Case, *, wave: int = 0) -> Decision:
        """Now, with the counters as they are now, for what is left from ``wave`` on."""
        policy, now = case.opened.policy, self._now()
        request = case.job.statement.predicate
        rule = policy.signing_policy(request.project, request.signing_policy)
        facts = replace(case.facts, now=now, wave=wave)
        if rule is not None:
            key = spki_sha256(policy.key_of(rule))
            facts = replace(facts, counters=self._counters.counts(key, case.job.address, now=int(now.timestamp())))
        return decide(policy, facts)

    def check_approvers_log(self, case: Case) -> None:
        """The log continues every log that an approver has seen; raises `DeniedError` or `VerificationError`."""
        for approval in case.facts.approvals:
            seen = approval.statement.predicate.checkpoint
            if seen.origin != self._log.origin:
                raise DeniedError(
                    f"an approver has seen log {seen.origin!r}; this is {self._log.origin!r}", code="wrong-origin"
                )
            self._log.check_seen(seen.size, bytes.fromhex(seen.root))


def check_digest_mode(statement: Statement[Request]) -> None:
    """One operation of the whole file, in a format that can do without its content; raises `DeniedError`.

    That template and parameters fit format and options is a rule of the decision.
    """
    for subject, artifact in zip(statement.subjects, statement.predicate.artifacts, strict=True):
        chosen = FORMATS.get(artifact.format)
        if chosen is None or not chosen.digest_mode:
            raise DeniedError(f"{subject.name!r}: format {artifact.format} has no digest mode", code="digest-mode")
        if any((t := TEMPLATES.get(o.template)) and t.check_content is not None for o in artifact.operations):
            raise DeniedError(
                f"{subject.name!r}: it has content that must be seen, which wants artifact mode", code="digest-mode"
            )
        if len(artifact.operations) != 1 or artifact.operations[0].inner_path:
            raise DeniedError(
                f"{subject.name!r}: digest mode signs one operation of the whole file", code="digest-mode"
            )
