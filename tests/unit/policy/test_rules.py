# SPDX-License-Identifier: Apache-2.0
"""The edges of each rule: what just fits, what no longer does, and what a rule has nothing to say about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from signwright.model.operation import DerivedOperation
from signwright.model.times import format_time
from signwright.policy import documents as d
from signwright.policy.decide import decide
from signwright.policy.facts import Counters, gather
from signwright.statements.models import RequestedArtifact
from tests.support.world import NOW, World, key_id

PE = d.ArtifactRule(name="*", format="pe")


def with_rule(world: World, name: str = "test", **changes: Any) -> World:
    project = world.documents()["projects/default"]
    assert isinstance(project, d.Project)
    rule = project.signing_policies[name].model_copy(update=changes)
    rules = {**project.signing_policies, name: rule}
    world.overrides["projects/default"] = project.model_copy(update={"signing_policies": rules})
    return world


def with_files(world: World, **configuration: Any) -> World:
    """The configuration of all programs says what ``configuration`` says."""
    project = world.documents()["projects/default"]
    assert isinstance(project, d.Project)
    programs = d.ArtifactConfiguration(**({"rules": (PE,)} | configuration))
    rows = {**project.artifact_configurations, "programs": programs}
    world.overrides["projects/default"] = project.model_copy(update={"artifact_configurations": rows})
    return world


def with_key(world: World, **changes: Any) -> World:
    world.keys["test"] = world.default_key("test").model_copy(update=changes)
    return world


def with_credential(world: World, **changes: Any) -> World:
    credentials = world.documents()["credentials"]
    assert isinstance(credentials, d.Credentials)
    own = key_id(world.test_credential)
    row = credentials.credentials[own].model_copy(update=changes)
    world.overrides["credentials"] = d.Credentials(credentials={**credentials.credentials, own: row})
    return world


def rules(world: World, *, counters: Counters | None = None, scans: tuple[Any, ...] = (), **request: Any) -> set[str]:
    """Reasons against a request under the signing policy *test*, which wants no approvals and no scan."""
    policy = world.policy()
    envelope = world.request("test", **request)
    found = gather(policy, envelope, approvals=(), evidence=scans, now=NOW, counters=counters or Counters())
    assert not found.ignored
    return {reason.rule for reason in decide(policy, found).reasons}


def programs(*names: str, size: int = 8) -> dict[str, Any]:
    files: Mapping[str, bytes] = {name: f"{name:8}".encode()[:8] for name in names}
    operation = World().operation
    artifacts = [
        RequestedArtifact(size=size, format="pe", operations=(operation(content),)) for content in files.values()
    ]
    return {"files": files, "artifacts": artifacts}


# ── artifacts ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_request_with_nothing_but_what_it_must_have_is_allowed() -> None:
    assert rules(World()) == set()


@pytest.mark.parametrize(("names", "reasons"), [(["a.exe"], set()), (["a.exe", "b.exe"], {"artifact-count"})])
def test_configuration_of_one_file_takes_exactly_one(names: list[str], reasons: set[str]) -> None:
    assert rules(with_files(World(), files="one"), **programs(*names)) == reasons


@pytest.mark.parametrize(("size", "reasons"), [(8, set()), (9, {"artifact-size"})])
def test_artifact_may_have_the_largest_size_and_no_more(size: int, reasons: set[str]) -> None:
    assert rules(with_files(World(), max_size=8), **programs("a.exe", size=size)) == reasons


@pytest.mark.parametrize(
    ("names", "reasons"),
    [
        (["a.exe", "b.exe"], set()),
        (["a.exe", "b.exe", "c.exe"], set()),
        (["a.exe"], {"artifact-count"}),
        (["a.exe", "b.exe", "c.exe", "d.exe"], {"artifact-count"}),
        (["a.exe", "b.exe", "c.dll"], {"artifact"}),
        (["a.exe", "b.exe", "C.EXE"], {"artifact"}),
    ],
    ids=str,
)
def test_each_file_fits_a_rule_which_takes_its_number_of_files(names: list[str], reasons: set[str]) -> None:
    world = with_files(World(), rules=(d.ArtifactRule(name="*.exe", format="pe", min=2, max=3),))
    assert rules(world, **programs(*names)) == reasons


def test_file_of_a_format_that_the_configuration_does_not_name_is_refused() -> None:
    world = with_files(World(), rules=(PE, d.ArtifactRule(name="*.bin", format="cms")))
    detached = RequestedArtifact(size=8, format="cms", operations=(world.operation(b"content0", "cms-detached"),))
    assert rules(world, files={"a.bin": b"content0"}, artifacts=[detached]) == set()
    assert rules(world, files={"a.exe": b"content0"}, artifacts=[detached]) == {"artifact"}


# ── key ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_disabled_key_signs_nothing() -> None:
    assert rules(with_key(World(), disabled=True)) == {"key-disabled"}


def test_key_signs_only_for_its_purposes() -> None:
    assert rules(with_key(World(), purposes=("authenticode",))) == set()
    assert rules(with_key(World(), purposes=("file",))) == {"key-purpose"}


def test_operations_of_a_request_are_counted_together_with_those_before() -> None:
    world = with_rule(with_key(World(), max_per_day=3), max_per_day=3)
    assert rules(world, counters=Counters(key=1, signing_policy=1), **programs("a", "b")) == set()
    assert rules(world, counters=Counters(key=2), **programs("a", "b")) == {"key-quota"}
    assert rules(world, counters=Counters(signing_policy=2), **programs("a", "b")) == {"policy-quota"}
    assert rules(World(), counters=Counters(key=10**6, signing_policy=10**6)) == set()


def test_template_of_another_format_is_refused_on_a_key_that_may_use_it() -> None:
    operation = World().operation(b"artifact", "cms-detached")
    artifact = RequestedArtifact(size=8, format="pe", operations=(operation,))
    assert rules(World(), artifacts=[artifact]) == {"operation-format"}


@pytest.mark.parametrize(
    ("options", "parameters", "reasons"),
    [
        ({"description": "x"}, {"description": "x"}, set()),
        ({"description": "x"}, {"description": "y"}, {"operation-option"}),
        ({}, {"description": "x"}, {"operation-option"}),
        ({"description": 1}, {"description": True}, {"operation-option"}),
        ({"description": True}, {"description": 1}, {"operation-option"}),
    ],
    ids=str,
)
def test_parameters_that_are_not_derived_repeat_their_options(
    options: dict[str, Any], parameters: dict[str, Any], reasons: set[str]
) -> None:
    operation = World().operation(b"artifact", "authenticode-pe", **parameters)
    artifact = RequestedArtifact(size=8, format="pe", options=options, operations=(operation,))
    assert rules(World(), artifacts=[artifact]) == reasons


_X, _Y = {"description": "x", "url": "u"}, {"description": "y", "url": "v"}


def _member(rule_of: str, path: str, parameters: dict[str, Any]) -> set[str]:
    """What is found wrong with an operation on the member at ``path`` of an artifact of format ``rule_of``, for which
    the policy has programs signed, and others in archives within.
    """
    world = with_rule(with_rule(World(), modes=("artifact",)), "release", modes=("artifact",))
    signed = d.MemberRule(path="*.exe", action="sign", format="pe", options=_X)
    deeper = d.MemberRule(
        path="*.zip", action="sign", format="zip", members=(signed.model_copy(update={"options": _Y}),)
    )
    hidden = d.MemberRule(
        path="*.msi", action="sign", format="msi", members=(d.MemberRule(path="*", action="sign", format="cab"),)
    )
    kept = d.MemberRule(
        path="*", action="keep", format="cab", members=(d.MemberRule(path="*", action="sign", format="cab"),)
    )
    rule = d.ArtifactRule(name="*", format=rule_of, members=(signed, deeper, hidden, kept))
    operation = world.operation(b"artifact", str(parameters.pop("template", "authenticode-pe")), **parameters)
    one = operation.model_copy(update={"inner_path": path})
    artifact = RequestedArtifact(size=8, format=rule_of, operations=(one,))
    return rules(with_files(world, rules=(rule,)), artifacts=[artifact])


@pytest.mark.parametrize(
    ("form", "path", "parameters", "reasons"),
    [
        ("zip", "a.exe", {}, set()),
        ("zip", "a.exe", _X, set()),
        ("zip", "a.exe", _Y, set()),
        ("zip", "a.exe", {**_X, "url": "v"}, {"operation-option"}),
        ("zip", "a.exe", {"url": "w"}, {"operation-option"}),
        ("zip", "", {}, {"operation-format"}),
        ("zip", "a.cab", {"template": "authenticode-cab"}, {"operation-format"}),
        ("msi", "a.exe", {}, {"operation-format"}),
        ("msi", "", {}, {"operation-format"}),
        ("msi", "", {"template": "authenticode-msi"}, set()),
        ("jar", "a.exe", {}, set()),
        ("jar", "a.exe", {"url": "w"}, {"operation-option"}),
        ("jar", "", {}, {"operation-format"}),
        ("cab", "a.exe", {}, {"operation-format"}),
    ],
    ids=str,
)
def test_members_of_an_archive_are_signed_as_one_rule_of_the_policy_says_and_those_of_others_are_not(
    form: str, path: str, parameters: dict[str, Any], reasons: set[str]
) -> None:
    assert _member(form, path, dict(parameters)) == reasons


LATER = DerivedOperation(template="authenticode-pe", wave=1, algorithm="sha256")


@pytest.mark.parametrize(
    ("allowed", "mode", "reasons"),
    [
        ("allow", "artifact", set()),
        ("refuse", "artifact", {"derived"}),
        ("allow", "digest", {"derived"}),
    ],
)
def test_operations_that_follow_from_signatures_want_a_policy_that_allows_them(
    allowed: str, mode: str, reasons: set[str]
) -> None:
    world = with_rule(World(), derived=allowed, modes=("artifact", "digest"), scan=d.ScanRule(required=False))
    artifact = RequestedArtifact(size=8, format="pe", operations=(world.operation(b"artifact"),), derived=(LATER,))
    assert rules(world, artifacts=[artifact], mode=mode) & {"derived"} == reasons


def test_operations_that_follow_are_counted_and_fit_key_and_format_like_all_others() -> None:
    world = with_rule(World(), derived="allow", max_per_day=2)
    own = world.operation(b"artifact")

    def asked(*later: DerivedOperation) -> set[str]:
        return rules(world, artifacts=[RequestedArtifact(size=8, format="pe", operations=(own,), derived=later)])

    assert asked(LATER) == set()
    assert asked(LATER, LATER.model_copy(update={"wave": 2})) == {"policy-quota"}
    assert asked(LATER.model_copy(update={"template": "raw"})) >= {"key-family", "operation-format"}
    assert asked(LATER.model_copy(update={"parameters": {"turbo": True}})) == {"operation-option"}


# ── submitter, scan, approvals ────────────────────────────────────────────────────────────────────────────────────


def test_credential_is_good_until_it_expires() -> None:
    assert rules(with_credential(World(), expires=format_time(NOW + timedelta(seconds=1)))) == set()
    assert rules(with_credential(World(), expires=format_time(NOW))) == {"credential-expired"}


def test_bad_verdict_counts_where_no_verdict_is_wanted() -> None:
    world = World()
    assert rules(world, scans=(world.scan(b"artifact", "infected"),)) == {"scan"}


def test_infected_verdict_alone_is_no_clean_one() -> None:
    world = with_rule(World(), modes=("artifact",), scan=d.ScanRule())
    policy = world.policy()
    found = gather(policy, world.request("test"), approvals=(), evidence=[world.scan(b"artifact", "infected")], now=NOW)
    assert {reason.effect for reason in decide(policy, found).reasons if reason.rule == "scan"} == {"deny", "await"}


def test_verdict_of_the_future_is_waited_for() -> None:
    world = with_rule(World(), modes=("artifact",), scan=d.ScanRule())
    ahead = [world.scan(b"artifact", created=format_time(NOW + timedelta(minutes=m))) for m in (5, 6)]
    assert rules(world, scans=(ahead[0],)) == set()
    assert rules(world, scans=(ahead[1],)) == {"scan"}


def test_submitter_counts_as_approver_where_a_test_policy_says_so() -> None:
    world = with_credential(World(), person="alice")
    for exclude, reasons in ((True, {"approvals"}), (False, set())):
        with_rule(world, approvals=d.Approvals(required=1, exclude_submitter=exclude))
        policy, request = world.policy(), world.request("test")
        words = [world.approval(request, "alice", policy=policy)]
        found = gather(policy, request, approvals=words, evidence=(), now=NOW)
        assert {reason.rule for reason in decide(policy, found).reasons} == reasons


def test_approver_cannot_rehash_what_a_request_in_digest_mode_does_not_carry() -> None:
    world = with_rule(World(), approvals=d.Approvals(required=1))
    policy = world.policy()
    for mode, reasons in (("digest", set()), ("artifact", {"approvals"})):
        request = world.request("test", mode=mode)
        word = world.approval(request, "alice", policy=policy, artifacts_rehashed=False)
        found = gather(policy, request, approvals=[word], evidence=(), now=NOW)
        assert {reason.rule for reason in decide(policy, found).reasons} == reasons


def test_decision_sorts_its_reasons_by_effect() -> None:
    world = with_rule(with_key(World(), disabled=True), approvals=d.Approvals(required=1))
    policy, request = world.policy(), world.request("test")
    decision = decide(policy, gather(policy, request, approvals=(), evidence=(), now=NOW))
    assert [reason.rule for reason in decision.of("deny")] == ["key-disabled"]
    assert [reason.rule for reason in decision.of("await")] == ["approvals"]


def test_release_leans_on_no_exception_where_others_stand_outside() -> None:
    """A witness and a timestamp authority of somebody else: then none is needed."""
    from signwright.policy.exceptions import needed_exceptions

    world = World()
    rule, services = world.signing_policies()["release"], world.services()
    assert needed_exceptions(rule, services) == {"local-witness", "local-timestamp"}
    outside = replace(world, authorities=(world.authorities[0].model_copy(update={"outside": True}),)).services()
    outside = outside.model_copy(update={"quorum": d.Quorum(outside=1, local=0)})
    assert needed_exceptions(rule, outside) == set()
    none = rule.model_copy(update={"timestamp": "none"})
    assert needed_exceptions(none, services) == {"local-witness", "no-timestamp"}
