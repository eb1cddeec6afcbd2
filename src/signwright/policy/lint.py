# SPDX-License-Identifier: Apache-2.0
"""What is allowed in a policy and still weak, in words. Errors are the business of `signwright.policy.validate`."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from signwright.model.times import parse_time
from signwright.policy.documents import SigningPolicy
from signwright.policy.exceptions import needed_exceptions
from signwright.policy.policy import Policy

#: An exception or credential that ends sooner than this is worth a line.
SOON = timedelta(days=14)
LONG = timedelta(days=366)


def weaknesses(policy: Policy, *, now: datetime) -> list[str]:
    """Every weak setting; empty when there is nothing to say. ``now``: aware UTC."""
    found = [*_services(policy), *_exceptions(policy, now), *_people(policy), *_credentials(policy, now)]
    for project, content in sorted(policy.projects.items()):
        for name, rule in sorted(content.signing_policies.items()):
            found += _signing_policy(policy, rule, f"{project}/{name}", now=now)
    return found


def _services(policy: Policy) -> Iterator[str]:
    services = policy.services
    if policy.root.trial:
        yield "policy root: TRIAL; signatures prove nothing to anybody else, and this can never change"
    if services.quorum.outside < 1:
        yield "services: no witness outside this host has to cosign; whoever takes the host can rewrite the log"
    if services.timestamp_authorities and not any(a.outside for a in services.timestamp_authorities):
        yield "services: no timestamp authority outside; times are this host's own word"
    if len(services.timestamp_authorities) == 1:
        yield "services: one timestamp authority; while it is down nothing can be signed"
    if len(policy.root.policy.keys) == 1 or policy.root.policy.threshold < 2:
        yield "policy root: one keeper alone can change the policy"


def _exceptions(policy: Policy, now: datetime) -> Iterator[str]:
    for exception in policy.organisation.exceptions:
        expires = parse_time(exception.expires)
        name = f"exception {exception.name} for {exception.scope} (owner {exception.owner})"
        if expires <= now:
            yield f"{name}: expired {exception.expires}; releases that lean on it are refused"
        elif expires - now < SOON:
            yield f"{name}: ends {exception.expires}; after that releases that lean on it are refused"
        elif expires - now > LONG:
            yield f"{name}: holds for more than a year"
        else:
            yield f"{name}: in force until {exception.expires}"


def _people(policy: Policy) -> Iterator[str]:
    for name, person in sorted(policy.people.people.items()):
        if not person.groups and not person.disabled:
            yield f"person {name}: in no group"
        if len(person.keys) > 1:
            yield f"person {name}: {len(person.keys)} keys, each of which is enough"


def _credentials(policy: Policy, now: datetime) -> Iterator[str]:
    used = {s for p in policy.projects.values() for rule in p.signing_policies.values() for s in rule.submitters}
    for key_id, credential in sorted(policy.credentials.credentials.items()):
        who = f"credential {key_id} ({credential.description})"
        if key_id not in used:
            yield f"{who}: no signing policy takes it"
        if credential.expires is None and credential.kind == "release":
            yield f"{who}: a release credential that never expires"
        elif credential.expires is not None and parse_time(credential.expires) <= now:
            yield f"{who}: expired {credential.expires}"


def _signing_policy(policy: Policy, rule: SigningPolicy, address: str, *, now: datetime) -> Iterator[str]:
    project, name = address.split("/")
    for missing in sorted(needed_exceptions(rule, policy.services) - set(policy.exceptions_for(project, name, now))):
        yield f"{address}: leans on exception {missing!r}, which is not in force: requests will be refused"
    if not rule.submitters:
        yield f"{address}: nobody may submit"
    if rule.kind == "release" and not rule.approvals.eligible and not rule.approvals.groups:
        yield f"{address}: anybody enrolled may approve"
    if any(option.any for option in rule.options.values()):
        names = ", ".join(sorted(n for n, option in rule.options.items() if option.any))
        yield f"{address}: the submitter chooses any value for {names}"
    if rule.max_per_day is None and policy.key_of(rule).max_per_day is None:
        yield f"{address}: no daily limit on signatures"
    configuration = policy.projects[project].artifact_configurations[rule.artifact_configuration]
    if rule.kind == "release" and any(r.name == "*" for r in configuration.rules):
        yield f"{address}: files of any name are taken"
