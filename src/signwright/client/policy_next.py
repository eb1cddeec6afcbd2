# SPDX-License-Identifier: Apache-2.0
"""The version that keepers are signing, in ``policy/next`` beside ``policy/signed``, in the same form.

It is made from the sources by the first keeper; each further one makes it again from the sources that they have read
themselves, and signs only when it comes out the same, byte by byte.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from signwright.client.hub import PolicyParts
from signwright.client.partial import Standing, check_keeper, standing, with_signature
from signwright.client.policy_files import (
    VALID_DAYS,
    RootInUse,
    SignedPolicy,
    draft_next,
    opened,
    read_parts,
    root_after,
    root_of,
    write_signed,
)
from signwright.client.ssh_keys import PersonKey
from signwright.errors import ConflictError
from signwright.model.operation import Strict
from signwright.model.times import parse_time
from signwright.policy.write import draft_policy
from signwright.statements.dsse import Envelope
from signwright.statements.models import PolicyIndex, parse_statement


@dataclass(frozen=True, slots=True)
class NextPolicy:
    """``standing``: who of the policy keepers of ``under`` signed."""

    parts: PolicyParts
    under: RootInUse
    index: PolicyIndex
    standing: Standing

    def opened(self, current: SignedPolicy) -> SignedPolicy:
        """Verified as the signer will do it; raises `VerificationError` while keepers are missing."""
        return opened(self.parts, current)

    def made_again(self, current: SignedPolicy, documents: Mapping[str, Strict]) -> NextPolicy:
        """The same signatures with documents made from the sources; raises `ConflictError` naming the documents that
        changed since the first keeper signed.
        """
        again = draft_policy(
            documents,
            root=self.under.root,
            root_sha256=self.under.sha256,
            version=current.policy.version + 1,
            created=parse_time(self.index.created),
            expires=parse_time(self.index.expires),
            older_roots=self.under.older,
        )
        if again.payload == self.parts.policy.payload:
            parts = PolicyParts(self.parts.root, self.parts.policy, again.documents)
            return NextPolicy(parts, self.under, self.index, self.standing)
        ours = parse_statement(Envelope(again.payload, ()), PolicyIndex).predicate.documents
        theirs = self.index.documents
        names = sorted(name for name in {*ours, *theirs} if ours.get(name) != theirs.get(name))
        raise ConflictError(
            f"the sources are not what the first keeper signed: {', '.join(names) or 'the statement'} differ",
            code="sources-changed",
            hint="bring the sources back, or begin again with signwright policy sign --restart",
        )


def read_next(folder: Path, current: SignedPolicy) -> NextPolicy | None:
    """None when nothing is there, or only what no longer follows ``current``; raises for what is no policy at all."""
    if not (folder / "policy.json").is_file():
        return None
    parts = read_parts(folder)
    index = parse_statement(parts.policy, PolicyIndex).predicate
    if index.version != current.policy.version + 1:
        return None
    same_root = index.root_sha256 == current.policy.root_sha256
    under = root_of(current) if same_root else root_after(current, parts.root)
    parts = PolicyParts(under.envelope, parts.policy, parts.documents)
    return NextPolicy(parts, under, index, standing(parts.policy, "policy", under.root.policy))


def begin_next(
    current: SignedPolicy,
    documents: Mapping[str, Strict],
    *,
    under: RootInUse,
    now: datetime,
    days: int = VALID_DAYS,
) -> NextPolicy:
    """The next version, still without signatures."""
    draft = draft_next(current, documents, under=under, now=now, days=days)
    parts = PolicyParts(under.envelope, Envelope(draft.payload, ()), draft.documents)
    index = parse_statement(parts.policy, PolicyIndex).predicate
    return NextPolicy(parts, under, index, standing(parts.policy, "policy", under.root.policy))


def sign_also(following: NextPolicy, keeper: PersonKey) -> NextPolicy:
    """With one keeper's signature more; raises `DeniedError` for a key of no keeper."""
    role = following.under.root.policy
    check_keeper(keeper, [role], "a policy keeper")
    signed = with_signature(following.parts.policy, "policy", keeper)
    parts = PolicyParts(following.parts.root, signed, following.parts.documents)
    return NextPolicy(parts, following.under, following.index, standing(signed, "policy", role))


def write_next(folder: Path, following: NextPolicy) -> None:
    write_signed(folder, following.parts)


def forget_next(folder: Path) -> None:
    """Once it is in force, or given up."""
    if folder.is_dir():
        shutil.rmtree(folder)
