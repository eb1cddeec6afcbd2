# SPDX-License-Identifier: Apache-2.0
"""The model of the signing cycle in docs/model, explored to its end: what holds, and what breaks without a check.

An exploration that finds nothing proves nothing about a model that can do nothing. So for each check there is a switch
that takes it away, and spin must find the invariant that it keeps; and the model must be able to sign.
"""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.source_tree import ROOT
from tests.support.tools import require_tool

MODEL = ROOT / "docs/model"
SECONDS = 300
MEGABYTES = 900
#: A gate of the attacker's; what stands in the log is four or five leaves.
HOSTILE = ("MAX=4",)
#: The keyholder's state restored under a hostile gate.
RESTORED = ("MAX=4", "RESTORE_KEYHOLDER")
#: An honest gate; state of keyholder and gate restored, one of them or both, from copies of any age.
HONEST = ("MAX=4", "GATE_HONEST", "RESTORE_KEYHOLDER", "RESTORE_GATE", "ALL_APPROVE")


@dataclass(frozen=True)
class Run:
    """``breaks``: the invariant that spin must find broken, None when all must hold."""

    model: str
    switches: tuple[str, ...]
    breaks: str | None = None

    @property
    def name(self) -> str:
        return "-".join([self.model, *self.switches, self.breaks or "holds"])


def cycle(name: str, breaks: str, *base: str) -> Run:
    """The cycle without a check. Fewer approvals matter to I1 alone."""
    approvals = () if breaks == "I1" or "ALL_APPROVE" in base else ("ALL_APPROVE",)
    return Run("cycle", (*(base or HOSTILE), *approvals, f"NO_CHECK_{name}", f"WATCH=WATCH_{breaks}"), breaks)


def bounds(name: str, breaks: str, *more: str) -> Run:
    """The bounds in time without a check."""
    return Run("bounds", (*more, f"NO_CHECK_{name}", f"WATCH=WATCH_{breaks}"), breaks)


HOLDS = [
    Run("cycle", ("MAX=5",)),
    Run("cycle", RESTORED),
    Run("cycle", HONEST),
    Run("bounds", ()),
    Run("bounds", ("RESTORE_KEYHOLDER", "WATCH=WATCH_I5_REVOKED+WATCH_DELAY_KEPT+WATCH_RECALL+WATCH_I4_CLOCK")),
    Run(
        "bounds",
        ("RESTORE_KEYHOLDER", "GATE_LOGS", "WATCH=WATCH_I5_REVOKED+WATCH_I4_REVOKED+WATCH_HALT_HEARD+WATCH_I4_CLOCK"),
    ),
    Run("bounds", ("CLOCK_MOVED", "WATCH=WATCH_DELAY_KEPT+WATCH_I4_CLOCK+WATCH_I4_REVOKED")),
]

MISSED = [
    cycle("APPROVALS", "I1"),
    cycle("APPROVAL_REQUEST", "I1"),
    cycle("APPROVAL_POLICY", "I1"),
    cycle("PEOPLE", "I1"),
    cycle("ENROLLED", "I1"),
    cycle("INTENT", "I3"),
    cycle("INCLUSION", "I3"),
    cycle("QUORUM", "I3"),
    cycle("POLICY_LEAF", "I3"),
    cycle("LOG_MEMORY", "I4_LOG"),
    cycle("POLICY_VERSION", "I4_POLICY"),
    cycle("ATTEMPT", "I4_ATTEMPT"),
    cycle("ORDER_REQUEST", "I4_ATTEMPT"),
    # A claim that was lost with its process is read again in the log.
    cycle("DURABLE", "I4_ATTEMPT", *HOSTILE, "NO_CHECK_CATCH_UP"),
    cycle("START", "I4_INTENT", *RESTORED),
    cycle("NONCE", "I4_INTENT", *RESTORED),
    # An older intent under a younger index has an attempt that was read, so this one is seen without reading only.
    cycle("PROOF_INDEX", "I4_INTENT", *RESTORED, "NO_CHECK_CATCH_UP"),
    *(cycle("CATCH_UP", broken, *RESTORED) for broken in ("GOAL", "I1", "I4_POLICY", "I4_ATTEMPT")),
    cycle("READ_PLACE", "I4_POLICY", *RESTORED),
    # Two checks that stand behind each other: without both an intent is used twice, without the first it is not.
    cycle("INTENT_USED", "I4_INTENT", *HOSTILE, "NO_CHECK_ATTEMPT"),
    cycle("WITNESS", "I4_LOG", *HONEST),
    # What a recovery forgot, a keyholder that reads the log would refuse.
    cycle("RECOVER_POLICY", "I4_POLICY", *HONEST, "NO_CHECK_CATCH_UP"),
    cycle("RECOVER_ATTEMPTS", "I4_ATTEMPT", *HONEST, "NO_CHECK_CATCH_UP"),
    bounds("FRESH_AGE", "I5_REVOKED"),
    bounds("FRESH_MINIMUM", "I5_REVOKED"),
    bounds("REVOKED", "I5_REVOKED"),
    bounds("REVOKED_MEMORY", "I4_REVOKED"),
    # Freshness from after the delay stands behind the delay itself, for releases, which are all that is modelled.
    bounds("DELAY", "DELAY_KEPT", "NO_CHECK_FRESH_AFTER"),
    bounds("WEAKER_THAN_IN_FORCE", "DELAY_KEPT", "NO_CHECK_FRESH_AFTER"),
    bounds("HALT", "HALT_HEARD"),
    bounds("HALT_NAMED", "I5_HALT"),
    bounds("HALT_KNOWN", "I5_HALT"),
    bounds("FRESH_AFTER", "RECALL"),
    bounds("OWN_LEAF", "I5_REVOKED"),
    *(bounds("CATCH_UP", broken, "RESTORE_KEYHOLDER", "GATE_LOGS") for broken in ("HALT_HEARD", "I4_REVOKED")),
    bounds("TIME", "DELAY_KEPT", "CLOCK_MOVED", "NO_CHECK_FRESH_AFTER"),
    bounds("FLOOR", "I4_CLOCK", "CLOCK_MOVED"),
]

#: What the protocol does not give, with the sequence in README.md; a run that no longer finds it is news.
FINDINGS = [
    Run("cycle", (*HOSTILE, "RESTORE_MEMORY", "WATCH=WATCH_I4_INTENT"), "I4_INTENT"),
    Run("cycle", (*HOSTILE, "TWO_HOSTILE", "WATCH=WATCH_GOAL"), "GOAL"),
    Run("bounds", ("CLOCK_MOVED", "WATCH=WATCH_I5_REVOKED"), "I5_REVOKED"),
    Run("bounds", ("RESTORE_KEYHOLDER", "WATCH=WATCH_I4_REVOKED"), "I4_REVOKED"),
    Run("bounds", ("RESTORE_KEYHOLDER", "WATCH=WATCH_HALT_HEARD"), "HALT_HEARD"),
]

#: What would give it.
PROPOSED = [
    Run("bounds", ("MONOTONIC", "CLOCK_MOVED")),
]

ALIVE = [
    *(Run("cycle", (*base, "WATCH=WATCH_SIGNED"), "SIGNED") for base in (HOSTILE, RESTORED, HONEST)),
    Run("bounds", ("WATCH=WATCH_WEAKENED",), "WEAKENED"),
]


def explore(run: Run, folder: Path) -> str:
    """Have spin make the verifier of ``run`` in ``folder``, and return what it says at its end."""
    spin, gcc = require_tool("spin", "spin"), require_tool("gcc", "gcc")
    for file in MODEL.glob("*.pml"):
        (folder / file.name).write_bytes(file.read_bytes())
    switches = [f"-D{switch}" for switch in run.switches]
    # Most counterexamples are found sooner than an optimised verifier is built.
    long = (
        run.model == "cycle" and (run.breaks is None or "RESTORE_KEYHOLDER" in run.switches) and run.breaks != "SIGNED"
    )
    optimise = "-O2" if long else "-O0"
    limits = ["-DSAFETY", "-DNOREDUCE", f"-DMEMLIM={MEGABYTES}"]
    said = ""
    for command in (
        [spin, "-a", *switches, f"{run.model}.pml"],
        [gcc, optimise, "-w", *limits, "-o", "pan", "pan.c"],
        [str(folder / "pan"), "-m100000", "-w22"],
    ):
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=SECONDS, check=False)
        said = done.stdout + done.stderr
        assert done.returncode == 0, said
    return said


def broken(said: str) -> str | None:
    """The invariant of which the verifier found a counterexample; None after a search that is complete."""
    errors = re.search(r"errors: (\d+)", said)
    assert errors is not None, said
    found = re.search(r"assertion violated (\w+)", said)
    if found is None:
        assert errors[1] == "0", said
        assert not re.search(
            r"Search not completed|max search depth too small|out of memory|hash-compact|Bit statespace", said
        ), said
        return None
    return found[1]


@pytest.mark.parametrize("run", HOLDS, ids=lambda run: run.name)
def test_invariants_hold_in_every_reachable_state(run, tmp_path):
    assert broken(explore(run, tmp_path)) is None


@pytest.mark.parametrize("run", MISSED, ids=lambda run: run.name)
def test_without_a_check_its_invariant_breaks(run, tmp_path):
    assert broken(explore(run, tmp_path)) == run.breaks


@pytest.mark.parametrize("run", FINDINGS, ids=lambda run: run.name)
def test_what_the_protocol_does_not_give_is_found(run, tmp_path):
    assert broken(explore(run, tmp_path)) == run.breaks


@pytest.mark.parametrize("run", PROPOSED, ids=lambda run: run.name)
def test_what_is_proposed_would_give_it(run, tmp_path):
    assert broken(explore(run, tmp_path)) is None


@pytest.mark.parametrize("run", ALIVE, ids=lambda run: run.name)
def test_the_model_can_do_what_it_is_for(run, tmp_path):
    assert broken(explore(run, tmp_path)) == run.breaks


def switches_of_the_model() -> set[str]:
    text = "".join(file.read_text(encoding="utf-8") for file in MODEL.glob("*.pml"))
    return set(re.findall(r"NO_CHECK_\w+", text))


def test_every_check_of_the_model_is_taken_away_once():
    taken = {switch for run in MISSED for switch in run.switches if switch.startswith("NO_CHECK_")}
    assert taken == switches_of_the_model()


def test_the_readme_names_every_check_and_code_that_is_there():
    text = (MODEL / "README.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(NO_CHECK_\w+)` \|[^|]*\| ([^|]*) \|", text, re.MULTILINE))
    assert set(rows) == switches_of_the_model()
    for switch, where in rows.items():
        named = re.findall(r"`([\w/]+\.py): ([\w.]+)`", where)
        assert named, switch
        for file, function in named:
            source = (ROOT / "src/signwright" / file).read_text(encoding="utf-8")
            assert re.search(rf"(def|class) {function.rsplit('.')[-1]}\b", source), (
                f"{switch}: {file} has no {function}"
            )
