# SPDX-License-Identifier: Apache-2.0
"""The monitor: an honest log is quiet, and each rule that is broken in it is one alarm with its code."""

from __future__ import annotations

from datetime import timedelta

import pytest

from signwright.client.alarms.base import Limits, Severity, Site
from signwright.client.alarms.history import History
from signwright.client.log_reader import open_log
from signwright.client.monitor_state import MonitorState, load_state, save_state
from signwright.client.monitoring import MAX_ALARMS, Monitor, check_log
from signwright.client.recounting import recheck
from signwright.errors import ConfigurationError, NotFoundError, UsageError, VerificationError
from signwright.statements.models import SeenCheckpoint
from signwright.transparency.leaf import DenyLeaf, EpochLeaf
from tests.support.leaves import BEAT, HONEST, OTHER, ROOT, at, genesis, intent, policy, result
from tests.support.receipts import SignedWorld
from tests.support.signing import MemoryLog
from tests.support.world import NOW, ORIGIN

SITE = Site(True, ORIGIN, ROOT)


def codes(*leaves, now=NOW, trial=True) -> list[str]:
    monitor = Monitor(Site(trial, ORIGIN, ROOT))
    monitor.see(enumerate(leaf if isinstance(leaf, bytes) else leaf.encode() for leaf in leaves))
    return [alarm.code for alarm in monitor.end(now=now)]


def test_an_honest_log_is_quiet():
    assert codes(*HONEST) == []


@pytest.mark.parametrize(
    ("leaves", "code"),
    [
        ((genesis(root_sha256=OTHER), policy(), BEAT), "genesis"),
        ((genesis(origin="elsewhere"), policy(), BEAT), "genesis"),
        ((policy(), BEAT), "genesis"),
        ((genesis(), genesis(), policy(), BEAT), "genesis"),
        ((genesis(), policy(2), policy(1), BEAT), "policy-rollback"),
        ((genesis(), policy(1), policy(1), BEAT), "policy-rollback"),
        ((genesis(), policy(), b"not a leaf", BEAT), "bad-leaf"),
        ((genesis(), policy(), intent(policy_sha256=OTHER), result(), BEAT), "unknown-policy"),
        ((genesis(), policy(), intent(policy_version=2), result(), BEAT), "unknown-policy"),
        ((genesis(), policy(), policy(2), intent(), result(3), BEAT), "old-policy"),
        ((genesis(), policy(), intent(trial=False, key_protection="claimed"), result(), BEAT), "trial"),
        ((genesis(), policy(), intent(approvals=()), result(), BEAT), "no-approval"),
        ((genesis(), policy(), intent(evidence=()), result(), BEAT), "no-evidence"),
        ((genesis(), policy(), intent(mode="digest", content_seen=False), result(), BEAT), "no-exception"),
        ((genesis(), policy(), intent(content_seen=False), result(), BEAT), "bad-intent"),
        ((genesis(), policy(), intent(), intent(), result(2), result(3, outcome="failed"), BEAT), "attempt"),
        ((*HONEST, intent(attempt=2), result(5, attempt=2, outcome="failed")), "signed-again"),
        ((*HONEST, result()), "stray-result"),
        ((genesis(), policy(), result(), BEAT), "stray-result"),
        ((genesis(), policy(), intent(), result(request=OTHER), BEAT), "wrong-result"),
        ((genesis(), policy(), intent(), result(signature_sha256=()), BEAT), "wrong-result"),
        ((genesis(), policy(), intent(), result(timestamps="none"), BEAT), "no-timestamp"),
        ((*HONEST, EpochLeaf(time=at(-30))), "clock"),
        ((*HONEST, EpochLeaf(time=at(60))), "future"),
    ],
)
def test_a_broken_rule_is_an_alarm(leaves, code):
    assert codes(*leaves) == [code]


def test_an_intent_without_result_is_an_alarm_after_a_while():
    leaves = (genesis(), policy(), intent(), BEAT)
    assert codes(*leaves, now=NOW + timedelta(minutes=14)) == []
    assert codes(*leaves, now=NOW + timedelta(minutes=16)) == ["no-result"]


def test_a_young_log_without_a_heartbeat_is_no_alarm():
    assert codes(genesis(), policy(), now=NOW + timedelta(minutes=30)) == []
    assert codes(genesis(), policy(), now=NOW + timedelta(hours=3)) == ["no-heartbeat"]


def test_a_missing_heartbeat_is_an_alarm_now_and_in_the_past():
    assert codes(*HONEST, now=NOW + timedelta(hours=3)) == ["no-heartbeat"]
    assert codes(*HONEST, EpochLeaf(time=at(180)), now=NOW + timedelta(hours=3)) == ["heartbeat-gap"]


def test_an_unknown_result_may_become_known_once():
    leaves = (genesis(), policy(), intent(), result(outcome="unknown"), result(), BEAT)
    assert codes(*leaves) == []
    assert codes(*leaves, result()) == ["stray-result"]


def test_where_media_are_carried_what_is_missing_may_be_on_its_way():
    site = Site(True, ORIGIN, ROOT, Limits(carried=timedelta(hours=48)))
    monitor = Monitor(site)
    monitor.see(enumerate(leaf.encode() for leaf in (genesis(), policy(), intent(), BEAT)))
    told = {
        hours: [alarm.code for alarm in monitor.missing(now=NOW + timedelta(hours=hours))] for hours in (48, 49, 51)
    }
    assert told == {48: [], 49: ["no-result"], 51: ["no-result", "no-heartbeat"]}


def test_many_refusals_in_a_short_time_are_one_alarm():
    denials = [DenyLeaf(request=OTHER, codes=("approvals",), count=5, time=at(i)) for i in range(6)]
    assert codes(*HONEST, *denials, now=NOW + timedelta(minutes=10)) == ["denials"]
    slow = [DenyLeaf(request=OTHER, codes=("approvals",), count=5, time=at(15 * i)) for i in range(6)]
    assert codes(*HONEST, *slow, now=NOW + timedelta(minutes=90)) == []
    assert Limits().denials == 20


def test_a_software_key_for_a_release_outside_a_trial_is_an_alarm():
    found = codes(genesis(trial=False), policy(), intent(trial=False), result(), BEAT, trial=False)
    assert found == ["software-key"]


@pytest.fixture(scope="module")
def world():
    return SignedWorld()


def log_of(world, leaves, **note):
    log = MemoryLog(world.world)
    log.append(*(leaf.encode() for leaf in leaves))
    return log, open_log(world.trust().log_trust, log.note(NOW, **note), log.tiles.__getitem__)


def test_leaves_are_proved_against_the_checkpoint_across_bundles(world):
    log, reader = log_of(world, [*HONEST, *(EpochLeaf(time=at(i / 60)) for i in range(600))])
    assert [index for index, _ in reader.leaves(250, 260)] == list(range(250, 260))
    assert len(list(reader.all_leaves())) == log.frontier.size == 605
    content, proof = reader.proof(300)
    assert proof.verify(content, world.trust().log_trust)
    with pytest.raises(UsageError):
        list(reader.leaves(606, 700))


def test_an_edited_entry_is_noticed_even_when_the_tiles_are_true(world):
    log, reader = log_of(world, HONEST)
    (name,) = [path for path in log.tiles if "entries" in path]
    log.tiles[name] = log.tiles[name].replace(b'"approve', b'"approvE').replace(OTHER.encode(), b"e" * 64, 1)
    with pytest.raises(VerificationError):
        list(reader.all_leaves())
    with pytest.raises(VerificationError):
        list(reader.leaves(2, 3))


def test_an_unwitnessed_checkpoint_is_not_opened(world):
    with pytest.raises(VerificationError) as caught:
        log_of(world, HONEST, witnesses=[])
    assert caught.value.code == "no-quorum"


def checked(reader, before=None, now=NOW):
    found = check_log(reader, SITE, seen=before, history=None, now=now)
    return [alarm.code for alarm in (*found.alarms, *found.standing)]


def test_a_log_that_went_back_or_was_forked_is_an_alarm(world):
    _, short = log_of(world, HONEST)
    log, long = log_of(world, [*HONEST, BEAT])
    seen = SeenCheckpoint(origin=ORIGIN, size=log.checkpoint.size, root=log.checkpoint.root.hex())
    assert checked(long, seen) == []
    assert checked(short, seen) == ["log-rollback"]
    _, forked = log_of(world, [*HONEST, EpochLeaf(time=at(1))])
    assert checked(forked, seen) == ["bad-proof"]


def test_a_hidden_bundle_is_an_alarm(world):
    log, _ = log_of(world, HONEST)

    def missing(path):
        raise NotFoundError(f"no {path}")

    reader = open_log(world.trust().log_trust, log.note(NOW), missing)
    assert checked(reader) == ["log-incomplete"]


def test_a_checkpoint_that_grew_old_is_an_alarm(world):
    _, reader = log_of(world, HONEST)
    assert checked(reader, now=NOW + timedelta(hours=3)) == ["stale-checkpoint", "no-heartbeat"]


def seen_of(reader) -> SeenCheckpoint:
    return SeenCheckpoint(origin=ORIGIN, size=reader.checkpoint.size, root=reader.checkpoint.root.hex())


@pytest.mark.parametrize("size", [1, 4, 255, 256, 257, 600])
def test_each_leaf_is_read_once_and_what_they_told_is_kept(world, size):
    """Cut anywhere, two looks find what one look finds, and the second reads only what is new."""
    leaves = [*HONEST, *(EpochLeaf(time=at(i / 60)) for i in range(600)), result(99), BEAT]
    _, first = log_of(world, leaves[:size])
    _, whole = log_of(world, leaves)
    early = check_log(first, SITE, seen=None, history=None, now=NOW)
    kept = History.model_validate_json(early.history.model_dump_json())
    late = check_log(whole, SITE, seen=seen_of(first), history=kept, now=NOW)
    assert (early.leaves, late.leaves) == (size, len(leaves) - size)
    assert late.history == check_log(whole, SITE, seen=None, history=None, now=NOW).history
    found = [(alarm.code, alarm.index) for alarm in (*early.alarms, *late.alarms)]
    assert found == [("stray-result", 605)]


def test_an_intent_stays_open_over_two_looks(world):
    _, first = log_of(world, HONEST[:3])
    _, whole = log_of(world, [*HONEST[:3], BEAT])
    early = check_log(first, SITE, seen=None, history=None, now=NOW)
    late = check_log(whole, SITE, seen=seen_of(first), history=early.history, now=NOW + timedelta(minutes=16))
    assert [(alarm.code, alarm.index) for alarm in late.standing] == [("no-result", 2)]


def test_a_log_that_does_not_hold_is_not_remembered(world):
    log, reader = log_of(world, HONEST)
    (name,) = [path for path in log.tiles if "entries" in path]
    log.tiles[name] = log.tiles[name].replace(OTHER.encode(), b"e" * 64, 1)
    found = check_log(reader, SITE, seen=None, history=None, now=NOW)
    assert ([alarm.code for alarm in found.alarms], found.history, found.leaves) == (["bad-proof"], None, 0)


def test_history_of_other_leaves_does_not_go_on(world):
    """A tile that was changed below the place where the monitor stopped."""
    log, _ = log_of(world, [*HONEST, *(EpochLeaf(time=at(i / 60)) for i in range(300))])
    reader = open_log(world.trust().log_trust, log.note(NOW), log.tiles.__getitem__)
    _, first = log_of(world, HONEST)
    tile = next(path for path in log.tiles if path == "tile/0/000")
    log.tiles[tile] = bytes([log.tiles[tile][0] ^ 1]) + log.tiles[tile][1:]
    found = check_log(reader, SITE, seen=seen_of(first), history=History(size=5), now=NOW)
    assert "bad-proof" in [alarm.code for alarm in found.alarms]
    assert found.history is None


def test_a_log_that_is_wrong_throughout_makes_no_endless_list():
    monitor = Monitor(SITE)
    monitor.see((index, b"nonsense") for index in range(MAX_ALARMS + 5))
    assert len(monitor.told()) == MAX_ALARMS + 1
    assert str(monitor.told()[-1]) == "more-alarms: log: 5 more are not listed"


def test_what_can_matter_no_more_is_forgotten():
    monitor = Monitor(SITE)
    beats = (EpochLeaf(time=at(60 * i)) for i in range(4200))
    monitor.see(enumerate(leaf.encode() for leaf in (*HONEST, *beats)))
    assert (monitor.history.uses, monitor.history.operations) == ({}, {})
    assert monitor.history.signed == 1


def test_state_is_kept_and_taken_back_only_whole(world, tmp_path):
    _, reader = log_of(world, HONEST)
    file = tmp_path / "state.json"
    assert load_state(file, origin=ORIGIN) is None
    history = check_log(reader, SITE, seen=None, history=None, now=NOW).history
    save_state(file, MonitorState(seen=seen_of(reader), history=history, counted=["r-1"]))
    kept = load_state(file, origin=ORIGIN)
    assert (kept.seen.size, kept.history, kept.counted) == (len(HONEST), history, ["r-1"])
    with pytest.raises(ConfigurationError, match="remembers the log"):
        load_state(file, origin="elsewhere")
    whole = file.read_text()
    for broken in ("{}", whole[:-1], whole.replace('"size":5', '"size":4', 1), whole.replace('"counted"', '"cuonted"')):
        file.write_text(broken)
        with pytest.raises(ConfigurationError):
            load_state(file, origin=ORIGIN)


def test_memory_of_an_older_version_keeps_its_checkpoint_and_reads_everything_again(world, tmp_path):
    _, reader = log_of(world, HONEST)
    file = tmp_path / "state.json"
    file.write_text('{"seen":' + seen_of(reader).model_dump_json() + "}")
    kept = load_state(file, origin=ORIGIN)
    assert (kept.seen, kept.history) == (seen_of(reader), None)


def test_severities_are_two_and_an_alarm_is_one_line():
    monitor = Monitor(SITE)
    monitor.see(enumerate(leaf.encode() for leaf in (*HONEST[:4], policy(2, weakening=("people",)), BEAT, result())))
    assert [(alarm.code, alarm.severity) for alarm in monitor.told()] == [
        ("weakened-policy", Severity.WARNING),
        ("stray-result", Severity.ERROR),
    ]
    assert str(monitor.told()[1]) == "stray-result: leaf 6: a result for intent 2, which is not open"


def test_a_receipt_is_counted_again_against_the_log_as_it_is(world):
    made = world.make("pe")
    reader = open_log(world.trust().log_trust, world.log.note(world.now), world.log.tiles.__getitem__)
    recheck(made.bundle, world.trust(), reader)
    fewer = made.with_authorisation(approvals=()).bundle
    with pytest.raises(VerificationError) as caught:
        recheck(fewer, world.trust(), reader)
    assert caught.value.code == "not-authorised"
    log = MemoryLog(world.world)
    log.append(*(b"x" for _ in range(world.log.frontier.size)))
    forked = open_log(world.trust().log_trust, log.note(world.now), log.tiles.__getitem__)
    with pytest.raises(VerificationError) as caught:
        recheck(made.bundle, world.trust(), forked)
    assert caught.value.code == "log-fork"
