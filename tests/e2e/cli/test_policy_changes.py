# SPDX-License-Identifier: Apache-2.0
"""A policy that changes while everything runs: checked, compared, signed, posted, in force; what it does to requests.

The tests build on each other's policy versions, so the home is this file's own; each asks for what it needs.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.homes import RunningHome, edit, running_home
from tests.support.middle import in_the_middle
from tests.support.pe_builder import Pe
from tests.support.processes import wait_until


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHome]:
    folder = tmp_path_factory.mktemp("policy")
    with running_home(folder / "h", folder / "state") as running:
        yield running


def program(folder: Path) -> Path:
    file = folder / "setup.exe"
    file.write_bytes(Pe(overlay=secrets.token_bytes(16)).build())
    return file


def apply(home: RunningHome) -> int:
    """Sign and post; the version, which is in force in the signer when this returns."""
    ran = home.cli("policy", "apply", home.folder, "--yes")
    assert ran.code == 0, ran.err
    version = int(ran.out.split()[1])

    def in_force() -> bool:
        findings = home.cli("doctor", "--home", home.folder, "--output", "json").json["findings"]
        return not any(f["level"] == "bad" for f in findings)

    wait_until(in_force, what="the signer takes the policy", seconds=60)
    return version


def waiting(home: RunningHome, file: Path, policy: str = "default/release") -> str:
    request = home.cli("sign", file, "--policy", policy, "--no-wait").out.strip()
    wait_until(lambda: "awaiting-approval" in home.cli("status", request).out, what="scan", seconds=30)
    return request


def missing(home: RunningHome, request: str) -> list[str]:
    """What the submitter sees that the request still waits for."""
    view = home.cli("status", request, "--output", "json").json
    return [row["rule"] for row in view["reasons"] if row["effect"] == "await"]


def test_held_release_waits_for_the_word_of_group_qa(own: RunningHome, tmp_path: Path) -> None:
    file = program(tmp_path)
    edit(own, "people.yaml", "  alice:\n    groups: [release]", "  alice:\n    groups: [release, qa]")
    edit(own, "projects/default.yaml", "  release:\n    kind", "  release:\n    hold: qa\n    kind")
    assert own.cli("policy", "check", own.folder).code == 0
    shown = own.cli("policy", "diff", own.folder)
    assert shown.code == 0
    assert "release waits for a release by (qa)" in shown.out
    apply(own)
    assert own.cli("policy", "diff", own.folder).out == ""
    request = waiting(own, file)
    own.approve(request)
    wait_until(lambda: missing(own, request) == ["hold"], what="both approvals")
    own_word = own.cli("approve", request, "--release", "--key", own.key("bob"), "--yes")
    assert own_word.code == 0, own_word.err
    assert missing(own, request) == ["hold"]  # bob is not of group qa
    released = own.cli("approve", request, "--release", "--key", own.key("alice"), "--yes")
    assert released.code == 0, released.err
    assert own.cli("wait", request).code == 0
    assert own.cli("fetch", request, file, "--in-place").code == 0
    assert own.cli("verify", file).code == 0


def test_old_approvals_lapse_when_the_policy_changes_and_the_submitter_sees_it(
    own: RunningHome, tmp_path: Path
) -> None:
    request = waiting(own, program(tmp_path), "default/release-file")
    own.approve(request, "alice")
    assert "1 of 2 approvals (alice)" in own.cli("status", request).out
    edit(own, "projects/default.yaml", "made by signwright init", "changed")
    apply(own)
    lapsed = "0 of 2 approvals (nobody); the approval of alice was given under another policy"
    wait_until(lambda: lapsed in own.cli("status", request).out, what="decided again")
    own.approve(request, "bob")
    assert "1 of 2 approvals (bob)" in own.cli("status", request).out
    own.approve(request, "alice")
    assert own.cli("wait", request).code == 0


def test_weaker_policy_is_called_weaker(own: RunningHome) -> None:
    source = own.folder / "policy" / "organisation.yaml"
    before = source.read_text(encoding="utf-8")
    try:
        edit(own, "organisation.yaml", "approval_max_age_hours: 72", "approval_max_age_hours: 168")
        shown = own.cli("policy", "diff", own.folder)
        assert shown.code == 0
        assert [line for line in shown.out.splitlines() if "weak" in line.lower() and "72 to 168" in line], shown.out
        rows = own.cli("policy", "diff", own.folder, "--output", "json").json["changes"]
        assert [row["effect"] for row in rows] == ["weaker"]
    finally:
        source.write_text(before, encoding="utf-8")


def test_policy_signed_by_nobody_who_keeps_it_is_not_taken(own: RunningHome, tmp_path: Path) -> None:
    source = own.folder / "policy" / "organisation.yaml"
    before = source.read_text(encoding="utf-8")
    try:
        edit(own, "organisation.yaml", "retention_days: 365", "retention_days: 364")
        ran = own.cli("policy", "apply", own.folder, "--yes", "--key", own.key("alice"))
        assert ran.code == 3, ran.err
        assert "not a policy keeper's" in ran.err
    finally:
        source.write_text(before, encoding="utf-8")


@pytest.mark.parametrize("who", ["approver", "submitter"])
def test_hub_that_brings_an_older_policy_back_is_refused(own: RunningHome, tmp_path: Path, who: str) -> None:
    """Every signature on it holds; only the client's memory tells that a newer one was in force."""
    file, kept = program(tmp_path), {}

    def record(method: str, path: str, body: bytes) -> bytes | None:
        if method == "GET" and path.startswith("/v1/policy"):
            kept["policy"] = body
        return None

    with in_the_middle(own.env["SIGNWRIGHT_URL"], record) as address:
        assert own.changed(SIGNWRIGHT_URL=address).cli("sign", file, "--no-wait").code == 0
    edit(own, "projects/default.yaml", "description: ", f'description: "{secrets.token_hex(4)}" # ')
    apply(own)
    request = waiting(own, program(tmp_path), "default/release-file")
    look = own.cli("approve", request, "--key", own.key("alice"))  # without a terminal it shows and does not sign
    assert look.code == 2, look.err

    def replay(method: str, path: str, body: bytes) -> bytes | None:
        return kept["policy"] if method == "GET" and path.startswith("/v1/policy") else None

    with in_the_middle(own.env["SIGNWRIGHT_URL"], replay) as address:
        seen = own.changed(SIGNWRIGHT_URL=address)
        if who == "approver":
            ran = seen.cli("approve", request, "--key", own.key("alice"), "--yes")
        else:
            ran = seen.cli("sign", file, "-o", tmp_path / "out.exe", "--again")
    assert ran.code == 8, ran.err
    assert "was seen before" in ran.err
    assert own.cli("status", request, "--output", "json").json["approvals"] == []
    assert not (tmp_path / "out.exe").exists()
