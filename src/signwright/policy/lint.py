# SPDX-License-Identifier: Apache-2.0
"""What is allowed in a policy and still weak, in words. Errors are the business of `signwright.policy.validate`."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from signwright.model.times import parse_time
from signwright.policy.documents import Inside, SigningPolicy
from signwright.policy.exceptions import needed_exceptions
from signwright.policy.policy import Policy
from signwright.policy.rules.key import ARCHIVES

#: An exception or credential that ends sooner than this is worth a line.
SOON = timedelta(days=14)
LONG = timedelta(days=366)
#: A new root takes several people: they are told in time.
ROOT_SOON = timedelta(days=60)
DAY, WINDOW = 24, 5


def weaknesses(policy: Policy, *, now: datetime) -> list[str]:
    """Every weak setting; empty when there is nothing to say. ``now``: aware UTC."""
    found = [*_root(policy, now), *_standing(policy), *_services(policy), *_exceptions(policy, now)]
    found += [*_people(policy), *_credentials(policy, now)]
    for project, content in sorted(policy.projects.items()):
        for name, rule in sorted(content.signing_policies.items()):
            found += _signing_policy(policy, rule, f"{project}/{name}", now=now)
    return found


def _root(policy: Policy, now: datetime) -> Iterator[str]:
    """Who can change what alone, and whether those who must act are enough."""
    root = policy.root
    if root.trial:
        yield "policy root: TRIAL; signatures prove nothing to anybody else, and this can never change"
    if parse_time(root.expires) - now < ROOT_SOON:
        yield f"policy root: ends {root.expires}; after that nothing is signed (signwright root new)"
    if root.root.threshold < 2:
        yield "policy root: one root keeper alone can replace every other keeper"
    if root.policy.threshold < 2:
        yield "policy root: one keeper alone can change the policy"
    for name, role in (("root", root.root), ("policy", root.policy)):
        if 1 < role.threshold == len(role.keys):
            yield f"policy root: all {len(role.keys)} {name} keepers must sign; one lost key stops all change"
    if len(root.panic.keys) < 2:
        yield "policy root: one panic key; while its owner is away nobody can halt"
    if len(root.freshness.keys) - root.freshness.threshold < 1:
        yield "policy root: no freshness key to spare; while one is away releases stop"
    if root.freshness.threshold < 2:
        yield "policy root: whoever has one freshness key can hide a revocation for as long as they like"


def _standing(policy: Policy) -> Iterator[str]:
    """What counts at once, and how long bad news can be held back."""
    organisation = policy.organisation
    if not organisation.live and not policy.root.trial:
        yield "organisation: not live; a change that weakens counts at once (signwright go-live)"
    if organisation.freshness_hours > DAY:
        hours = organisation.freshness_hours
        yield f"organisation: freshness_hours {hours}; whoever carries messages can hide a revocation for so long"


def _services(policy: Policy) -> Iterator[str]:
    services = policy.services
    if services.quorum.outside < 1:
        yield "services: no witness outside this host has to cosign; whoever takes the host can rewrite the log"
    if services.timestamp_authorities and not any(a.outside for a in services.timestamp_authorities):
        yield "services: no timestamp authority outside; times are this host's own word"
    if len(services.timestamp_authorities) == 1:
        yield "services: one timestamp authority; while it is down nothing can be signed"
    if services.quorum.window_minutes > WINDOW:
        minutes = services.quorum.window_minutes
        yield f"services: window_minutes {minutes}; clocks may lie that far apart (right for an air gap only)"


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
    if rule.kind == "release" and any(r.members and r.unlisted == "keep" for r in configuration.rules):
        yield f"{address}: members of archives that no rule names are left as they are"
    for form in sorted({r.format for r in configuration.rules}):
        if len({r.model_dump_json(include={"members"}) for r in configuration.rules if r.format == form}) > 1:
            words = f"the name of a {form} file, which the submitter chooses, decides between rules for its members"
            yield f"{address}: {words}"
    following = sorted({form for r in configuration.rules for form in signed_around(r, r.format)})
    if following and rule.derived == "refuse":
        yield f"{address}: {', '.join(following)} files with signed members want derived: allow, or are refused"
    if rule.derived == "allow" and rule.kind == "release":
        what = ", ".join(following) or "no file: nothing here needs it"
        yield f"{address}: people do not approve the digest that is signed last, of {what}"


def signed_around(rule: Inside, form: str | None) -> Iterator[str]:
    """Formats that are signed around members which a rule has signed."""
    if form != "zip" and form in ARCHIVES and any(member.action == "sign" for member in rule.members):
        yield form
    for member in rule.members:
        yield from signed_around(member, member.format if member.action == "sign" else None)
