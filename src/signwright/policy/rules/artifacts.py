# SPDX-License-Identifier: Apache-2.0
"""What may be signed, in which mode, with which options. A closed world: what no rule names is refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from fnmatch import fnmatchcase

from signwright.policy.documents import SigningPolicy
from signwright.policy.exceptions import needed_exceptions
from signwright.policy.facts import Facts
from signwright.policy.policy import Policy
from signwright.policy.rules.reason import Reason


def mode_is_listed(policy: Policy, rule: SigningPolicy, facts: Facts) -> Iterator[Reason]:
    request = facts.request.predicate
    if request.mode not in rule.modes:
        yield Reason("mode", "deny", f"{request.mode} mode", f"one of {', '.join(rule.modes)}", "policy keepers")
    needed = needed_exceptions(rule, policy.services) - ({"digest-mode"} if request.mode != "digest" else set())
    current = policy.exceptions_for(request.project, request.signing_policy, facts.now)
    for name in sorted(needed - set(current)):
        yield Reason(
            "exception", "deny", f"no current exception {name!r}", "one with owner and expiry", "policy keepers"
        )


def derived_is_allowed(policy: Policy, rule: SigningPolicy, facts: Facts) -> Iterator[Reason]:
    del policy
    request = facts.request.predicate
    if any(a.derived for a in request.artifacts) and (rule.derived, request.mode) != ("allow", "artifact"):
        found = f"operations that follow from signatures, in {request.mode} mode"
        yield Reason("derived", "deny", found, "artifact mode under a policy with derived: allow", "policy keepers")


def artifacts_fit_the_configuration(policy: Policy, rule: SigningPolicy, facts: Facts) -> Iterator[Reason]:
    request = facts.request.predicate
    configuration = policy.projects[request.project].artifact_configurations[rule.artifact_configuration]
    if configuration.files == "one" and len(request.artifacts) != 1:
        yield Reason("artifact-count", "deny", f"{len(request.artifacts)} files", "exactly one", "submitter")
    used: Counter[int] = Counter()
    for subject, artifact in zip(facts.request.subjects, request.artifacts, strict=True):
        rows = enumerate(configuration.rules)
        fits = [n for n, r in rows if r.format == artifact.format and fnmatchcase(subject.name, r.name)]
        if fits:
            used[fits[0]] += 1
        else:
            wanted = ", ".join(f"{r.name} as {r.format}" for r in configuration.rules)
            yield Reason("artifact", "deny", f"{subject.name!r} as {artifact.format}", wanted, "policy keepers")
        if artifact.size > configuration.max_size:
            found = f"{subject.name!r} of {artifact.size} bytes"
            yield Reason("artifact-size", "deny", found, f"at most {configuration.max_size}", "policy keepers")
    for number, artifact_rule in enumerate(configuration.rules):
        if not artifact_rule.min <= used[number] <= artifact_rule.max:
            found = f"{used[number]} files like {artifact_rule.name}"
            yield Reason("artifact-count", "deny", found, f"{artifact_rule.min} to {artifact_rule.max}", "submitter")


def options_are_listed(policy: Policy, rule: SigningPolicy, facts: Facts) -> Iterator[Reason]:
    del policy
    for subject, artifact in zip(facts.request.subjects, facts.request.predicate.artifacts, strict=True):
        for name, value in sorted(artifact.options.items()):
            allowed = rule.options.get(name)
            if allowed is None:
                wanted = "one of " + (", ".join(sorted(rule.options)) or "none")
                yield Reason("option", "deny", f"option {name!r} for {subject.name!r}", wanted, "policy keepers")
            elif not allowed.any and not any(type(v) is type(value) and v == value for v in allowed.values):
                wanted = "one of " + ", ".join(str(v) for v in allowed.values)
                yield Reason("option", "deny", f"{name} = {value!r}", wanted, "policy keepers")
