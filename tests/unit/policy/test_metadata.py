# SPDX-License-Identifier: Apache-2.0
"""What an artifact may say of itself: every limit of its rule, and only of its rule."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

from signwright.policy import documents as d
from signwright.policy.metadata import artifact_rule, metadata_problems
from signwright.policy.validate import problems_of
from tests.support.world import World

LIMITS = {"company_name": ("Example Ltd",), "product_name": ("Example *", "Sample"), "is_driver": ("false",)}
FACTS: dict[str, Any] = {"company_name": "Example Ltd", "product_name": "Example Tool", "is_driver": False}


def problems(facts: dict[str, Any], *, name: str = "setup.exe", form: str = "pe", limits: Any = None) -> list[str]:
    rule = d.ArtifactRule(name="*.exe", format="pe", metadata=LIMITS if limits is None else limits)
    free = d.ArtifactRule(name="*", format="pe")
    configuration = d.ArtifactConfiguration(rules=(rule, free))
    return [str(r) for r in metadata_problems(artifact_rule(configuration, name, form), name, facts)]


def test_an_artifact_within_its_limits_has_no_problem():
    assert problems(FACTS) == []
    assert problems({**FACTS, "product_name": "Sample", "other": "anything"}) == []


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"company_name": "Example Ltd."}, "company_name"),
        ({"company_name": "EXAMPLE LTD"}, "company_name"),
        ({"company_name": ""}, "company_name"),
        ({"product_name": "An Example Tool"}, "product_name"),
        ({"is_driver": True}, "is_driver"),
        ({"is_driver": 0}, "is_driver"),
    ],
)
def test_another_value_is_a_problem_that_names_it(changes, named):
    (problem,) = problems({**FACTS, **changes})
    assert named in problem


@pytest.mark.parametrize("missing", sorted(LIMITS))
def test_a_fact_that_is_not_there_keeps_no_limit(missing):
    (problem,) = problems({name: value for name, value in FACTS.items() if name != missing})
    assert f"it has no {missing}" in problem


def test_all_problems_are_told_at_once():
    assert len(problems({})) == len(LIMITS)


def test_the_first_rule_for_name_and_format_counts():
    assert problems({}, name="other.dll") == []
    assert problems({}, form="cms") == []


@pytest.mark.parametrize("limits", [{"company_name": ()}, {"company_name": ("",)}, {"Company Name": ("x",)}])
def test_a_limit_without_a_pattern_or_a_name_is_refused(limits):
    with pytest.raises(ValidationError):
        d.ArtifactRule(name="*", format="pe", metadata=limits)


def problems_with(*rules: d.ArtifactRule) -> list[str]:
    """Of a policy whose programs have these rules."""
    policy = World().policy()
    project = policy.projects["default"]
    rows = {**project.artifact_configurations, "programs": d.ArtifactConfiguration(rules=rules)}
    changed = project.model_copy(update={"artifact_configurations": rows})
    return problems_of(replace(policy, projects={"default": changed}))


def test_digest_mode_and_metadata_limits_exclude_each_other():
    found = problems_with(d.ArtifactRule(name="*", format="pe", metadata=LIMITS))
    assert any("nobody sees metadata" in problem for problem in found)


def test_a_file_name_cannot_choose_a_rule_with_fewer_limits():
    """`Setup.exe` is no `setup*.exe`, and the submitter chooses the name."""
    limited = d.ArtifactRule(name="setup*.exe", format="pe", metadata=LIMITS)
    other = limited.model_copy(update={"name": "*", "metadata": dict.fromkeys(LIMITS, ("x",))})
    free = d.ArtifactRule(name="*", format="pe")
    elsewhere = d.ArtifactRule(name="*", format="cab")
    told = "limit different metadata"
    assert any(told in problem for problem in problems_with(limited, free))
    assert any(
        told in problem for problem in problems_with(limited, free.model_copy(update={"metadata": {"a": ("b",)}}))
    )
    assert not any(told in problem for problem in problems_with(limited, other, elsewhere))
