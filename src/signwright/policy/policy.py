# SPDX-License-Identifier: Apache-2.0
"""A policy that was verified: the only way to get a `Policy` is `open_policy`."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property, lru_cache
from typing import TypeVar, cast

from signwright.errors import DeniedError, MalformedError, VerificationError
from signwright.model.operation import Strict
from signwright.model.times import parse_time
from signwright.policy.documents import (
    DOCUMENTS,
    Credentials,
    Key,
    Keys,
    Organisation,
    People,
    Project,
    Services,
    SigningPolicy,
)
from signwright.policy.log_trust import log_trust
from signwright.policy.validate import problems_of
from signwright.statements.dsse import Envelope
from signwright.statements.keys import verify_envelope
from signwright.statements.models import PolicyIndex, PolicyRoot, Role, parse_statement
from signwright.statements.parse import MAX_DOCUMENT, parse_model
from signwright.transparency.cosignature import LogTrust

D = TypeVar("D", bound=Strict)


@dataclass(frozen=True)
class Policy:
    """Everything in it was signed by the policy keepers that ``root`` names. ``sha256``: the policy statement's
    digest.
    """

    root: PolicyRoot
    root_sha256: str
    index: PolicyIndex
    sha256: str
    organisation: Organisation
    services: Services
    people: People
    credentials: Credentials
    keys: Keys
    projects: Mapping[str, Project]

    @property
    def version(self) -> int:
        return self.index.version

    @cached_property
    def log_trust(self) -> LogTrust:
        """What a checkpoint of the policy's log must have; an opened policy has keys and quorum that make sense."""
        return log_trust(self.services)

    def signing_policy(self, project: str, name: str) -> SigningPolicy | None:
        found = self.projects.get(project)
        return found.signing_policies.get(name) if found else None

    def key_of(self, signing_policy: SigningPolicy) -> Key:
        return self.keys.keys[signing_policy.key]

    def exceptions_for(self, project: str, name: str, now: datetime) -> dict[str, str]:
        """Unexpired exceptions that cover a signing policy: name → owner."""
        scopes = ("*", f"{project}/{name}")
        rows = self.organisation.exceptions
        return {e.name: e.owner for e in rows if e.scope in scopes and now < parse_time(e.expires)}


def spki_sha256(key: Key) -> str:
    """How log and receipts name a key: hex SHA-256 of its DER SubjectPublicKeyInfo."""
    return _spki_sha256(key.public_key)


@lru_cache(maxsize=256)
def _spki_sha256(public_key: str) -> str:
    return hashlib.sha256(base64.b64decode(public_key)).hexdigest()


def open_root(envelope: Envelope, *, pinned_sha256: str) -> tuple[PolicyRoot, str]:
    """A policy root by its pinned digest: (root, digest). Raises `VerificationError` for any other root.

    One keeper signs root and policy today; chains of roots come with the threshold rules.
    """
    statement = parse_statement(envelope, PolicyRoot)
    if statement.digest != pinned_sha256:
        raise VerificationError(
            f"policy root {statement.digest[:16]}… is not the pinned one {pinned_sha256[:16]}…",
            code="unknown-policy-root",
        )
    _check_role(envelope, "policy-root", statement.predicate.root)
    return statement.predicate, statement.digest


def _check_role(envelope: Envelope, name: str, role: Role) -> None:
    signed = verify_envelope(envelope, name, list(role.keys))
    if len(signed) < role.threshold:
        raise VerificationError(
            f"{name}: signed by {len(signed)} of its keepers; {role.threshold} wanted", code="too-few-keepers"
        )


def open_policy(
    root_envelope: Envelope, policy_envelope: Envelope, documents: Mapping[str, bytes], *, pinned_root_sha256: str
) -> Policy:
    """Verify root, policy statement and documents, and that they make sense together.

    ``documents``: name → exact bytes. Raises `VerificationError` (signatures, digests), `MalformedError` (content) or
    `DeniedError` with every problem at once (`signwright.policy.validate`). Expiry is a question of each decision.
    """
    root, root_sha256 = open_root(root_envelope, pinned_sha256=pinned_root_sha256)
    _check_role(policy_envelope, "policy", root.policy)
    statement = parse_statement(policy_envelope, PolicyIndex)
    index = statement.predicate
    if (index.root_sha256, index.root_version) != (root_sha256, root.version):
        raise VerificationError("policy: written for another policy root", code="wrong-policy-root")
    missing = sorted(set(DOCUMENTS) - set(index.documents))
    if missing:
        raise MalformedError(f"policy: document {', '.join(missing)} is missing", code="missing-document")
    opened = {name: _open_document(name, index, documents) for name in index.documents}
    projects = {name.removeprefix("projects/"): cast(Project, d) for name, d in opened.items() if "/" in name}
    policy = Policy(
        root=root,
        root_sha256=root_sha256,
        index=index,
        sha256=statement.digest,
        organisation=cast(Organisation, opened["organisation"]),
        services=cast(Services, opened["services"]),
        people=cast(People, opened["people"]),
        credentials=cast(Credentials, opened["credentials"]),
        keys=cast(Keys, opened["keys"]),
        projects=projects,
    )
    problems = problems_of(policy)
    if problems:
        raise DeniedError("policy: " + "; ".join(problems), code="bad-policy", details={"problems": problems})
    return policy


def _open_document(name: str, index: PolicyIndex, documents: Mapping[str, bytes]) -> Strict:
    model = Project if name.startswith("projects/") else DOCUMENTS.get(name)
    if model is None:
        raise MalformedError(f"policy: unknown document {name!r}", code="unknown-document")
    reference, content = index.documents[name], documents.get(name)
    if content is None:
        raise MalformedError(f"policy: document {name!r} did not come along", code="missing-document")
    if len(content) != reference.size or hashlib.sha256(content).hexdigest() != reference.sha256:
        raise VerificationError(f"policy: document {name!r} is not the one that was signed", code="wrong-document")
    return parse_model(model, content, limit=MAX_DOCUMENT)
