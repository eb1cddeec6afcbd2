# SPDX-License-Identifier: Apache-2.0
"""Halts, resumes and starts that somebody would like to be true, at the keyholder's door; and those that are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from signwright.model.times import format_time
from signwright.statements.dsse import Envelope, statement_digest
from signwright.statements.models import Halt, Resume
from signwright.statements.writing import statement_payload
from tests.support.doors import Door, open_door
from tests.support.roots import Keepers, signed


def halt(door: Door, *names: str, root_sha256: str | None = None) -> Envelope:
    now = format_time(door.keepers.world.now)
    said = Halt(reason="a stolen laptop", nonce="00" * 16, created=now)
    payload = statement_payload(said, [("policy-root", root_sha256 or door.policy.root_sha256)])
    return signed(payload, [door.keepers.keys[name] for name in names], "halt")


def resume(door: Door, halted: Envelope, *names: str, version: int = 3, **changes: Any) -> Envelope:
    now = format_time(door.keepers.world.now)
    digest = statement_digest("halt", halted)
    said = Resume(halts=(digest,), policy_version=version, reason="it was found", created=now)
    payload = statement_payload(said, [("policy-root", changes.get("root_sha256", door.policy.root_sha256))])
    return signed(payload, [door.keepers.keys[name] for name in names], "resume")


def newer_policy(door: Door, version: int = 3) -> None:
    root = door.keepers.root(2, ("anna", "ben"))
    older = {1: door.keepers.genesis}
    offer = door.keepers.policy(door.second.root, root, "anna", "ben", version=version, older=older)
    door.policy = door.load(offer, door.policy)


def says(door: Door, verb: str, envelope: Envelope) -> str:
    """``ok`` or the code of the refusal."""
    answer, _ = door.ask({"verb": verb}, [envelope.encode()])
    return "ok" if answer["ok"] else str(answer["code"])


def signs(door: Door) -> bool:
    """Whether an operation in due form reaches the key now."""
    answer, _ = door.use(door.operation("anna", "ben"))
    assert answer["ok"] or answer["code"] == "halted", answer
    return bool(answer["ok"])


def test_halt_of_a_stranger_or_for_another_root_stops_nothing(door: Door) -> None:
    assert says(door, "halt", halt(door, "mallory")) == "too-few-keepers"
    assert says(door, "halt", halt(door, "anna", root_sha256=Keepers().pinned)) == "unknown-policy-root"
    assert signs(door)


def test_halt_that_names_an_older_root_of_ours_counts(door: Door) -> None:
    """A panic key at hand may have seen the first root only."""
    assert says(door, "halt", halt(door, "ben", root_sha256=door.keepers.pinned)) == "ok"
    assert not signs(door)


@pytest.mark.parametrize(
    ("names", "code"), [(("anna",), "too-few-keepers"), (("anna", "anna"), "too-few-keepers"), ((), None)]
)
def test_resume_of_less_than_the_threshold_ends_nothing(door: Door, names: tuple[str, ...], code: str) -> None:
    stopped = halt(door, "anna")
    assert says(door, "halt", stopped) == "ok"
    said = says(door, "resume", resume(door, stopped, *names))
    assert said == code if names else said != "ok"
    newer_policy(door)
    assert not signs(door)
    assert door.operations == 0


def test_resume_for_another_root_ends_nothing(door: Door) -> None:
    stopped = halt(door, "anna")
    assert says(door, "halt", stopped) == "ok"
    foreign = resume(door, stopped, "anna", "ben", root_sha256=Keepers().pinned)
    assert says(door, "resume", foreign) == "unknown-policy-root"
    newer_policy(door)
    assert not signs(door)


def test_resume_counts_only_with_the_newer_policy_that_it_names(door: Door) -> None:
    stopped = halt(door, "anna")
    assert says(door, "halt", stopped) == "ok"
    assert says(door, "resume", resume(door, stopped, "anna", "ben", version=4)) == "ok"
    assert not signs(door)
    newer_policy(door, 3)
    assert not signs(door)
    newer_policy(door, 4)
    assert signs(door)
    assert door.operations == 1


def test_resume_that_names_the_policy_of_the_halt_ends_nothing(door: Door) -> None:
    """A resume that was signed ahead, under the policy that was in force when the halt came."""
    stopped = halt(door, "anna")
    assert says(door, "halt", stopped) == "ok"
    assert says(door, "resume", resume(door, stopped, "anna", "ben", version=2)) == "ok"
    newer_policy(door, 3)
    assert not signs(door)


@pytest.mark.parametrize("change", [{"nonce": "11" * 16}, {"number": 7}], ids=str)
def test_start_of_another_process_is_not_this_ones(tmp_path: Path, change: dict[str, Any]) -> None:
    with open_door(tmp_path, started=False) as door:
        answer = door.read_and_start(**change)
        assert (answer["ok"], answer["code"]) == (False, "wrong-start")
