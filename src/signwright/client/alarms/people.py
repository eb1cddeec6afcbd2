# SPDX-License-Identifier: Apache-2.0
"""Alarms about who may do what: two policies that followed each other, and keepers who also approve."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

from pydantic import BaseModel, ConfigDict

from signwright.client.alarms.base import Alarm, Severity
from signwright.client.alarms.history import History
from signwright.model.times import parse_time
from signwright.policy.policy import Policy
from signwright.statements.keys import verifying_key

TOGETHER = timedelta(hours=24)


class PolicyFacts(BaseModel):
    """What is remembered of a policy. ``people``: name → ids of their keys; ``credentials``: KeyId → kind. Whoever is
    disabled does not stand here. ``roots``: ids of the keys that may change root or policy.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    version: int
    sha256: str
    people: dict[str, list[str]]
    credentials: dict[str, str]
    keepers: list[str]


def facts_of(policy: Policy) -> PolicyFacts:
    people = {name: _ids(person.keys) for name, person in policy.people.people.items() if not person.disabled}
    credentials = {name: row.kind for name, row in policy.credentials.credentials.items() if not row.disabled}
    keepers = _ids({*policy.root.root.keys, *policy.root.policy.keys})
    return PolicyFacts(
        version=policy.version, sha256=policy.sha256, people=people, credentials=dict(credentials), keepers=keepers
    )


def policy_changes(old: PolicyFacts | None, new: PolicyFacts) -> Iterator[Alarm]:
    """Who may approve, submit or change the policy now and could not before. Nothing without an ``old`` policy."""
    if old is None:
        return
    where = f"policy version {new.version} (before: {old.version})"
    for name, keys in sorted(new.people.items()):
        if name not in old.people:
            yield _look("new-person", f"{where}: {name} may approve")
        elif set(keys) - set(old.people[name]):
            yield _look("new-person", f"{where}: {name} has another key")
    for name, kind in sorted(new.credentials.items()):
        if old.credentials.get(name) != kind:
            yield _look("new-credential", f"{where}: credential {name} may be used ({kind})")
    for keeper in sorted(set(new.keepers) - set(old.keepers)):
        yield _look("new-keeper", f"{where}: key {keeper} may change the policy")


def other_policy(facts: PolicyFacts, history: History) -> Iterator[Alarm]:
    """The hub's policy against the log: one version is one policy. What is not logged yet may be on its way."""
    logged = history.policies.get(str(facts.version))
    if logged is not None and logged.sha256 != facts.sha256:
        text = f"policy version {facts.version} is {facts.sha256[:16]}… at the hub and {logged.sha256[:16]}… in the log"
        yield Alarm("policy-fork", text)


def same_people(
    policy: Policy, keepers: Iterable[str], approvers: Iterable[str], *, signed: datetime
) -> Iterator[Alarm]:
    """A policy change and a release by the same people within a day.

    ``keepers``: ids of the keys that signed the policy; ``approvers``: names of those who approved the release at
    ``signed``. Two of them in both are an alarm, or the only keeper who signed.
    """
    signers = set(keepers)
    both = sorted(name for name in set(approvers) if signers & set(_ids(policy.people.people[name].keys)))
    created = parse_time(policy.index.created)
    soon = abs(signed - created) <= TOGETHER
    if policy.version > 1 and soon and signers and len(both) >= min(2, len(signers)):
        text = f"{', '.join(both)} signed policy version {policy.version} and approved a release within 24 h"
        yield _look("keepers-approve", text)


def _ids(keys: Iterable[str]) -> list[str]:
    return sorted({verifying_key(key).key_id for key in keys})


def _look(code: str, text: str) -> Alarm:
    return Alarm(code, text, severity=Severity.WARNING)
