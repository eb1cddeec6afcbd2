# SPDX-License-Identifier: Apache-2.0
"""A live organisation: what weakens the policy is logged at once and counts later; what hardens it counts at once."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.homes import RunningHome, edit, running_home
from tests.support.pe_builder import Pe
from tests.support.processes import wait_until


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHome]:
    """Live with policy version 2."""
    folder = tmp_path_factory.mktemp("live")
    with running_home(folder / "h", folder / "state") as running:
        ran = running.cli("go-live", running.folder, "--yes")
        assert ran.code == 0, ran.err
        wait_until(lambda: versions(running) == [1, 2], what="version 2 in the log", seconds=30)
        yield running


def policies(home: RunningHome) -> list[dict[str, Any]]:
    """The policy leaves of the log."""
    shown = home.cli("log", "show", "--from", "0", "--limit", "1000", "--output", "json")
    assert shown.code == 0, shown.err
    return [leaf for leaf in shown.json["leaves"] if leaf["type"] == "policy"]


def versions(home: RunningHome) -> list[int]:
    return [leaf["policy_version"] for leaf in policies(home)]


def test_weaker_policy_is_logged_at_once_and_is_not_in_force(live: RunningHome, tmp_path: Path) -> None:
    edit(live, "organisation.yaml", "approvals: 2", "approvals: 1")
    for _ in range(2):
        edit(live, "projects/default.yaml", "required: 2", "required: 1")
    told = live.cli("policy", "apply", live.folder, "--yes")
    assert told.code == 0, told.err
    assert "comes into force on 20" in told.err
    assert "it weakens what is in force and waits 24 h from now" in told.err
    wait_until(lambda: versions(live) == [1, 2, 3], what="version 3 in the log", seconds=30)
    leaf = policies(live)[-1]
    assert (leaf["weakening"], leaf["delay_hours"]) == (["organisation", "projects"], 24)

    file = tmp_path / "setup.exe"
    file.write_bytes(Pe(overlay=secrets.token_bytes(16)).build())
    request = live.cli("sign", file, "--policy", "default/release", "--no-wait").out.strip()
    wait_until(lambda: "awaiting-approval" in live.cli("status", request).out, what="scan", seconds=30)
    live.approve(request, "alice")
    assert "1 of 2 approvals (alice)" in live.cli("status", request).out
    live.approve(request, "bob")
    assert live.cli("wait", request).code == 0
    assert live.cli("fetch", request, file, "--in-place").code == 0
    verified = live.cli("verify", file)
    assert verified.code == 0, verified.out
    assert "policy version 2" in verified.out


def test_version_that_takes_it_back_counts_at_once(live: RunningHome, tmp_path: Path) -> None:
    """Nobody has to sit out a mistake."""
    edit(live, "organisation.yaml", "approvals: 1", "approvals: 2")
    for _ in range(2):
        edit(live, "projects/default.yaml", "required: 1", "required: 2")
    told = live.cli("policy", "apply", live.folder, "--yes")
    assert told.code == 0, told.err
    wait_until(lambda: versions(live)[-1] == 4, what="version 4 in the log", seconds=30)
    leaf = policies(live)[-1]
    assert (leaf["weakening"], leaf["delay_hours"]) == ([], 0)
    file = tmp_path / "setup.exe"
    file.write_bytes(Pe(overlay=secrets.token_bytes(16)).build())
    signed = live.cli("sign", file, "--policy", "default/test", "--in-place")
    assert signed.code == 0, signed.err
    assert "policy version 4" in live.cli("verify", file).out
