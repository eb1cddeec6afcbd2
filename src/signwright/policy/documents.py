# SPDX-License-Identifier: Apache-2.0
"""What stands in the documents of a policy. They arrive as JSON; people write YAML, which `signwright.cli.policy`
reads.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from signwright.model.base64text import strict_base64
from signwright.model.operation import Many, Name, Parameter, Sha256Text, Strict, Time
from signwright.statements.models import KeyId, KeyText, Mode, Text

Kind = Literal["test", "release"]
#: Ten years: an age that no calendar refuses.
Hours = Annotated[int, Field(ge=1, le=87_600)]
Base64 = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9+/]+={0,2}$", max_length=65536)]
ExceptionName = Literal["digest-mode", "no-scan", "no-timestamp", "local-timestamp", "local-witness"]


class NamedException(Strict):
    """A named, owned, expiring permission to do without one protection. ``scope``: ``project/policy`` or ``*``."""

    name: ExceptionName
    scope: Annotated[str, StringConstraints(pattern=r"^(\*|[a-z0-9][a-z0-9._-]*/[a-z0-9][a-z0-9._-]*)$")]
    owner: Text
    reason: Text
    expires: Time


class ReleaseMinimums(Strict):
    """What no project may go below."""

    approvals: int = Field(default=2, ge=1, le=16)
    scan_max_age_hours: Hours = 24
    approval_max_age_hours: int = Field(default=72, ge=1, le=168)
    retention_days: int = Field(default=365, ge=0)


class Organisation(Strict):
    """``live``: from now on a change that weakens waits ``weakening_delay_hours`` after it was logged.

    ``freshness_hours``: how old the newest freshness statement may be when a release is signed.
    """

    name: Text
    live: bool = False
    weakening_delay_hours: int = Field(default=24, ge=24, le=720)
    freshness_hours: int = Field(default=24, ge=1, le=168)
    release: ReleaseMinimums = ReleaseMinimums()
    exceptions: Many[NamedException] = ()


class LogIdentity(Strict):
    """``key``: C2SP verifier key text (``origin+hash+base64``)."""

    origin: Text
    key: Text


class Witness(Strict):
    """``outside``: run by another operator, off the signer host. ``key``: C2SP verifier key text."""

    name: Name
    key: Text
    operator: Text
    outside: bool


class Quorum(Strict):
    """Cosignatures of so many ``outside`` operators and so many ``local`` witnesses are wanted.

    ``window_minutes``: how far cosignatures and clocks may lie apart; more than 5 only where media are carried.
    """

    outside: int = Field(ge=0)
    local: int = Field(ge=0)
    window_minutes: int = Field(default=5, ge=5, le=2880)


class TimestampAuthority(Strict):
    """In the order in which they are asked. ``anchors``: base64 DER certificates. URLs are the courier's own
    business.
    """

    name: Name
    anchors: Many[Base64] = Field(min_length=1)
    outside: bool

    @property
    def anchor_certificates(self) -> tuple[bytes, ...]:
        """DER; raises `MalformedError`."""
        return tuple(strict_base64(anchor) for anchor in self.anchors)


class Scanner(Strict):
    name: Name
    public_key: KeyText


class Services(Strict):
    log: LogIdentity
    witnesses: Many[Witness] = Field(min_length=1)
    quorum: Quorum
    timestamp_authorities: Many[TimestampAuthority] = ()
    scanners: Many[Scanner] = ()
    gate_key: KeyText
    receipt_keys: Many[KeyText] = Field(min_length=1)


class Person(Strict):
    """``keys``: OpenSSH public key lines."""

    groups: Many[Name] = ()
    keys: Many[KeyText] = Field(min_length=1)
    disabled: bool = False


class People(Strict):
    people: dict[Name, Person]


class Credential(Strict):
    """A machine that may submit. ``person``: whose it is, when it is somebody's own (they cannot approve its
    requests).
    """

    public_key: KeyText
    kind: Kind
    description: Text
    person: Name | None = None
    expires: Time | None = None
    disabled: bool = False


class Credentials(Strict):
    credentials: dict[KeyId, Credential]


class Key(Strict):
    """A signing key. ``public_key``: base64 DER SubjectPublicKeyInfo; ``chain``: base64 DER, leaf first.

    ``purposes``: what a ``cms`` key may be used for; other families list their own name.
    """

    kind: Kind
    family: Literal["cms", "raw"]
    purposes: Many[Name] = Field(min_length=1)
    public_key: Base64
    chain: Many[Base64] = ()
    protection: Literal["software", "claimed", "attested"]
    max_per_day: int | None = Field(default=None, ge=1)
    disabled: bool = False


class Keys(Strict):
    keys: dict[Name, Key]


PatternText = Annotated[str, StringConstraints(min_length=1, max_length=200)]


class Inside(Strict):
    """What is wanted of a file besides its kind. ``metadata``: fact of it → patterns, one of which it must match
    (`signwright.policy.metadata`); ``members``: of a container, the first rule that names one counts; ``unlisted``:
    what becomes of those that none names, where there are rules.
    """

    metadata: dict[Name, Annotated[Many[PatternText], Field(min_length=1)]] = Field(default_factory=dict)
    members: Many[MemberRule] = Field(default=(), max_length=256)
    unlisted: Literal["refuse", "keep"] = "refuse"


class MemberRule(Inside):
    """``path``: pattern over paths with ``/``, where ``*`` and ``?`` stay within a folder and ``**`` is any number of
    them. ``sign``: as ``format`` with ``options``; ``verify``: signed by one of ``signers`` (hex SHA-256 of their
    certificates); ``keep``: as it is. What is to be signed and has such a signature stays as it is, and ``existing``
    says what happens to others. `signwright.plan` has it done.
    """

    path: PatternText
    action: Literal["sign", "verify", "keep"]
    format: Name | None = None
    options: dict[Name, Parameter] = Field(default_factory=dict)
    signers: Many[Sha256Text] = ()
    existing: Literal["refuse", "replace", "append"] = "refuse"
    min: int = Field(default=0, ge=0)
    max: int = Field(default=100_000, ge=1)


class ArtifactRule(Inside):
    """``name``: shell pattern over the subject's name."""

    name: PatternText
    format: Name
    min: int = Field(default=0, ge=0)
    max: int = Field(default=100, ge=1)


class ArtifactConfiguration(Strict):
    """What a request may consist of: one file, or a list of files, each named by a rule. Nothing else is signed."""

    files: Literal["one", "list"] = "list"
    rules: Many[ArtifactRule] = Field(min_length=1)
    max_size: int = Field(default=4 << 30, ge=1)


class Approvals(Strict):
    """``required`` people in all, of ``eligible`` groups (empty: anybody enrolled); ``groups``: at least so many of
    each.
    """

    required: int = Field(default=0, ge=0, le=16)
    eligible: Many[Name] = ()
    groups: dict[Name, Annotated[int, Field(ge=1, le=16)]] = Field(default_factory=dict)
    exclude_submitter: bool = True
    max_age_hours: Hours = 72


class ScanRule(Strict):
    required: bool = True
    max_age_hours: Hours = 24


class OptionRule(Strict):
    """``values``: the only values; ``any``: any value the format takes. Default: the format's default alone."""

    values: Many[Parameter] = ()
    any: bool = False


class SigningPolicy(Strict):
    """``derived``: whether operations may follow from signatures, so that people approve them without their digests."""

    kind: Kind
    key: Name
    artifact_configuration: Name
    modes: Many[Mode] = ("artifact",)
    submitters: Many[KeyId]
    approvals: Approvals = Approvals()
    scan: ScanRule = ScanRule()
    timestamp: Literal["required", "none"] = "required"
    hold: Literal["qa"] | None = None
    options: dict[Name, OptionRule] = Field(default_factory=dict)
    derived: Literal["refuse", "allow"] = "refuse"
    max_request_age_hours: int = Field(default=24, ge=1, le=168)
    retention_days: int = Field(default=365, ge=0)
    max_per_day: int | None = Field(default=None, ge=1)


class Project(Strict):
    description: Text | None = None
    artifact_configurations: dict[Name, ArtifactConfiguration]
    signing_policies: dict[Name, SigningPolicy]


#: Fixed documents of a policy; projects come as ``projects/<name>``.
DOCUMENTS: dict[str, type[Strict]] = {
    "organisation": Organisation,
    "services": Services,
    "people": People,
    "credentials": Credentials,
    "keys": Keys,
}
