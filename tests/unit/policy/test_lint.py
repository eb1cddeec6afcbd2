# SPDX-License-Identifier: Apache-2.0
"""Weak settings are named, and a setting that is not weak is not."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from signwright.policy.documents import ArtifactConfiguration, ArtifactRule, MemberRule, Organisation, Quorum
from signwright.policy.lint import weaknesses
from signwright.policy.policy import Policy
from tests.support.roots import Keepers

KEEPERS = Keepers()
NOW = KEEPERS.world.now


@pytest.fixture(scope="module")
def strong() -> Policy:
    """No trial, live, three keepers of whom two sign, two who may halt."""
    names = ("anna", "ben", "cleo")
    roles = {name: KEEPERS.role(names, 2) for name in ("root", "policy", "freshness")}
    policy = KEEPERS.first(live=True).opened(KEEPERS.pinned)
    return replace(policy, root=KEEPERS.root(1, names, trial=False, **roles))


def with_root(policy: Policy, /, **changes: Any) -> Policy:
    return replace(policy, root=policy.root.model_copy(update=changes))


def with_organisation(policy: Policy, /, **changes: Any) -> Policy:
    assert isinstance(policy.organisation, Organisation)
    return replace(policy, organisation=policy.organisation.model_copy(update=changes))


def about_root(policy: Policy) -> list[str]:
    beginnings = ("policy root", "organisation", "services: window")
    return [line for line in weaknesses(policy, now=NOW) if line.startswith(beginnings)]


def test_strong_root_is_passed_over(strong: Policy) -> None:
    assert about_root(strong) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"trial": True}, "TRIAL"),
        ({"root": KEEPERS.role(("anna", "ben"), 1)}, "one root keeper alone"),
        ({"policy": KEEPERS.role(("anna", "ben"), 1)}, "one keeper alone can change the policy"),
        ({"policy": KEEPERS.role(("anna", "ben"), 2)}, "all 2 policy keepers must sign"),
        ({"root": KEEPERS.role(("anna", "ben"), 2)}, "all 2 root keepers must sign"),
        ({"panic": KEEPERS.role(("anna",), 1)}, "one panic key"),
        ({"freshness": KEEPERS.role(("anna", "ben"), 2)}, "no freshness key to spare"),
        ({"freshness": KEEPERS.role(("anna", "ben"), 1)}, "one freshness key can hide"),
    ],
)
def test_weak_root_is_told_in_one_line(strong: Policy, changes: dict[str, Any], words: str) -> None:
    (line,) = about_root(with_root(strong, **changes))
    assert words in line


def test_root_that_ends_soon_is_told_in_time(strong: Policy) -> None:
    later = NOW + timedelta(days=365 - 59)
    (line,) = [line for line in weaknesses(strong, now=later) if line.startswith("policy root")]
    assert "signwright root new" in line


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"live": False}, "not live"), ({"freshness_hours": 25}, "freshness_hours 25"), ({"freshness_hours": 24}, None)],
)
def test_weak_organisation_is_told(strong: Policy, changes: dict[str, Any], words: str | None) -> None:
    found = about_root(with_organisation(strong, **changes))
    assert [words in line for line in found] == ([True] if words else [])


def test_trial_need_not_go_live(strong: Policy) -> None:
    found = about_root(with_root(with_organisation(strong, live=False), trial=True))
    assert [line for line in found if "live" in line] == []


@pytest.mark.parametrize(("minutes", "told"), [(5, 0), (6, 1)])
def test_wide_window_is_told(strong: Policy, minutes: int, told: int) -> None:
    quorum = Quorum(outside=1, local=0, window_minutes=minutes)
    policy = replace(strong, services=strong.services.model_copy(update={"quorum": quorum}))
    assert len([line for line in about_root(policy) if "window_minutes" in line]) == told


def with_archives(policy: Policy, *rules: ArtifactRule) -> Policy:
    """Every signing policy takes files of these rules and no others."""
    project = policy.projects["default"]
    configuration = ArtifactConfiguration(rules=rules)
    configurations = dict.fromkeys(project.artifact_configurations, configuration)
    return replace(policy, projects={"default": project.model_copy(update={"artifact_configurations": configurations})})


def archive(name: str, *paths: str, **more: Any) -> ArtifactRule:
    members = tuple(MemberRule(path=path, action="keep") for path in paths)
    return ArtifactRule(name=name, format="zip", members=members, **more)


def about_members(policy: Policy) -> set[str]:
    return {line.partition(": ")[2] for line in weaknesses(policy, now=NOW) if "members" in line}


def test_rules_for_members_between_which_a_file_name_decides_are_told(strong: Policy) -> None:
    assert about_members(with_archives(strong, archive("a-*", "x"), archive("b-*", "x"))) == set()
    (line,) = about_members(with_archives(strong, archive("a-*", "x"), archive("b-*", "x", "y")))
    assert "the name of a zip file" in line


def test_release_of_archives_with_members_that_nobody_names_is_told(strong: Policy) -> None:
    (line,) = about_members(with_archives(strong, archive("a-*", "x", unlisted="keep")))
    assert "no rule names" in line


def derived(policy: Policy, allowed: str, *rules: ArtifactRule) -> set[str]:
    """What is told of the release policy. ``allowed``: what every signing policy says."""
    made = with_archives(policy, *rules)
    project = made.projects["default"]
    policies = {name: rule.model_copy(update={"derived": allowed}) for name, rule in project.signing_policies.items()}
    made = replace(made, projects={"default": project.model_copy(update={"signing_policies": policies})})
    told = weaknesses(made, now=NOW)
    return {line.partition(": ")[2] for line in told if line.startswith("default/release:") and "sign" in line}


PROGRAM = MemberRule(path="*.dll", action="sign", format="pe")
IN_A_JAR = MemberRule(path="*.jar", action="sign", format="jar", members=(PROGRAM,))


@pytest.mark.parametrize(
    ("rule", "form"),
    [
        (ArtifactRule(name="a.jar", format="jar", members=(PROGRAM,)), "jar"),
        (ArtifactRule(name="a.zip", format="zip", members=(IN_A_JAR,)), "jar"),
        (ArtifactRule(name="a.nupkg", format="nuget", members=(PROGRAM,)), "nuget"),
    ],
)
def test_digests_that_nobody_approves_are_told_and_so_is_what_wants_them_in_vain(
    strong: Policy, rule: ArtifactRule, form: str
) -> None:
    assert f"{form} files with signed members want derived: allow, or are refused" in derived(strong, "refuse", rule)
    told = f"people do not approve the digest that is signed last, of {form}"
    assert told in derived(strong, "allow", rule)
    assert told not in derived(strong, "refuse", rule)


def test_leave_for_digests_that_nothing_needs_is_told(strong: Policy) -> None:
    plain = ArtifactRule(name="a.zip", format="zip", members=(PROGRAM,))
    assert any("nothing here needs it" in line for line in derived(strong, "allow", plain))
    assert not any("derived" in line for line in derived(strong, "refuse", plain))
