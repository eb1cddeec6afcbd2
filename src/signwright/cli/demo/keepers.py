# SPDX-License-Identifier: Apache-2.0
"""What keepers can say besides the policy, and that gate and keyholder listen: halt, resume, go-live, freshness."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from signwright.cli.demo import refusals
from signwright.cli.demo.counting import key_use
from signwright.cli.demo.processes import TrialHome
from signwright.cli.demo.report import Report
from signwright.cli.gate_socket import ask_gate
from signwright.client.keepers_words import draft_halt
from signwright.client.ssh_keys import load_person_key, make_key_files
from signwright.client.standing import look, next_freshness
from signwright.client.trust import load_trust
from signwright.errors import UnavailableError
from signwright.model.times import format_time
from signwright.statements.models import Freshness, Halt, parse_statement
from signwright.statements.writing import statement_payload

#: What is promised for a halt: from its arrival until nothing is signed any more.
HALT_SECONDS = 1.0
#: How long the freshness statement holds that is left to expire.
SHORT_LIFE = timedelta(seconds=1)
_PATIENCE_SECONDS = 20.0
_PAUSE = 0.02


def halt_and_resume(trial: TrialHome, report: Report) -> None:
    """One panic key stops everything; the policy keeper ends that with a newer policy, and what waited goes on."""
    before = key_use(trial.home.folder)
    digest, took = _halt(trial)
    wanted = f"gate and keyholder stand still within {HALT_SECONDS:.0f} s"
    found = wanted if took <= HALT_SECONDS else f"after {took:.1f} s"
    text = f"{1000 * took:.0f} ms after the hub got it, by what they say themselves"
    report.fact("halt by one panic key", wanted=wanted, found=found, seconds=took, text=text)
    request = refusals.submit(trial, trial.work / "w64.exe", policy="default/test")
    ran = trial.run("wait", request, "--timeout", "1", "--output", "json")
    found, text = refusals.outcome(ran, "await"), refusals.reason(ran)
    report.fact("a request meanwhile", wanted="exit 5: pending (halted)", found=found, seconds=ran.seconds, text=text)
    operations = key_use(trial.home.folder).since(before)
    report.fact("key operations since the halt", wanted="0", found=str(operations))
    applied = trial.must("policy", "apply", "--yes")
    ran = trial.must("resume", digest, "--key", _keeper(trial), "--reason", "a false alarm", "--yes")
    _wait_until(lambda: _halts(trial) == (0, 0), "gate and keyholder do not hear of the resume")
    found, text = _head(applied.stdout, 2), "signed by the policy keeper; the signer is not halted any more"
    report.fact("resume under a new policy", wanted="version 2", found=found, seconds=ran.seconds, text=text)
    _goes_on(trial, report, request, "the request that waited")


def _halt(trial: TrialHome) -> tuple[str, float]:
    """Hand one in as `signwright halt` does; its digest, and how long it took to reach gate and keyholder."""
    root = load_trust(trial.home / "trust.json").policy_root_sha256
    payload = draft_halt(root, reason="an alarm", now=datetime.now(UTC))
    envelope = load_person_key(_keeper(trial), lambda _: "").sign_statement(payload, "halt")
    with trial.hub() as hub:
        started = time.perf_counter()
        hub.carry("halt", envelope)
        _wait_until(lambda: _halts(trial) == (1, 1), "gate and keyholder do not hear of the halt")
    return parse_statement(envelope, Halt).digest, time.perf_counter() - started


def go_live(trial: TrialHome, report: Report) -> None:
    """From now on a change that weakens the policy is logged, and waits: time to notice."""
    ran = trial.must("go-live", "--yes")
    _wait_until(lambda: _policy(trial) == (3, None), "the gate does not hear of the new policy")
    report.fact("go-live", wanted="live with version 3", found=_head(ran.stdout, 4), seconds=ran.seconds)
    thief = trial.folder / "mallory"
    make_key_files(thief, comment="mallory")
    trial.must("people", "add", "mallory", "--key", thief.with_suffix(".pub"), "--group", "release")
    ran = trial.must("policy", "apply", "--yes")
    _wait_until(lambda: _policy(trial)[1] is not None, "the gate does not hear of the weaker policy")
    found = "version {}; version {} waits".format(*_policy(trial))
    said = next((line for line in ran.stderr.splitlines() if "waits" in line), "").removeprefix("signwright: ")
    name, wanted = "a stolen keeper's key adds an approver: in force", "version 3; version 4 waits"
    report.fact(name, wanted=wanted, found=found, seconds=ran.seconds, text=said)


def freshness(trial: TrialHome, report: Report, out: Path) -> None:
    """Approved by two people, and yet no release without a recent word of a keeper that nothing was revoked.

    ``out``: where the release comes that is signed after all.
    """
    program = trial.work / "w64.exe"
    expired = _let_expire(trial)
    request = refusals.submit(trial, program, policy="default/release")
    with trial.hub() as hub:
        refusals.wait_for_state(hub, request, "awaiting-approval")
    for person in ("alice", "bob"):
        refusals.approve(trial, request, person)
    ran = trial.run("wait", request, "--timeout", "1", "--output", "json")
    found, text = refusals.outcome(ran, "await"), refusals.reason(ran)
    name, wanted = "a release with an expired freshness statement", "exit 5: pending (freshness)"
    report.fact(name, wanted=wanted, found=found, seconds=ran.seconds, text=text)
    ran = trial.must("freshness", "renew", "--key", _keeper(trial), "--yes")
    newer = int(ran.stdout.split()[-1]) > expired
    found, text = "a newer number" if newer else "an older number", _head(ran.stdout, 2)
    report.fact("freshness renewed", wanted="a newer number", found=found, seconds=ran.seconds, text=text)
    _goes_on(trial, report, request, "the release that waited")
    trial.must("fetch", request, program, "-o", out, "--output", "json")


def _let_expire(trial: TrialHome) -> int:
    """Hand in a keeper's statement that holds for a second, so that nobody waits a week for an old one; its number."""
    trust = load_trust(trial.home / "trust.json")
    with trial.hub() as hub:
        now = datetime.now(UTC)
        policy = hub.policy().open(pinned_root_sha256=trust.policy_root_sha256)
        known = look(hub, policy, now=now, folder=trial.folder / "seen")
        keeper = load_person_key(_keeper(trial), lambda _: "")
        payload = next_freshness(known, now=now, folder=trial.folder / "seen")
        statement = parse_statement(keeper.sign_statement(payload, "freshness"), Freshness)
        said = statement.predicate.model_copy(update={"expires": format_time(now + SHORT_LIFE)})
        subjects = [(subject.name, subject.digest.sha256) for subject in statement.subjects]
        hub.carry("freshness", keeper.sign_statement(statement_payload(said, subjects), "freshness"))
    return said.number


def _goes_on(trial: TrialHome, report: Report, request: str, name: str) -> None:
    ran = trial.must("wait", request, "--timeout", "30", "--output", "json")
    report.fact(name, wanted="completed", found=str(ran.answer["state"]), seconds=ran.seconds)


def _keeper(trial: TrialHome) -> Path:
    """The trial's only keeper: of root, policy and freshness, and its panic key."""
    return trial.home / "keeper" / "keeper"


def _halts(trial: TrialHome) -> tuple[int, int]:
    """How many halts are open in the gate, and in the keyholder."""
    said = ask_gate(trial.home, {"type": "status"})
    keyholder, halts = said["keyholder"], said["halts"]
    assert isinstance(keyholder, dict)
    assert isinstance(halts, list)
    return len(halts), len(keyholder["halts"])


def _policy(trial: TrialHome) -> tuple[object, object]:
    """The version that the gate has in force, and the one that waits there."""
    said = ask_gate(trial.home, {"type": "status"})
    policy = said["policy"]
    assert isinstance(policy, dict)
    return policy["version"], said["waiting_policy"]


def _head(text: str, words: int) -> str:
    return " ".join(text.split()[:words])


def _wait_until(holds: Callable[[], bool], otherwise: str) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not holds():
        if time.monotonic() > deadline:
            raise UnavailableError(otherwise, code="demo-state")
        time.sleep(_PAUSE)
