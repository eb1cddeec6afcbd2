# SPDX-License-Identifier: Apache-2.0
"""``signwright demo`` as a user starts it: what it claims, and that it leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from signwright.cli.demo.processes import processes_of
from tests.support.processes import stop, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("demo")]

COMMAND = [sys.executable, "-m", "signwright.cli", "demo"]
REFUSALS = {
    "one approval of two": "exit 5: pending (approvals)",
    "a file changed after approval": "exit 8: wrong-artifact",
    "EICAR inside a zip": "exit 9: scan (scan)",
    "a policy that the credential may not use": "exit 3: submitter (submitter, submitter-kind)",
    "a flipped byte in a signed file": "exit 8: digest-mismatch",
}
KEEPERS = {
    "halt by one panic key": "gate and keyholder stand still within 1 s",
    "a request meanwhile": "exit 5: pending (halted)",
    "key operations since the halt": "0",
    "resume under a new policy": "version 2",
    "the request that waited": "completed",
    "go-live": "live with version 3",
    "a stolen keeper's key adds an approver: in force": "version 3; version 4 waits",
    "a release with an expired freshness statement": "exit 5: pending (freshness)",
    "freshness renewed": "a newer number",
    "the release that waited": "completed",
}
LIES = {
    "forged decision": "waiting/approvals",
    "one person approving twice": "waiting/approvals",
    "swapped artifact": "failed/artifact-mismatch",
    "edited request": "denied/submitter",
    "replayed request": "the first result again",
    "forged scan verdict": "waiting/scan",
    "missing cosignature": "failed/no-quorum",
    "order replayed to a second keyholder child": "refused not-started, refused not-started",
    "key operations in all this": "0",
}


def environment(folder: Path) -> dict[str, str]:
    """Its temporary home comes below ``folder``, so that the test can see what is left of it."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("SIGNWRIGHT_") or k == "SIGNWRIGHT_SIGNER_ENV"}
    return {**kept, "TMPDIR": str(folder)}


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    folder = tmp_path_factory.mktemp("d")
    done = subprocess.run(
        [*COMMAND, "--output", "json"],
        env=environment(folder),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()[-6000:]
    return json.loads(done.stdout), folder


def test_every_fact_is_the_expected_one(told: tuple[dict[str, Any], Path]) -> None:
    answer, _ = told
    assert answer["ok"] is True
    assert [fact for fact in answer["facts"] if not fact["ok"]] == []
    assert [step["number"] for step in answer["steps"]] == list(range(9))
    assert all(step["finished"] for step in answer["steps"])


def test_successes_are_those_of_the_story(told: tuple[dict[str, Any], Path]) -> None:
    names = Counter(fact["step"] for fact in told[0]["facts"])
    assert names == {0: 2, 1: 2, 2: 6, 3: 3, 4: 6, 5: 5, 6: 10, 7: 9, 8: 1}


def test_refusals_have_their_own_reasons(told: tuple[dict[str, Any], Path]) -> None:
    found = {fact["name"]: fact["found"] for fact in told[0]["facts"]}
    assert {name: found[name] for name in REFUSALS} == REFUSALS


def test_keepers_halt_resume_go_live_and_renew(told: tuple[dict[str, Any], Path]) -> None:
    found = {fact["name"]: fact["found"] for fact in told[0]["facts"] if fact["step"] == 6}
    assert found == KEEPERS
    halt = next(fact for fact in told[0]["facts"] if fact["name"] == "halt by one panic key")
    assert 0 < halt["seconds"] <= 1


def test_lying_hub_gets_no_key_operation(told: tuple[dict[str, Any], Path]) -> None:
    found = {fact["name"]: fact["found"] for fact in told[0]["facts"] if fact["step"] == 7}
    assert found == LIES
    assert told[0]["key_operations"] == 0


def test_nothing_is_left(told: tuple[dict[str, Any], Path]) -> None:
    answer, folder = told
    assert answer["left_running"] == 0
    assert list(folder.iterdir()) == []
    assert processes_of(folder) == set()


def test_table_says_how_long_each_step_took(told: tuple[dict[str, Any], Path]) -> None:
    """How long that may be is for ``make bench``: here other tests have the processors busy."""
    took = [step["seconds"] for step in told[0]["steps"]]
    assert min(took[:-1]) > 0
    assert sum(took) <= told[0]["seconds"] + 0.01 * len(took)


def test_interrupted_demonstration_leaves_nothing(tmp_path: Path) -> None:
    process = subprocess.Popen(
        COMMAND,
        env=environment(tmp_path),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: any(tmp_path.glob("*/home/run/signer.pid")), what="the signer's start", seconds=60)
        pids = processes_of(tmp_path) - {process.pid}
        assert pids
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 130
        wait_until(lambda: not processes_of(tmp_path), what="the end of every process")
        assert list(tmp_path.iterdir()) == []
    finally:
        stop(process)
