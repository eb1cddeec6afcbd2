# SPDX-License-Identifier: Apache-2.0
"""The next policy root while its keepers sign it: ``policy/root-next.json``, beside the sources of the policy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from signwright.client.partial import Standing, check_keeper, read_partial, standing, with_signature
from signwright.client.policy_files import RootInUse, SignedPolicy, root_of
from signwright.client.ssh_keys import PersonKey
from signwright.errors import ConflictError, DeniedError, MalformedError, UsageError
from signwright.model.times import format_time
from signwright.policy.policy import ROOTS
from signwright.policy.write import draft_root
from signwright.statements.dsse import Envelope, statement_digest
from signwright.statements.keys import verifying_key
from signwright.statements.models import PolicyRoot, Role, parse_statement

FILE = "root-next.json"
ROLES = ("root", "policy", "freshness", "panic")


@dataclass(frozen=True, slots=True)
class NextRoot:
    """``old``, ``own``: who signed of the root keepers in use, and of those that the new root names."""

    envelope: Envelope
    root: PolicyRoot
    old: Standing
    own: Standing

    @property
    def complete(self) -> bool:
        return self.old.reached and self.own.reached

    def under(self, current: SignedPolicy) -> RootInUse:
        """As if it were signed: for checks and words. `signwright.client.policy_files.root_after` verifies."""
        now = root_of(current)
        older = {**now.older, f"{ROOTS}{now.root.version}": now.envelope.encode()}
        return RootInUse(self.envelope, self.root, statement_digest("policy-root", self.envelope), older)


def changed_root(
    old: PolicyRoot,
    *,
    add: Iterable[tuple[str, str]],
    remove: Iterable[tuple[str, str]],
    thresholds: Mapping[str, int],
    now: datetime,
    days: int,
) -> PolicyRoot:
    """Version N + 1. ``add``: (role, public key line); ``remove``: (role, key id). Raises `UsageError`.

    Organisation and trial mark stay: nobody would take a root in which they differ.
    """
    roles = {name: list(getattr(old, name).keys) for name in ROLES}
    for name, key_id in remove:
        kept = [text for text in roles[name] if verifying_key(text).key_id != key_id]
        if len(kept) == len(roles[name]):
            raise UsageError(f"role {name} has no key {key_id}", code="no-key", hint="signwright root show")
        roles[name] = kept
    for name, line in add:
        if verifying_key(line).material in {verifying_key(text).material for text in roles[name]}:
            raise UsageError(f"role {name} has key {verifying_key(line).key_id} already", code="key-taken")
        roles[name].append(line)
    wanted = {name: thresholds.get(name, getattr(old, name).threshold) for name in ROLES}
    for name in ROLES:
        if not wanted[name] <= len(roles[name]):
            text = f"role {name}: threshold {wanted[name]} of {len(roles[name])} keys"
            raise UsageError(text, code="bad-root", hint=f"--threshold {name}=N, or --add {name}=FILE.pub")
    return PolicyRoot(
        version=old.version + 1,
        organisation=old.organisation,
        trial=old.trial,
        created=format_time(now),
        expires=format_time(now + timedelta(days=days)),
        **{name: Role(threshold=wanted[name], keys=tuple(roles[name])) for name in ROLES},
    )


def begin_root(current: SignedPolicy, root: PolicyRoot) -> NextRoot:
    """The draft, still without signatures."""
    return _next_root(Envelope(draft_root(root), ()), current)


def read_root(sources: Path, current: SignedPolicy) -> NextRoot | None:
    """None when nothing is there, or a root that is no longer the next. Raises `ConfigurationError`, and
    `DeniedError` for one that could never follow.
    """
    file = sources / FILE
    if not file.is_file():
        return None
    envelope = read_partial(file)
    try:
        root = parse_statement(envelope, PolicyRoot).predicate
    except MalformedError as problem:
        raise ConflictError(f"{file}: {problem.message}", code="bad-draft") from problem
    old = current.policy.root
    if root.version <= old.version:
        return None
    if (root.version, root.organisation, root.trial) != (old.version + 1, old.organisation, old.trial):
        found = f"version {root.version} of {root.organisation}, {'trial' if root.trial else 'no trial'}"
        wanted = f"version {old.version + 1} of {old.organisation}, {'trial' if old.trial else 'no trial'}"
        raise DeniedError(f"{file}: a root of {found}; wanted {wanted}", code="policy-root-fixed")
    return _next_root(envelope, current)


def sign_root(following: NextRoot, keeper: PersonKey, current: SignedPolicy) -> NextRoot:
    """With one signature more, of a root keeper in use or of one that the new root names."""
    check_keeper(keeper, [current.policy.root.root, following.root.root], "a root keeper")
    return _next_root(with_signature(following.envelope, "policy-root", keeper), current)


def _next_root(envelope: Envelope, current: SignedPolicy) -> NextRoot:
    root = parse_statement(envelope, PolicyRoot).predicate
    old = standing(envelope, "policy-root", current.policy.root.root)
    return NextRoot(envelope, root, old, standing(envelope, "policy-root", root.root))
