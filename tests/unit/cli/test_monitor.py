# SPDX-License-Identifier: Apache-2.0
"""``signwright monitor``: what it says, what it remembers, how it ends."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from signwright.cli.main import run
from signwright.cli.monitor import parse_hours
from signwright.client.log_reader import LogReader, open_log
from signwright.client.recounting import published
from signwright.errors import UsageError
from signwright.model.times import format_time
from signwright.policy import documents as d
from signwright.statements.writing import public_text
from signwright.transparency.leaf import EpochLeaf, GenesisLeaf, HaltLeaf, ResumeLeaf
from tests.support.served_log import Served, served_log
from tests.support.signing import MemoryLog
from tests.support.world import ORIGIN, key_id, ssh_line


@pytest.fixture
def served(tmp_path, monkeypatch) -> Iterator[Served]:
    with served_log(tmp_path, monkeypatch) as found:
        yield found


def rows(capsys) -> list[dict]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_the_monitor_is_quiet_then_alarms_and_remembers(served, capsys, tmp_path):
    state = str(tmp_path / "monitor.json")
    assert run(["monitor", "--once", "--from-state", state]) == 0
    assert capsys.readouterr().out == ""
    remembered = json.loads((tmp_path / "monitor.json").read_text())
    assert remembered["seen"]["size"] == 4
    before = served.world.log
    served.world.log = MemoryLog(served.world.world)
    served.world.log.append(EpochLeaf(time=format_time(served.time - timedelta(hours=1))).encode())
    served.publish()
    assert run(["monitor", "--once", "--from-state", state]) == 8
    out = capsys.readouterr().out
    assert "ALARM log-rollback: log: the log has 1 leaves, and 4 were seen before" in out
    assert "ALARM genesis: leaf 0" in out
    assert json.loads((tmp_path / "monitor.json").read_text()) == remembered
    served.world.log = before
    served.publish()
    assert run(["monitor", "--once", "--from-state", state, "--output", "json"]) == 0


def test_the_monitor_remembers_each_log_apart_and_takes_no_other_logs_memory(served, capsys, tmp_path):
    assert run(["monitor", "--once"]) == 0
    memory = list((tmp_path / "state" / "signwright" / "monitor").iterdir())
    assert [json.loads(file.read_text())["seen"]["origin"] for file in memory] == [ORIGIN]
    other = tmp_path / "other.json"
    text = memory[0].read_text()
    other.write_text(text.replace(ORIGIN, "another.example/log"))
    capsys.readouterr()
    assert run(["monitor", "--once", "--from-state", str(other)]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "remembers the log another.example/log" in captured.err
    assert other.read_text() == text.replace(ORIGIN, "another.example/log")


def test_a_receipt_that_came_home_before_its_leaf_was_published_is_waited_for(served):
    trust = served.world.trust()

    def read() -> LogReader:
        return open_log(trust.log_trust, served.files["checkpoint"], dict(served.files).__getitem__)

    early = read()
    bundle = served.world.make("raw").bundle
    waited = []

    def pause(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 2:
            served.publish()

    assert published(bundle, early, read, tries=2, pause=pause).checkpoint.size > early.checkpoint.size
    assert len(waited) == 2
    assert published(bundle, early, lambda: early, tries=2, pause=waited.append) is early


def test_an_unreachable_server_is_no_alarm_but_an_error(served, monkeypatch):
    monkeypatch.setenv("SIGNWRIGHT_URL", "http://127.0.0.1:1")
    assert run(["monitor", "--once"]) == 7


def test_json_is_a_line_for_each_alarm_and_one_for_the_look(served, capsys):
    assert run(["monitor", "--output", "json"]) == 0
    (look,) = rows(capsys)
    assert look.items() >= {"type": "look", "ok": True, "size": 4, "leaves": 4, "errors": 0, "receipts": 0}.items()
    halt = HaltLeaf(statement="a" * 64, policy_version=2, time=format_time(served.time))
    served.world.log.append(halt.encode())
    served.publish()
    assert run(["monitor", "--output", "json"]) == 8
    *alarms, look = rows(capsys)
    assert [(row["type"], row["code"], row["severity"], row["index"]) for row in alarms] == [
        ("alarm", "halt", "error", 4),
        ("alarm", "still-halted", "warning", None),
    ]
    assert look.items() >= {"type": "look", "ok": False, "leaves": 1, "errors": 1, "warnings": 1}.items()
    # The leaf was told of; that the halt is not ended is a warning, which is no failure.
    assert run(["monitor", "--output", "json"]) == 0
    assert [row.get("code") for row in rows(capsys)] == ["still-halted", None]
    assert run(["monitor", "--output", "json", "--from-start"]) == 8


def test_an_error_is_json_as_well(served, capsys, monkeypatch):
    monkeypatch.setenv("SIGNWRIGHT_URL", "http://127.0.0.1:1")
    assert run(["monitor", "--output", "json"]) == 7
    assert [row["error"]["code"] for row in rows(capsys)] == ["hub-unreachable"]


def test_only_new_leaves_are_read_the_second_time(served, capsys):
    assert run(["monitor"]) == 0
    assert "4 leaves read" in capsys.readouterr().err
    served.world.log.append(EpochLeaf(time=format_time(served.time)).encode())
    served.publish()
    assert run(["monitor"]) == 0
    assert "size 5, 1 leaves read" in capsys.readouterr().err
    assert run(["monitor", "--from-start"]) == 0
    assert "size 5, 5 leaves read" in capsys.readouterr().err


def test_who_is_new_in_the_hubs_policy_is_told_once(served, capsys):
    assert run(["monitor"]) == 0
    world = served.world.world
    people, credentials = (world.documents()[name] for name in ("people", "credentials"))
    mallory = d.Person(groups=("release",), keys=(ssh_line(Ed25519PrivateKey.generate()),))
    machine = Ed25519PrivateKey.generate()
    row = d.Credential(public_key=public_text(machine), kind="test", description="another")
    world.with_documents(
        people=d.People(people={**people.people, "mallory": mallory}),
        credentials=d.Credentials(credentials={**credentials.credentials, key_id(machine): row}),
    )
    served.world.load()
    served.publish_policy()
    served.world.log.append(served.policy_leaf().encode())
    served.publish()
    capsys.readouterr()
    assert run(["monitor"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "WARNING new-person: log: policy version 3 (before: 2): mallory may approve",
        f"WARNING new-credential: log: policy version 3 (before: 2): credential {key_id(machine)} may be used (test)",
    ]
    assert run(["monitor"]) == 0
    assert capsys.readouterr().out == ""


def test_a_policy_that_the_log_does_not_know_under_its_version_is_a_fork(served, capsys):
    served.world.log.append(
        served.policy_leaf().model_copy(update={"policy_version": 3, "policy_sha256": "e" * 64}).encode()
    )
    served.publish()
    served.world.load()
    served.publish_policy()
    assert run(["monitor"]) == 8
    assert "ALARM policy-fork: log: policy version 3" in capsys.readouterr().out


def test_a_hub_that_hides_or_takes_back_the_policy_is_an_alarm(served, capsys):
    served.world.load()
    newer = dict(served.answers)
    served.publish_policy()
    assert run(["monitor"]) == 0
    served.answers = newer
    capsys.readouterr()
    assert run(["monitor"]) == 8
    assert "ALARM policy-rollback" in capsys.readouterr().out
    del served.answers["/v1/policy"]
    assert run(["monitor"]) == 8
    assert "ALARM not-found: log: the hub's policy" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["folder", "server"])
def test_a_mirror_is_enough(served, capsys, tmp_path, monkeypatch, kind):
    monkeypatch.delenv("SIGNWRIGHT_URL")
    mirror = str(served.write(tmp_path / "mirror")) if kind == "folder" else f"{served.url}/v1/log"
    assert run(["monitor", "--log", mirror]) == 0
    assert "size 4, 4 leaves read" in capsys.readouterr().err


def test_a_mirror_without_a_log_is_an_error(served, tmp_path):
    assert run(["monitor", "--log", str(tmp_path / "nowhere")]) == 2
    assert run(["monitor", "--log", str(tmp_path)]) == 1


def test_the_address_of_a_hub_may_stand_behind_log(served, capsys, monkeypatch):
    monkeypatch.delenv("SIGNWRIGHT_URL")
    assert run(["monitor", "--log", served.url]) == 0
    assert "0 receipts counted again" in capsys.readouterr().err


def test_followed_for_ever_what_stands_is_told_once_and_so_is_its_end(served):
    """In a process of its own, which is ended by its id."""
    time = format_time(served.time)
    served.world.log.append(HaltLeaf(statement="a" * 64, policy_version=1, time=time).encode())
    served.publish()
    command = [sys.executable, "-m", "signwright.cli", "monitor", "--follow", "--interval", "1", "--output", "json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            told = [json.loads(process.stdout.readline()) for _ in range(4)]
            resume = ResumeLeaf(statement="b" * 64, halts=("a" * 64,), policy_version=2, time=time)
            served.world.log.append(resume.encode())
            served.publish()
            while told[-1].get("code") != "resume":
                told.append(json.loads(process.stdout.readline()))
            told += [json.loads(process.stdout.readline()) for _ in range(2)]
        finally:
            process.terminate()
            _, err = process.communicate()
    assert [row.get("code") for row in told[:4]] == ["halt", "still-halted", None, None]
    assert [row.get("warnings") for row in told if row["type"] == "look"][:2] == [1, 1]
    assert [(row["leaves"], row["warnings"]) for row in told[-2:]] == [(1, 1), (0, 0)]
    assert "over: still-halted: log: 1 halts are not over" in err


@pytest.mark.parametrize("text", ["07", "7-25", "19-", "a-b", "07:60-08", "07-19-20", "0٣-04"])
def test_hours_that_are_none_are_refused(text):
    with pytest.raises(UsageError):
        parse_hours(text, "UTC")


def test_hours_are_those_of_their_zone_and_may_pass_midnight():
    noon = datetime(2026, 11, 21, 12, tzinfo=UTC)
    assert parse_hours("07-19", "UTC").hold(noon)
    assert not parse_hours("13-19", "UTC").hold(noon)
    assert parse_hours("13:00-24", "Europe/Zurich").hold(noon)
    night = parse_hours("22:30-06", "UTC")
    assert [night.hold(noon.replace(hour=h, minute=m)) for h, m in ((22, 29), (22, 30), (0, 0), (5, 59), (6, 0))] == [
        *(False, True, True, True, False)
    ]
    with pytest.raises(UsageError):
        parse_hours("07-19", "Europe/Nowhere")


def test_a_witness_that_the_trust_file_does_not_name_is_refused(served, capsys):
    assert run(["monitor", "--witness", "w9=http://127.0.0.1:1"]) == 2
    assert run(["monitor", "--witness", "w1"]) == 2
    assert "NAME one of w1" in capsys.readouterr().err
    assert run(["monitor", "--witness", "w1=http://witness.example"]) == 2


def test_a_witness_that_does_not_answer_is_a_warning(served, capsys):
    assert run(["monitor", "--witness", "w1=http://127.0.0.1:1"]) == 0
    assert "WARNING witness-silent: log: witness w1 does not tell" in capsys.readouterr().out


def test_followed_while_the_hub_is_away_the_error_is_told_and_it_goes_on(served, monkeypatch):
    monkeypatch.setenv("SIGNWRIGHT_URL", "http://127.0.0.1:1")
    command = [sys.executable, "-m", "signwright.cli", "monitor", "--follow", "--interval", "1", "--output", "json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            told = [json.loads(process.stdout.readline()) for _ in range(2)]
        finally:
            process.terminate()
            process.communicate()
    assert [row["error"]["code"] for row in told] == ["hub-unreachable", "hub-unreachable"]


def test_an_air_gap_in_the_trust_file_makes_the_monitor_patient(served, capsys, tmp_path):
    trust = served.world.trust()
    old = served.time - timedelta(hours=20)
    served.world.log = MemoryLog(served.world.world)
    time = format_time(old)
    genesis = GenesisLeaf(root_sha256=trust.policy_root_sha256, origin=ORIGIN, profile=3, trial=True, time=time)
    served.world.log.append(genesis.encode(), EpochLeaf(time=time).encode())
    served.files = {"checkpoint": served.world.log.note(old), **served.world.log.tiles}
    assert run(["monitor", "--from-state", "a", "--no-receipts"]) == 8
    assert [line.split()[1] for line in capsys.readouterr().out.splitlines()] == ["stale-checkpoint:", "no-heartbeat:"]
    quorum = trust.quorum.model_copy(update={"window_minutes": 2880})
    (tmp_path / "trust.json").write_bytes(trust.model_copy(update={"quorum": quorum}).encode())
    assert run(["monitor", "--from-state", "b", "--no-receipts"]) == 0
