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
from signwright.statements.dsse import Envelope, parse_envelope
from signwright.statements.keys import verify_envelope
from signwright.statements.models import PolicyIndex, PolicyRoot, Role, parse_statement
from signwright.statements.parse import MAX_DOCUMENT, parse_model
from signwright.transparency.cosignature import LogTrust

D = TypeVar("D", bound=Strict)
#: Rules for members of archives within archives stand in each other.
DOCUMENT_DEPTH = 20
#: Older policy roots travel as documents under these names.
ROOTS = "roots/"


@dataclass(frozen=True)
class Policy:
    """Everything in it was signed by the policy keepers that ``root`` names. ``sha256``: the policy statement's
    digest; ``roots``: digests of all roots from the pinned one to ``root``; ``in_force_from``: when the newest delay of
    this and the policies before it ended, as whoever put it in force knows; None when none waited.
    """

    root: PolicyRoot
    root_sha256: str
    roots: tuple[str, ...]
    index: PolicyIndex
    sha256: str
    organisation: Organisation
    services: Services
    people: People
    credentials: Credentials
    keys: Keys
    projects: Mapping[str, Project]
    in_force_from: datetime | None = None

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


def open_roots(
    newest: Envelope, documents: Mapping[str, bytes], *, pinned_sha256: str
) -> tuple[PolicyRoot, tuple[str, ...]]:
    """The newest root and the digests of all from the pinned one on (TUF specification 1.0, section 5.3).

    Older roots are the documents ``roots/<version>``: each an envelope as it was signed. Raises `VerificationError`.
    """
    older = {name: content for name, content in documents.items() if name.startswith(ROOTS)}
    chain = [*(parse_envelope(older[name]) for name in sorted(older, key=_root_number)), newest]
    digests = [parse_statement(envelope, PolicyRoot).digest for envelope in chain]
    if pinned_sha256 not in digests:
        found = f"policy root {digests[-1][:16]}… does not come from the pinned one {pinned_sha256[:16]}…"
        raise VerificationError(found, code="unknown-policy-root")
    first = digests.index(pinned_sha256)
    root = parse_statement(chain[first], PolicyRoot).predicate
    check_role(chain[first], "policy-root", root.root)
    for envelope in chain[first + 1 :]:
        root = _next_root(root, envelope)
    return root, tuple(digests[first:])


def _root_number(name: str) -> int:
    digits = name.removeprefix(ROOTS)
    if not digits.isdecimal() or len(digits) > 9 or str(int(digits)) != digits:
        raise MalformedError(f"policy: {name!r} is not a root by its number", code="unknown-document")
    return int(digits)


def _next_root(old: PolicyRoot, envelope: Envelope) -> PolicyRoot:
    """Signed by the thresholds of the old root and of its own; raises `VerificationError`."""
    new = parse_statement(envelope, PolicyRoot).predicate
    if new.version != old.version + 1:
        raise VerificationError(f"policy root {new.version} after {old.version}", code="policy-root-version")
    if (new.organisation, new.trial) != (old.organisation, old.trial):
        raise VerificationError("a new policy root keeps organisation and trial mark", code="policy-root-fixed")
    check_role(envelope, "policy-root", old.root)
    check_role(envelope, "policy-root", new.root)
    return new


def signers_of(envelope: Envelope, name: str, role: Role) -> int:
    """How many different keys of ``role`` signed; a key in two written forms is one."""
    return len(verify_envelope(envelope, name, list(role.keys)))


def check_role(envelope: Envelope, name: str, role: Role) -> None:
    """Raises `VerificationError` unless the threshold of ``role`` signed."""
    signed = signers_of(envelope, name, role)
    if signed < role.threshold:
        raise VerificationError(
            f"{name}: signed by {signed} of its keepers; {role.threshold} wanted", code="too-few-keepers"
        )


def open_policy(
    root_envelope: Envelope, policy_envelope: Envelope, documents: Mapping[str, bytes], *, pinned_root_sha256: str
) -> Policy:
    """Verify root, policy statement and documents, and that they make sense together.

    ``documents``: name → exact bytes. Raises `VerificationError` (signatures, digests), `MalformedError` (content) or
    `DeniedError` with every problem at once (`signwright.policy.validate`). Expiry is a question of each decision.
    """
    root, roots = open_roots(root_envelope, documents, pinned_sha256=pinned_root_sha256)
    check_role(policy_envelope, "policy", root.policy)
    statement = parse_statement(policy_envelope, PolicyIndex)
    index = statement.predicate
    if (index.root_sha256, index.root_version) != (roots[-1], root.version):
        raise VerificationError("policy: written for another policy root", code="wrong-policy-root")
    missing = sorted(set(DOCUMENTS) - set(index.documents))
    if missing:
        raise MalformedError(f"policy: document {', '.join(missing)} is missing", code="missing-document")
    opened = {name: _open_document(name, index, documents) for name in index.documents if not name.startswith(ROOTS)}
    for name in index.documents:
        _document_bytes(name, index, documents)
    projects = {name.removeprefix("projects/"): cast(Project, d) for name, d in opened.items() if "/" in name}
    policy = Policy(
        root=root,
        root_sha256=roots[-1],
        roots=roots,
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
    return parse_model(model, _document_bytes(name, index, documents), limit=MAX_DOCUMENT, depth=DOCUMENT_DEPTH)


def _document_bytes(name: str, index: PolicyIndex, documents: Mapping[str, bytes]) -> bytes:
    reference, content = index.documents[name], documents.get(name)
    if content is None:
        raise MalformedError(f"policy: document {name!r} did not come along", code="missing-document")
    if len(content) != reference.size or hashlib.sha256(content).hexdigest() != reference.sha256:
        raise VerificationError(f"policy: document {name!r} is not the one that was signed", code="wrong-document")
    return content
