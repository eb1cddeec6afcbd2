# SPDX-License-Identifier: Apache-2.0
"""What makes a policy unusable. Every process that loads a policy runs this, so a keeper cannot sign it past the
signer.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from signwright.envelopes.templates import TEMPLATES
from signwright.errors import MalformedError
from signwright.model.base64text import strict_base64
from signwright.policy.documents import ArtifactConfiguration, Kind, Project, SigningPolicy
from signwright.policy.exceptions import needed_exceptions
from signwright.policy.operators import witness_problems
from signwright.statements.keys import VerifyingKey, verifying_key

if TYPE_CHECKING:
    from signwright.policy.policy import Policy


def problems_of(policy: Policy) -> list[str]:
    """Every problem, in words; empty when the policy can be used."""
    problems = [*_root(policy), *_public_keys(policy), *_credentials(policy), *_keys(policy), *_services(policy)]
    for name, project in sorted(policy.projects.items()):
        for signing_policy in sorted(project.signing_policies):
            problems += _signing_policy(policy, project, f"{name}/{signing_policy}")
    return problems


def _root(policy: Policy) -> Iterator[str]:
    """Roles that can act: a threshold that its own keys cannot reach, or a halt that waits for a second person."""
    if policy.root.panic.threshold != 1:
        yield f"policy root: panic threshold {policy.root.panic.threshold}; any one panic key must be enough"
    for name in ("root", "policy", "freshness", "panic"):
        role = getattr(policy.root, name)
        try:
            different = len({verifying_key(text).material for text in role.keys})
        except MalformedError as problem:
            yield f"policy root: {name}: {problem.message}"
            continue
        if different < role.threshold:
            yield f"policy root: {name} wants {role.threshold} of {different} different keys"


def _public_keys(policy: Policy) -> Iterator[str]:
    """No public key stands for two things: two people, a person and a machine, test and release."""
    seen: dict[bytes, str] = {}
    for owner, text in _all_public_keys(policy):
        try:
            key: VerifyingKey = verifying_key(text)
        except MalformedError as problem:
            yield f"{owner}: {problem.message}"
            continue
        if owner.startswith("credential ") and (key.scheme != "ed25519" or owner != f"credential {key.key_id}"):
            yield f"{owner}: its public key makes the KeyId {key.key_id}"
        if owner.startswith("person ") and key.scheme != "sshsig":
            yield f"{owner}: people sign with SSH keys"
        if seen.setdefault(key.material, owner) != owner:
            yield f"{owner}: the same public key also belongs to {seen[key.material]}"


def _credentials(policy: Policy) -> Iterator[str]:
    """A person whose name is written wrongly would be kept from approving nothing."""
    for key_id, credential in policy.credentials.credentials.items():
        if credential.person is not None and credential.person not in policy.people.people:
            yield f"credential {key_id}: its person {credential.person!r} is not enrolled"


def _all_public_keys(policy: Policy) -> Iterator[tuple[str, str]]:
    for key_id, credential in policy.credentials.credentials.items():
        yield f"credential {key_id}", credential.public_key
    for name, person in policy.people.people.items():
        for text in person.keys:
            yield f"person {name}", text
    for scanner in policy.services.scanners:
        yield f"scanner {scanner.name}", scanner.public_key
    yield "gate", policy.services.gate_key
    for text in policy.services.receipt_keys:
        yield "a receipt key", text


def _keys(policy: Policy) -> Iterator[str]:
    purposes = {(t.family, t.purpose) for t in TEMPLATES.values()}
    owners: dict[bytes, str] = {}
    for name, key in sorted(policy.keys.keys.items()):
        try:
            public_key, *_ = [strict_base64(text) for text in (key.public_key, *key.chain)]
        except MalformedError:
            yield f"key {name}: its public key or a certificate is not base64 in its one form"
            continue
        twin = owners.setdefault(public_key, name)
        if twin != name:
            yield f"key {name}: the same public key as key {twin}; one key has one kind and one family"
        if key.family not in {family for family, _ in purposes}:
            yield f"key {name}: no template of family {key.family}"
        for purpose in key.purposes:
            if (key.family, purpose) not in purposes:
                yield f"key {name}: purpose {purpose} is not one of family {key.family}"
        if key.family == "cms" and not key.chain and not key.disabled:
            yield f"key {name}: a cms key needs its certificate"
        if key.kind == "release" and key.protection == "software" and not policy.root.trial:
            yield f"key {name}: a software key serves test only (wanted: a token that says it cannot be extracted)"


def _services(policy: Policy) -> Iterator[str]:
    services = policy.services
    found = witness_problems(
        policy.organisation.name,
        services.log,
        services.witnesses,
        quorum=services.quorum,
        own_keys=_all_public_keys(policy),
    )
    yield from (f"services: {problem}" for problem in found)


def _signing_policy(policy: Policy, project: Project, address: str) -> Iterator[str]:
    rule = project.signing_policies[address.split("/")[1]]
    key = policy.keys.keys.get(rule.key)
    if key is None:
        yield f"{address}: key {rule.key!r} is not in the policy"
    elif key.kind != rule.kind:
        yield f"{address}: a {rule.kind} policy with the {key.kind} key {rule.key!r}"
    configuration = project.artifact_configurations.get(rule.artifact_configuration)
    if configuration is None:
        yield f"{address}: artifact configuration {rule.artifact_configuration!r} is not in the project"
    elif "digest" in rule.modes and any(r.metadata or r.members for r in configuration.rules):
        yield f"{address}: in digest mode nobody sees metadata or members; list one or demand the other"
    yield from _limits(configuration, address) if configuration else ()
    yield from _submitters(policy, rule, address, rule.kind)
    if "digest" in rule.modes and rule.scan.required:
        yield f"{address}: digest mode cannot be scanned; list one or demand the other"
    if rule.kind == "release":
        yield from _release(policy, rule, address)


def _limits(configuration: ArtifactConfiguration, address: str) -> Iterator[str]:
    """Which rule counts follows from the file's name, which the submitter chooses."""
    for form in sorted({rule.format for rule in configuration.rules}):
        rules = [rule for rule in configuration.rules if rule.format == form]
        if len({(frozenset(r.metadata), bool(r.members), r.unlisted) for r in rules}) > 1:
            yield f"{address}: the rules for {form} limit different metadata or members; another file name would choose"


def _submitters(policy: Policy, rule: SigningPolicy, address: str, kind: Kind) -> Iterator[str]:
    for key_id in rule.submitters:
        credential = policy.credentials.credentials.get(key_id)
        if credential is None:
            yield f"{address}: submitter {key_id} is not among the credentials"
        elif credential.kind != kind:
            yield f"{address}: submitter {key_id} is a {credential.kind} credential"


def _release(policy: Policy, rule: SigningPolicy, address: str) -> Iterator[str]:
    """Organisation minimums, and what only a named exception allows."""
    minimums = policy.organisation.release
    allowed = {e.name for e in policy.organisation.exceptions if e.scope in ("*", address)}
    if rule.approvals.required < minimums.approvals:
        yield f"{address}: {rule.approvals.required} approvals; the organisation wants {minimums.approvals}"
    if not rule.approvals.exclude_submitter:
        yield f"{address}: the submitter may not approve a release"
    if rule.approvals.max_age_hours > minimums.approval_max_age_hours:
        yield f"{address}: approvals hold {rule.approvals.max_age_hours} h; at most {minimums.approval_max_age_hours}"
    if rule.retention_days < minimums.retention_days:
        yield f"{address}: kept {rule.retention_days} days; the organisation wants {minimums.retention_days}"
    if rule.scan.required and rule.scan.max_age_hours > minimums.scan_max_age_hours:
        yield f"{address}: scans hold {rule.scan.max_age_hours} h; at most {minimums.scan_max_age_hours}"
    key = policy.keys.keys.get(rule.key)
    if "digest" in rule.modes and key and "file" in key.purposes and len(key.purposes) > 1:
        yield f"{address}: in digest mode a file that nobody sees could be signed content of another purpose of its key"
    for name in sorted(needed_exceptions(rule, policy.services) - allowed):
        yield f"{address}: a release needs the exception {name!r} (owner, reason, expiry) for this"
