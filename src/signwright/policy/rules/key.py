# SPDX-License-Identifier: Apache-2.0
"""One key, one family of signatures, the purposes it lists, and no more of them than it may make."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from signwright.envelopes.templates import TEMPLATES
from signwright.model.operation import Parameter
from signwright.policy.documents import Inside, SigningPolicy
from signwright.policy.facts import Facts
from signwright.policy.policy import Policy
from signwright.policy.rules.reason import Reason

#: Formats whose members are signed in their places: nothing is signed within others.
ARCHIVES = frozenset({"zip", "jar", "nuget", "msix"})


def operations_fit_the_key(policy: Policy, rule: SigningPolicy, facts: Facts) -> Iterator[Reason]:
    key = policy.key_of(rule)
    if key.disabled:
        yield Reason("key-disabled", "deny", f"key {rule.key!r} is disabled", "a key in service", "policy keepers")
    asked = {one.template for a in facts.request.predicate.artifacts for one in (*a.operations, *a.derived)}
    for name in sorted(asked):
        template = TEMPLATES.get(name)
        if template is None:
            yield Reason("template", "deny", f"template {name!r}", "one that exists", "submitter")
        elif template.family != key.family:
            found, wanted = f"template {name!r} of family {template.family}", f"family {key.family} of key {rule.key!r}"
            yield Reason("key-family", "deny", found, wanted, "nobody")
        elif template.purpose not in key.purposes:
            found, wanted = f"purpose {template.purpose}", f"one of {', '.join(key.purposes)}"
            yield Reason("key-purpose", "deny", found, wanted, "policy keepers")


def key_quota_is_left(policy: Policy, rule: SigningPolicy, facts: Facts) -> Iterator[Reason]:
    key = policy.key_of(rule)
    if key.max_per_day is not None and facts.counters.key + facts.wanted > key.max_per_day:
        found = f"{facts.counters.key} used, {facts.wanted} more asked"
        yield Reason("key-quota", "deny", found, f"at most {key.max_per_day} in 24 h", "policy keepers")


def operations_fit_their_artifacts(policy: Policy, rule: SigningPolicy, facts: Facts) -> Iterator[Reason]:
    """What is signed follows from the artifact's format and options, which other rules have compared with the policy,
    or for a member of it from a rule of the policy.

    In digest mode nobody derives the operations again, so that without this rule they could say anything.
    """
    configuration = policy.projects[facts.request.predicate.project].artifact_configurations[
        rule.artifact_configuration
    ]
    for subject, artifact in zip(facts.request.subjects, facts.request.predicate.artifacts, strict=True):
        rules = [r for r in configuration.rules if r.format == artifact.format in ARCHIVES]
        members = [one for r in rules for one in _signed(r)]
        for operation in (*artifact.operations, *artifact.derived):
            template = TEMPLATES.get(operation.template)
            if template is None:
                continue  # `operations_fit_the_key` has said so
            wanted = members if operation.inner_path and rules else [(artifact.format, artifact.options)]
            fits = [options for form, options in wanted if form in template.formats]
            if not fits:
                found = f"template {template.name!r} for {subject.name!r} {operation.inner_path!r} as {artifact.format}"
                yield Reason("operation-format", "deny", found, f"one of {', '.join(template.formats)}", "submitter")
            told = sorted(operation.parameters.items())
            wrong = ([row for row in told if not _same(options.get(row[0]), row[1])] for options in fits)
            for name, value in min(wrong, key=len, default=told):
                found, given = f"{name} = {value!r} for {subject.name!r}", [options.get(name) for options in fits]
                yield Reason("operation-option", "deny", found, f"its option, {given!r}", "submitter")


def _same(option: Parameter | None, value: Parameter) -> bool:
    return type(option) is type(value) and option == value


def _signed(rule: Inside) -> Iterator[tuple[str | None, Mapping[str, Parameter]]]:
    """Format and options of every member that is to be signed, in archives within archives as well."""
    for member in rule.members:
        if member.action == "sign":
            yield member.format, member.options
            yield from _signed(member) if member.format in ARCHIVES else ()
