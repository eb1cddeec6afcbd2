# SPDX-License-Identifier: Apache-2.0
"""A signed policy in a folder: ``root.json``, ``policy.json`` (envelopes) and ``documents/**/*.json`` (exact bytes).

Older policy roots lie among the documents (``documents/roots/1.json``): every policy carries them on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import cast

from signwright.client.files import replace_file
from signwright.client.hub import PolicyParts
from signwright.client.partial import check_keeper
from signwright.client.ssh_keys import PersonKey
from signwright.errors import ConfigurationError, DeniedError, LimitError, MalformedError, VerificationError
from signwright.formats.registry import FORMATS
from signwright.formats.zip import ZipFormat
from signwright.model.operation import Strict
from signwright.model.times import parse_time
from signwright.policy.dead_ends import dead_ends
from signwright.policy.documents import (
    ArtifactRule,
    Credentials,
    Keys,
    MemberRule,
    Organisation,
    People,
    Project,
    Services,
)
from signwright.policy.policy import ROOTS, Policy, open_roots
from signwright.policy.validate import problems_of
from signwright.policy.write import PolicyDraft, draft_policy
from signwright.statements.dsse import MAX_ENVELOPE, Envelope, parse_envelope, statement_digest
from signwright.statements.models import PolicyRoot
from signwright.statements.parse import MAX_DOCUMENT

VALID_DAYS = 365


@dataclass(frozen=True, slots=True)
class SignedPolicy:
    """``policy`` was opened from ``parts`` and its root is the pinned one."""

    parts: PolicyParts
    policy: Policy


def read_signed(folder: Path, *, pinned_root_sha256: str | None) -> SignedPolicy:
    """Read and verify; raises `ConfigurationError` for missing files and what `open_policy` raises.

    Without a pin the folder's own root is believed: right for a keeper's home, which is where roots are made.
    """
    parts = read_parts(folder)
    pinned = pinned_root_sha256 or statement_digest("policy-root", parts.first_root)
    return SignedPolicy(parts, parts.open(pinned_root_sha256=pinned))


def read_parts(folder: Path) -> PolicyParts:
    """What lies there; nothing is verified. Raises `ConfigurationError` for missing files and for no envelopes."""
    try:
        root, index = (_read(folder / name, MAX_ENVELOPE) for name in ("root.json", "policy.json"))
        files = {path: _read(path, MAX_DOCUMENT) for path in sorted((folder / "documents").rglob("*.json"))}
    except OSError as problem:
        raise ConfigurationError(
            f"signed policy {folder}: {problem.filename}: {problem.strerror}", code="no-signed-policy"
        ) from problem
    documents = {p.relative_to(folder / "documents").with_suffix("").as_posix(): c for p, c in files.items()}
    first, second = _envelope(folder / "root.json", root), _envelope(folder / "policy.json", index)
    return PolicyParts(first, second, documents)


def _envelope(path: Path, content: bytes) -> Envelope:
    try:
        return parse_envelope(content)
    except (MalformedError, LimitError) as problem:
        raise ConfigurationError(f"{path}: {problem.message}", code="bad-policy-file") from problem


def _read(path: Path, limit: int) -> bytes:
    with path.open("rb") as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise ConfigurationError(f"{path}: more than {limit} bytes", code="too-large")
    return content


def write_signed(folder: Path, parts: PolicyParts) -> None:
    """Write the folder's files, the policy statement last; documents that are no longer named are removed."""
    for name, content in parts.documents.items():
        path = folder / "documents" / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, content, mode=0o644)
    replace_file(folder / "root.json", parts.root.encode(), mode=0o644)
    replace_file(folder / "policy.json", parts.policy.encode(), mode=0o644)
    wanted = {folder / "documents" / f"{name}.json" for name in parts.documents}
    for path in (folder / "documents").rglob("*.json"):
        if path not in wanted:
            path.unlink()


@dataclass(frozen=True, slots=True)
class RootInUse:
    """The policy root that a policy is made under. ``older``: name of document → exact envelope bytes."""

    envelope: Envelope
    root: PolicyRoot
    sha256: str
    older: Mapping[str, bytes]


def root_of(current: SignedPolicy) -> RootInUse:
    """The root of the policy that was signed last."""
    older = {name: content for name, content in current.parts.documents.items() if name.startswith(ROOTS)}
    return RootInUse(current.parts.root, current.policy.root, current.policy.root_sha256, older)


def root_after(current: SignedPolicy, following: Envelope) -> RootInUse:
    """The root after the one in use, signed by both thresholds; raises `VerificationError`."""
    now = root_of(current)
    older = {**now.older, f"{ROOTS}{now.root.version}": now.envelope.encode()}
    pinned = current.policy.roots[0]
    root, digests = open_roots(following, older, pinned_sha256=pinned)
    if digests[:-1] != current.policy.roots:
        raise VerificationError("the next policy root does not follow the one in use", code="policy-root-version")
    return RootInUse(following, root, digests[-1], older)


def draft_next(
    current: SignedPolicy,
    documents: Mapping[str, Strict],
    *,
    under: RootInUse,
    now: datetime,
    days: int = VALID_DAYS,
) -> PolicyDraft:
    """The statement of the next version over ``documents``. It ends after ``days``, and never after its root."""
    return draft_policy(
        documents,
        root=under.root,
        root_sha256=under.sha256,
        version=current.policy.version + 1,
        created=now,
        expires=min(now + timedelta(days=days), parse_time(under.root.expires)),
        older_roots=under.older,
    )


def sign_next(
    current: SignedPolicy,
    documents: Mapping[str, Strict],
    *,
    keeper: PersonKey,
    now: datetime,
    days: int = VALID_DAYS,
    under: RootInUse | None = None,
) -> SignedPolicy:
    """The next version over ``documents``, signed by one keeper and opened again, where one is enough.

    Raises `DeniedError` for a key of no keeper and `VerificationError` when several must sign.
    """
    root = under or root_of(current)
    check_keeper(keeper, [root.root.policy], "a policy keeper")
    draft = draft_next(current, documents, under=root, now=now, days=days)
    envelope = keeper.sign_statement(draft.payload, "policy")
    return opened(PolicyParts(root.envelope, envelope, draft.documents), current)


def opened(parts: PolicyParts, current: SignedPolicy) -> SignedPolicy:
    """A policy that follows ``current``, verified from the same pinned root; raises what `open_policy` raises."""
    return SignedPolicy(parts, parts.open(pinned_root_sha256=current.policy.roots[0]))


def check_draft(current: SignedPolicy, documents: Mapping[str, Strict], *, under: RootInUse | None = None) -> Policy:
    """The policy that ``documents`` would make: every check of `open_policy` but the signature.

    Raises `DeniedError` with every problem at once.
    """
    root = under or root_of(current)
    draft = replace(
        current.policy,
        root=root.root,
        organisation=cast(Organisation, documents["organisation"]),
        services=cast(Services, documents["services"]),
        people=cast(People, documents["people"]),
        credentials=cast(Credentials, documents["credentials"]),
        keys=cast(Keys, documents["keys"]),
        projects={
            n.removeprefix("projects/"): cast(Project, d) for n, d in documents.items() if n.startswith("projects/")
        },
    )
    problems = [*problems_of(draft), *_unreadable_anchors(draft), *_unknown_formats(draft), *dead_ends(draft)]
    if problems:
        raise DeniedError("policy: " + "; ".join(problems), code="bad-policy", details={"problems": problems})
    return draft


def _unreadable_anchors(draft: Policy) -> Iterator[str]:
    for authority in draft.services.timestamp_authorities:
        try:
            authority.anchor_certificates  # noqa: B018
        except MalformedError:
            yield f"services: timestamp authority {authority.name}: an anchor is not base64 in its one form"


def _formats(rules: Iterable[ArtifactRule | MemberRule]) -> Iterator[str]:
    """Of files and of members that are to be signed, in archives within archives as well."""
    for rule in rules:
        if rule.format is not None:
            yield rule.format
        yield from _formats(rule.members)


def _member_problems(rule: ArtifactRule | MemberRule) -> Iterator[str]:
    """Rules for members that could not be kept."""
    if rule.format == ZipFormat.name and not rule.members:
        yield "format zip wants rules for members"
    for member in rule.members:
        if member.action == "sign" and member.format is None:
            yield f"{member.path}: sign as which format?"
        if member.action == "verify" and not member.signers:
            yield f"{member.path}: verify wants signers, certificates by their SHA-256"
        if "existing" in member.options:
            yield f"{member.path}: existing stands beside options, not among them"
        if member.min > member.max:
            yield f"{member.path}: min is above max"
        yield from (f"{member.path}: {problem}" for problem in _member_problems(member))


def _unknown_formats(draft: Policy) -> Iterator[str]:
    """What only a program that knows the formats sees: rules that could never lead to a signature."""
    for address, project in sorted(draft.projects.items()):
        for name, rule in project.signing_policies.items():
            configuration = project.artifact_configurations.get(rule.artifact_configuration)
            key = draft.keys.keys.get(rule.key)
            wanted = sorted(set(_formats(configuration.rules))) if configuration else []
            for entry in configuration.rules if configuration else ():
                yield from (f"{address}/{name}: {entry.name}: {problem}" for problem in _member_problems(entry))
            for missing in (format_name for format_name in wanted if format_name not in FORMATS):
                yield f"{address}/{name}: no format {missing!r}; there are {', '.join(sorted(FORMATS))}"
            own = [one for one in wanted if one in FORMATS and FORMATS[one].purpose]
            if key and own and not any(FORMATS[one].purpose in key.purposes for one in own):
                purposes = ", ".join(key.purposes)
                yield f"{address}/{name}: key {rule.key} ({purposes}) serves none of its formats ({', '.join(wanted)})"
