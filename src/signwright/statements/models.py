# SPDX-License-Identifier: Apache-2.0
"""What stands in each statement. One model per message; unknown fields are refused; times are RFC 3339 strings.

A statement of any other type than these is refused by `parse_statement`, because nothing here knows what it would mean.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Generic, Literal, TypeVar, cast

from pydantic import Field, StringConstraints

from signwright.errors import MalformedError, SignwrightError
from signwright.model.operation import (
    MAX_WAVES,
    DerivedOperation,
    Many,
    Name,
    Operation,
    Parameter,
    Sha256Text,
    Strict,
    Time,
)
from signwright.statements.dsse import Envelope, statement_digest
from signwright.statements.parse import strict_json, validate_model

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_PREFIX = "https://signwright.dev/"
MAX_SUBJECTS = 100
#: Most halts that one resume ends or one freshness statement lists.
MAX_HALTS = 64


Text = Annotated[str, StringConstraints(min_length=1, max_length=1024)]
KeyText = Annotated[str, StringConstraints(min_length=1, max_length=1024)]
KeyId = Annotated[str, StringConstraints(pattern=r"^swk_[a-z2-7]{20}$")]
Mode = Literal["artifact", "digest"]


class Sha256(Strict):
    sha256: Sha256Text


class Subject(Strict):
    """in-toto ResourceDescriptor, the part we use: a name for people and the digest that counts."""

    name: Text
    digest: Sha256


class SourceRevision(Strict):
    """Where the artifact says it comes from; a claim of the submitter until evidence confirms it."""

    repository: Text
    commit: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40}([0-9a-f]{24})?$")]
    ref: Text | None = None


class RequestedArtifact(Strict):
    """One artifact of a request, in the order of the subjects. ``operations``: as the client derived them;
    ``derived``: those that follow from them.
    """

    size: int = Field(ge=0)
    format: Name
    options: dict[Name, Parameter] = Field(default_factory=dict)
    operations: Many[Operation] = Field(min_length=1)
    derived: Many[DerivedOperation] = ()


class Request(Strict):
    """A signing request: subjects are the artifacts. ``nonce``: 128 random bits in hex, so that no two are equal."""

    project: Name
    signing_policy: Name
    mode: Mode
    artifacts: Many[RequestedArtifact] = Field(min_length=1, max_length=MAX_SUBJECTS)
    source: SourceRevision | None = None
    nonce: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
    created: Time
    expires: Time


class SeenCheckpoint(Strict):
    """The newest checkpoint that the approver's client has verified. ``root``: hex."""

    origin: Text
    size: int = Field(ge=1)
    root: Sha256Text


class Approval(Strict):
    """A person's word on one request. Subjects: the request digest (named ``request``), then the artifacts again.

    ``release`` is the word of the hold group (QA) that lets a held request go; it does not count as an approval.
    """

    decision: Literal["approve", "deny", "release"]
    person: Name
    project: Name
    signing_policy: Name
    policy_sha256: Sha256Text
    checkpoint: SeenCheckpoint
    artifacts_rehashed: bool
    evidence_verified: Many[Sha256Text] = ()
    comment: Annotated[str, StringConstraints(max_length=2000)] | None = None
    created: Time
    expires: Time


class Engine(Strict):
    name: Text
    version: Text
    definitions: Text


class Finding(Strict):
    """``path``: the inner path, members separated by ``/`` from the artifact's name on."""

    path: Annotated[str, StringConstraints(max_length=4096)]
    rule: Text
    engine: Text


class ScanEvidence(Strict):
    """The scanner's verdict on the one subject, whose bytes it hashed itself."""

    kind: Literal["scan"] = "scan"
    verdict: Literal["clean", "infected", "unscannable"]
    engines: Many[Engine] = Field(min_length=1)
    findings: Many[Finding] = ()
    members: int = Field(ge=0)
    sandbox: Text
    created: Time


class Role(Strict):
    """``keys``: written forms; ``threshold``: how many of them must sign."""

    threshold: int = Field(ge=1)
    keys: Many[KeyText] = Field(min_length=1, max_length=16)


class PolicyRoot(Strict):
    """Who may change what: ``root`` the next root, ``policy`` the policy; ``freshness`` says that nothing was revoked;
    any one key of ``panic`` halts. ``trial`` is fixed at genesis. Subject: the organisation's name.

    Version N + 1 is signed by the root thresholds of N and of N + 1 (TUF specification 1.0, section 5.3).
    """

    version: int = Field(ge=1, lt=1 << 53)
    organisation: Text
    trial: bool
    root: Role
    policy: Role
    freshness: Role
    panic: Role
    created: Time
    expires: Time


class DocumentRef(Strict):
    sha256: Sha256Text
    size: int = Field(ge=2)


class PolicyIndex(Strict):
    """The ``policy`` statement: an index of documents that travel beside it."""

    version: int = Field(ge=1, lt=1 << 53)
    root_version: int = Field(ge=1)
    root_sha256: Sha256Text
    documents: dict[Annotated[str, StringConstraints(pattern=r"^[a-z]+(/[a-z0-9][a-z0-9._-]{0,62})?$")], DocumentRef]
    created: Time
    expires: Time


class Freshness(Strict):
    """Nothing newer than this was revoked when it was made. Subject: the policy root.

    ``number`` only goes up, and is at most ``created`` in seconds since the epoch; a policy below
    ``minimum_policy_version`` is stale; what is revoked here counts as if it were disabled in the policy. While any of
    ``halts`` is not known to be over, no release is signed.
    """

    number: int = Field(ge=1, lt=1 << 53)
    minimum_policy_version: int = Field(ge=1, lt=1 << 53)
    revoked_credentials: Many[KeyId] = Field(default=(), max_length=256)
    revoked_people: Many[Name] = Field(default=(), max_length=256)
    halts: Many[Sha256Text] = Field(default=(), max_length=MAX_HALTS)
    created: Time
    expires: Time


class Halt(Strict):
    """Stop signing, everything, at once. Subject: the policy root. ``nonce``: 128 random bits in hex."""

    reason: Annotated[str, StringConstraints(min_length=1, max_length=500)]
    nonce: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
    created: Time


class Resume(Strict):
    """``halts`` end when a policy of at least ``policy_version`` is in force that is newer than the one that was in
    force when they arrived. Subject: the policy root.
    """

    halts: Many[Sha256Text] = Field(min_length=1, max_length=MAX_HALTS)
    policy_version: int = Field(ge=2, lt=1 << 53)
    reason: Annotated[str, StringConstraints(min_length=1, max_length=500)]
    created: Time


class KeyOperation(Strict):
    """Use of a key that is no release, by the threshold of policy keepers. Subject: the policy statement.

    ``csr``: a certification request (RFC 2986) for ``key`` itself; ``parameters``: what its template takes.
    """

    key: Name
    operation: Literal["csr"]
    parameters: dict[Name, Parameter] = Field(default_factory=dict)
    nonce: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
    created: Time
    expires: Time


class Order(Strict):
    """Gate to keyholder: sign this wave. Subjects: the request; what it names travels beside."""

    request: Sha256Text
    wave: int = Field(ge=0, lt=MAX_WAVES)
    attempt: int = Field(ge=1, le=3)
    policy_sha256: Sha256Text
    operations_sha256: Sha256Text
    leaf_sha256: Sha256Text
    leaf_index: int = Field(ge=0)
    created: Time


#: By name. Statements that no decision reads add themselves where they are defined (receipts, sessions).
PREDICATES: dict[str, type[Strict]] = {
    "request": Request,
    "approval": Approval,
    "evidence": ScanEvidence,
    "policy-root": PolicyRoot,
    "policy": PolicyIndex,
    "freshness": Freshness,
    "halt": Halt,
    "resume": Resume,
    "key-operation": KeyOperation,
    "order": Order,
}

P = TypeVar("P", bound=Strict)


@dataclass(frozen=True, slots=True)
class Statement(Generic[P]):
    """A parsed statement. ``digest`` is how others refer to it; whether anybody signed it is another question."""

    name: str
    subjects: tuple[Subject, ...]
    predicate: P
    digest: str


class _Statement(Strict):
    type_: Literal["https://in-toto.io/Statement/v1"] = Field(alias="_type")
    subject: Many[Subject] = Field(min_length=1, max_length=MAX_SUBJECTS + 1)
    predicateType: Text
    predicate: dict[str, object]


def predicate_type(name: str) -> str:
    return f"{PREDICATE_PREFIX}{name}/v1"


def predicate_name(envelope: Envelope) -> str:
    """Which statement the payload says it is, ``""`` for none that is known, or that is no statement at all."""
    try:
        found = _outer(envelope).predicateType
    except SignwrightError:
        return ""
    name = found.removeprefix(PREDICATE_PREFIX).removesuffix("/v1")
    return name if name in PREDICATES and found == predicate_type(name) else ""


def _outer(envelope: Envelope) -> _Statement:
    """What stands around the predicate, read once for each envelope."""
    known = envelope.parsed.get(_Statement)
    if known is None:
        known = envelope.parsed[_Statement] = validate_model(_Statement, strict_json(envelope.payload))
    return cast(_Statement, known)


def parse_statement(envelope: Envelope, model: type[P]) -> Statement[P]:
    """The payload as a statement with predicate ``model``; raises `MalformedError`. Verifies nothing."""
    known = envelope.parsed.get(model)
    if known is None:
        known = envelope.parsed[model] = _parse_statement(envelope, model)
    return cast(Statement[P], known)


def _parse_statement(envelope: Envelope, model: type[P]) -> Statement[P]:
    name = next(name for name, known in PREDICATES.items() if known is model)
    outer = _outer(envelope)
    if outer.predicateType != predicate_type(name):
        raise MalformedError(
            f"statement of type {outer.predicateType[:80]!r}; wanted {predicate_type(name)}",
            code="wrong-statement-type",
        )
    predicate = validate_model(model, outer.predicate)
    statement = Statement(name, outer.subject, predicate, statement_digest(name, envelope))
    _check_shape(statement)
    return statement


def _check_shape(statement: Statement[P]) -> None:
    predicate = statement.predicate
    if isinstance(predicate, Request) and len(predicate.artifacts) != len(statement.subjects):
        raise MalformedError("request: as many artifacts as subjects are wanted", code="bad-field")
    if not isinstance(predicate, (Request, Approval)) and len(statement.subjects) != 1:
        raise MalformedError(f"{statement.name}: exactly one subject is wanted", code="bad-field")
