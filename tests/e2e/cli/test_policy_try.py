# SPDX-License-Identifier: Apache-2.0
"""A draft of the policy tried on what was really asked for: nothing is signed, nothing is loaded."""

from __future__ import annotations

import secrets
import shutil
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.support.homes import RunningHome
from tests.support.pe_builder import Pe
from tests.support.processes import wait_until
from tests.support.world import ssh_line


@pytest.fixture
def draft(home: RunningHome, tmp_path: Path) -> Path:
    """A copy of the sources."""
    shutil.copytree(home.folder / "policy", tmp_path / "draft", ignore=shutil.ignore_patterns("signed", "next"))
    return tmp_path / "draft"


def edit(draft: Path, name: str, old: str, new: str) -> None:
    text = (draft / name).read_text(encoding="utf-8")
    assert old in text
    (draft / name).write_text(text.replace(old, new, 1), encoding="utf-8")


def program(folder: Path) -> Path:
    file = folder / f"{secrets.token_hex(3)}.exe"
    file.write_bytes(Pe(overlay=secrets.token_bytes(16)).build())
    return file


@pytest.fixture
def released(home: RunningHome, tmp_path: Path) -> str:
    """A request that two people approved and that was signed."""
    request = home.cli("sign", program(tmp_path), "--policy", "default/release", "--no-wait").out.strip()
    wait_until(lambda: "awaiting-approval" in home.cli("status", request).out, what="scan", seconds=30)
    home.approve(request)
    assert home.cli("wait", request).code == 0
    return request


def test_the_policy_itself_changes_nothing(home: RunningHome, draft: Path, released: str) -> None:
    ran = home.cli("policy", "try", draft, "--key", home.key("alice"), "--output", "json")
    assert ran.code == 0, ran.err
    assert ran.json["changed"] == []
    assert ran.json["skipped"] == []
    assert ran.json["replayed"] >= 1


def test_decision_that_a_draft_would_change_is_told_with_its_reason(
    home: RunningHome, draft: Path, released: str
) -> None:
    edit(draft, "people.yaml", "  alice:\n    groups: [release]", "  alice:\n    groups: [qa]")
    edit(draft, "people.yaml", "people:\n", f"people:\n  carol:\n    groups: [release]\n    keys: [{key_line()}]\n")
    ran = home.cli("policy", "try", draft, "--key", home.key("bob"), "--output", "json")
    assert ran.code == 0, ran.err
    (row,) = [row for row in ran.json["changed"] if row["id"] == released]
    assert (row["before"]["outcome"], row["after"]["outcome"]) == ("allow", "await")
    (reason,) = row["after"]["reasons"]
    assert (reason["rule"], reason["found"]) == ("approvals", "1 of 2 approvals (bob)")
    told = home.cli("policy", "try", draft, "--key", home.key("bob"))
    assert told.code == 0
    assert f"{released} default/release" in told.out
    assert "allow -> await" in told.out
    assert "would be decided otherwise" in told.err
    assert home.cli("policy", "show", home.folder).out.startswith("version 1 ")


def test_draft_that_allows_more_is_told_too(home: RunningHome, draft: Path, tmp_path: Path) -> None:
    request = home.cli("sign", program(tmp_path), "--policy", "default/release", "--no-wait").out.strip()
    wait_until(lambda: "awaiting-approval" in home.cli("status", request).out, what="scan", seconds=30)
    home.approve(request, "alice")
    edit(draft, "organisation.yaml", "approvals: 2", "approvals: 1")
    edit(draft, "projects/default.yaml", "required: 2", "required: 1")
    ran = home.cli("policy", "try", draft, "--key", home.key("bob"), "--output", "json")
    assert ran.code == 0, ran.err
    (row,) = [row for row in ran.json["changed"] if row["id"] == request]
    assert (row["before"]["outcome"], row["after"]["outcome"]) == ("await", "allow")
    assert home.cli("cancel", request).code == 0


def test_only_what_is_young_enough_is_replayed(home: RunningHome, draft: Path, released: str) -> None:
    later = home.cli("policy", "try", draft, "--key", home.key("bob"), "--since", "2099-01-01T00:00:00Z")
    assert later.code == 0
    assert "0 requests replayed" in later.err
    assert home.cli("policy", "try", draft, "--since", "yesterday").code == 2


def test_draft_that_is_no_policy_is_refused_before_anything_is_asked(home: RunningHome, draft: Path) -> None:
    edit(draft, "projects/default.yaml", "required: 2", "required: 20")
    assert home.cli("policy", "try", draft).code != 0


def key_line() -> str:
    return ssh_line(Ed25519PrivateKey.generate())
