# SPDX-License-Identifier: Apache-2.0
"""Facts about a request, each verified from a signature before it becomes one.

Trust is a type: rules see only what `gather` let through. An approval or verdict that does not verify, or speaks about
something else, is not a fact; why it was left out is kept in ``ignored`` so that the answer can say so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import TypeVar

from signwright.errors import SignwrightError, VerificationError
from signwright.model.times import parse_time
from signwright.policy.policy import Policy, check_role
from signwright.statements.dsse import Envelope
from signwright.statements.keys import verify_envelope, verifying_key
from signwright.statements.models import (
    Approval,
    Freshness,
    Request,
    Role,
    ScanEvidence,
    Statement,
    parse_statement,
    predicate_name,
)

T = TypeVar("T")


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
class VerifiedFreshness:
    """Signed by the threshold of the root's freshness role."""

    statement: Statement[Freshness]

    @property
    def revoked(self) -> frozenset[str]:
        """KeyIds of credentials and names of people, each with what it is in front."""
        predicate = self.statement.predicate
        people = (f"person {name}" for name in predicate.revoked_people)
        return frozenset([*(f"credential {key_id}" for key_id in predicate.revoked_credentials), *people])


@dataclass(frozen=True, slots=True)
class Facts:
    """``submitter``: KeyId that signed the request, or None; ``now``: the deciding process's own clock;
    ``freshness``: the one with the highest number; ``wave``: the one that is to be signed.
    """

    request: Statement[Request]
    submitter: str | None
    approvals: tuple[VerifiedApproval, ...]
    scans: tuple[VerifiedScan, ...]
    now: datetime
    counters: Counters = Counters()
    ignored: tuple[str, ...] = ()
    freshness: VerifiedFreshness | None = None
    wave: int = 0

    @property
    def wanted(self) -> int:
        """How many operations of this wave and later ones the request names."""
        artifacts = self.request.predicate.artifacts
        direct = 0 if self.wave else sum(len(artifact.operations) for artifact in artifacts)
        return direct + sum(one.wave >= self.wave for artifact in artifacts for one in artifact.derived)

    @property
    def evidence(self) -> tuple[str, ...]:
        """Digests of all that was counted beside people's words."""
        fresh = (self.freshness.statement.digest,) if self.freshness else ()
        return (*(scan.statement.digest for scan in self.scans), *fresh)


def gather(
    policy: Policy,
    request: Envelope,
    *,
    approvals: Sequence[Envelope],
    evidence: Sequence[Envelope],
    now: datetime,
    counters: Counters = Counters(),
    revoked: frozenset[str] = frozenset(),
    wave: int = 0,
) -> Facts:
    """Verify each envelope against ``policy`` and keep what holds. Raises only for a request that does not parse.

    ``evidence``: verdicts and freshness statements; ``revoked``: what the caller knows to be revoked besides.
    """
    statement = parse_statement(request, Request)
    ignored: list[str] = []
    kept = [_or_words(lambda e=e: _evidence(policy, statement, e), "evidence", ignored) for e in evidence]  # type: ignore[misc]
    scans = tuple(one for one in kept if isinstance(one, VerifiedScan))
    fresh = [one for one in kept if isinstance(one, VerifiedFreshness)]
    freshness = max(fresh, key=lambda one: one.statement.predicate.number, default=None)
    gone = revoked | (freshness.revoked if freshness else frozenset())
    people = [_or_words(lambda e=e: _approval(policy, statement, e, gone), "approval", ignored) for e in approvals]  # type: ignore[misc]
    submitter = _or_words(lambda: _submitter(policy, request, gone), "request", ignored)
    return Facts(
        request=statement,
        submitter=submitter,
        approvals=tuple(one for one in people if one is not None),
        scans=scans,
        now=now,
        counters=counters,
        ignored=tuple(ignored),
        freshness=freshness,
        wave=wave,
    )


def _or_words(work: Callable[[], T], what: str, ignored: list[str]) -> T | None:
    """What ``work`` gives, or None and why not among ``ignored``."""
    try:
        return work()
    except SignwrightError as problem:
        ignored.append(f"{what}: {problem.message}")
        return None


def _evidence(policy: Policy, request: Statement[Request], envelope: Envelope) -> VerifiedScan | VerifiedFreshness:
    if predicate_name(envelope) == "freshness":
        return verified_freshness(policy, envelope)
    return _scan(policy, request, envelope)


def verified_freshness(policy: Policy, envelope: Envelope) -> VerifiedFreshness:
    """Signed for one of the policy's roots by the threshold of its newest; raises `SignwrightError`."""
    return _freshness(envelope, policy.roots, policy.root.freshness)


@lru_cache(maxsize=16)
def _freshness(envelope: Envelope, roots: tuple[str, ...], role: Role) -> VerifiedFreshness:
    """Kept for the very same payload, signatures, roots and keys: one statement stands beside every order of its day.
    A refusal is not kept.
    """
    statement = parse_statement(envelope, Freshness)
    if statement.subjects[0].digest.sha256 not in roots:
        raise VerificationError("freshness: for another policy root", code="unknown-policy-root")
    check_role(envelope, "freshness", role)
    # So that nobody can use the numbers up: there is always a higher one a second later.
    if statement.predicate.number > parse_time(statement.predicate.created).timestamp():
        raise VerificationError("freshness: a number above its own time in seconds", code="freshness-number")
    return VerifiedFreshness(statement)


def _submitter(policy: Policy, request: Envelope, revoked: frozenset[str]) -> str | None:
    hinted = {s.keyid for s in request.signatures if f"credential {s.keyid}" not in revoked}
    credentials = policy.credentials.credentials
    keys = [credentials[k].public_key for k in hinted if k in credentials and not credentials[k].disabled]
    signed = verify_envelope(request, "request", keys)
    return signed[0].key_id if len(signed) == 1 else None


def _approval(
    policy: Policy, request: Statement[Request], envelope: Envelope, revoked: frozenset[str]
) -> VerifiedApproval:
    statement = parse_statement(envelope, Approval)
    name = statement.predicate.person
    person = policy.people.people.get(name)
    if person is None or person.disabled:
        raise SignwrightError(f"{name!r} is not enrolled")
    if f"person {name}" in revoked:
        raise SignwrightError(f"{name!r} was revoked")
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
