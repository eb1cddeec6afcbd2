# SPDX-License-Identifier: Apache-2.0
"""A hub and a log that show one thing to the witnesses and another to us. The witness is the real process."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from signwright.client.log_reader import open_log
from signwright.client.witness_view import Asked, ask_all, caught_up, compare
from signwright.transparency.cosignature import LogTrust, Quorum, WitnessKey
from tests.support.logs import ORIGIN, MemoryLog, log_key
from tests.support.witnesses import RunningWitness, create_witness, run_witness, write_settings

LEAVES = [b"leaf %d" % n for n in range(300)]


@pytest.fixture(scope="module")
def witness(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningWitness]:
    """It has cosigned the first 270 leaves."""
    settings = write_settings(tmp_path_factory.mktemp("witness"))
    with run_witness(settings, create_witness(settings)) as running:
        running.cosign(MemoryLog(LEAVES[:270]), old_size=0)
        yield running


def trust(key: WitnessKey) -> LogTrust:
    return LogTrust(ORIGIN, (log_key().verifier,), Quorum((key,), 0, 0))


def shown(log: MemoryLog, key: WitnessKey):
    return open_log(trust(key), log.note(), log.files.__getitem__)


def told(log: MemoryLog, witness: RunningWitness, *, now: datetime | None = None) -> list[tuple[str, str]]:
    views, alarms = ask_all([Asked(witness.key, witness.url)], trust(witness.key))
    alarms += compare(shown(log, witness.key), views, now=now or datetime.now(UTC))
    return [(alarm.code, str(alarm.severity)) for alarm in alarms]


@pytest.mark.parametrize("size", [270, 271, 300])
def test_a_log_that_continues_what_the_witness_saw_is_quiet(witness, size):
    assert told(MemoryLog(LEAVES[:size]), witness) == []


@pytest.mark.parametrize("size", [1, 269])
def test_a_log_that_is_shorter_than_the_witness_saw_is_withheld(witness, size):
    assert told(MemoryLog(LEAVES[:size]), witness) == [("log-withheld", "error")]


@pytest.mark.parametrize("size", [270, 271, 300])
@pytest.mark.parametrize("changed", [0, 128, 269])
def test_a_log_with_another_leaf_than_the_witness_saw_is_a_fork(witness, size, changed):
    leaves = [*LEAVES[:changed], b"another leaf", *LEAVES[changed + 1 : size]]
    assert told(MemoryLog(leaves), witness) == [("log-fork", "error")]


def test_a_witness_that_stopped_to_watch_is_a_warning(witness):
    now = datetime.now(UTC) + timedelta(hours=25)
    assert told(MemoryLog(LEAVES), witness, now=now) == [("witness-silent", "warning")]


def test_a_stranger_at_the_address_of_the_witness_is_an_alarm(witness):
    """Cosigned by somebody, but not by the witness whose name is trusted."""
    stranger = WitnessKey("witness.example/w2", bytes(32), "nobody", True)
    views, alarms = ask_all([Asked(stranger, witness.url)], trust(witness.key))
    assert (views, [alarm.code for alarm in alarms]) == ([], ["bad-witness"])


def test_a_witness_that_knows_nothing_of_the_log_or_is_gone_is_a_warning(witness):
    other = LogTrust("other.example/log", (log_key("other.example/log").verifier,), trust(witness.key).quorum)
    for url, believed in ((witness.url, other), ("http://127.0.0.1:1", trust(witness.key))):
        views, alarms = ask_all([Asked(witness.key, url)], believed)
        assert (views, [(a.code, str(a.severity)) for a in alarms]) == ([], [("witness-silent", "warning")])


def test_a_checkpoint_that_is_cosigned_and_not_published_yet_is_waited_for(witness):
    views, _ = ask_all([Asked(witness.key, witness.url)], trust(witness.key))
    short, long = (shown(MemoryLog(LEAVES[:size]), witness.key) for size in (200, 270))
    waited: list[int] = []

    def again():
        return long if len(waited) == 2 else short

    found = caught_up(short, views, again, tries=5, pause=lambda: waited.append(1))
    assert (found.checkpoint.size, len(waited)) == (270, 2)
    never = caught_up(short, views, lambda: short, tries=3, pause=lambda: waited.append(1))
    assert (never.checkpoint.size, len(waited)) == (200, 5)
