# SPDX-License-Identifier: Apache-2.0
"""A gate that lies in its log, in leaves of the real kind under a cosigned checkpoint: each lie is one alarm."""

from __future__ import annotations

from datetime import time, timedelta
from zoneinfo import ZoneInfo

import pytest

from signwright.client.alarms.base import Hours, Severity, Site
from signwright.client.alarms.history import History
from signwright.client.alarms.table import RULES
from signwright.client.log_reader import open_log
from signwright.client.monitoring import check_log
from signwright.transparency.leaf import MAX_LISTED, fold_digests
from tests.support.leaves import (
    BEAT,
    HONEST,
    OTHER,
    REQUEST,
    ROOT,
    at,
    beat,
    custodian,
    deny,
    freshness,
    genesis,
    halt,
    intent,
    key_operation,
    policy,
    result,
    resume,
    start,
)
from tests.support.receipts import SignedWorld
from tests.support.signing import MemoryLog
from tests.support.world import NOW, ORIGIN

QUIET = Site(True, ORIGIN, ROOT)
SITE = Site(True, ORIGIN, ROOT, quotas={OTHER: 2}, hours=Hours(time(7), time(19), ZoneInfo("UTC")))
BEGUN = (genesis(), policy(), BEAT)
AGAIN = {"request": "7" * 64}
LIVE = policy(2, weakening=("people",), delay_hours=24, policy_sha256=OTHER)
NEWER = {"policy_version": 2, "policy_sha256": OTHER}
#: A second wave, and the result of a first one, which leaves nothing behind that anybody gets.
SECOND = {"wave": 1, "derived": True}
NOTHING = {"result_sha256": ()}
HALFWAY = result(3, **NOTHING)
IN_WAVES = (intent(), HALFWAY, intent(**SECOND), result(5, wave=1))


@pytest.fixture(scope="module")
def world() -> SignedWorld:
    return SignedWorld()


def watched(world: SignedWorld, leaves, *, now=NOW, site=SITE):
    """What the monitor says about a log of these leaves, read from cosigned files."""
    log = MemoryLog(world.world)
    log.append(*(leaf if isinstance(leaf, bytes) else leaf.encode() for leaf in leaves))
    reader = open_log(world.trust().log_trust, log.note(now), log.tiles.__getitem__)
    found = check_log(reader, site, seen=None, history=None, now=now)
    return [*found.alarms, *found.standing]


#: (what the gate logs, code). Every row of the monitor's table stands here at least once.
LIES = [
    ((genesis(root_sha256=OTHER), policy(), BEAT), "genesis"),
    ((policy(), BEAT), "genesis"),
    ((*HONEST, b"{}"), "bad-leaf"),
    ((*HONEST, beat(at(-30))), "clock"),
    ((*HONEST, beat(at(180))), "heartbeat-gap"),
    ((*HONEST, deny(12), deny(12)), "denials"),
    ((*HONEST, start(5), start(5, nonce="2")), "start-rollback"),
    ((*HONEST, start(5), start(4, nonce="2")), "start-rollback"),
    ((*HONEST, start(5), start(6)), "start-nonce"),
    ((*HONEST, freshness(4), freshness(3)), "freshness-rollback"),
    ((*HONEST, freshness(4), freshness(4, statement="8" * 64)), "freshness-fork"),
    ((*BEGUN, policy(2), policy(1)), "policy-rollback"),
    ((*BEGUN, policy(2, policy_sha256=OTHER), policy(2)), "policy-rollback"),
    ((*BEGUN, policy(2, root_version=2), policy(3, root_version=1)), "policy-rollback"),
    ((*BEGUN, intent(policy_sha256=OTHER), result(3)), "unknown-policy"),
    ((*BEGUN, policy(2), intent(), result(4)), "old-policy"),
    ((*BEGUN, intent(trial=False, key_protection="claimed"), result(3)), "trial"),
    ((*BEGUN, intent(approvals=()), result(3)), "no-approval"),
    ((*BEGUN, intent(evidence=()), result(3)), "no-evidence"),
    ((*BEGUN, intent(mode="digest", content_seen=False), result(3)), "no-exception"),
    ((*BEGUN, intent(content_seen=False), result(3)), "bad-intent"),
    ((*BEGUN, intent(attempt=2), result(3, attempt=2, outcome="failed"), intent(), result(5)), "attempt"),
    ((*BEGUN, intent(derived=True), result(3)), "bad-intent"),
    ((*BEGUN, intent(), HALFWAY, intent(wave=1), result(5, wave=1)), "bad-intent"),
    ((*BEGUN, intent(**SECOND), result(3, wave=1)), "bad-intent"),
    ((*BEGUN, intent(), result(3, outcome="failed"), intent(**SECOND), result(5, wave=1)), "bad-intent"),
    ((*BEGUN, intent(), HALFWAY, intent(attempt=2), intent(attempt=2, **SECOND)), "bad-intent"),
    ((*BEGUN, intent(), HALFWAY, intent(attempt=2, **SECOND), result(5, attempt=2, wave=1)), "bad-intent"),
    ((*HONEST, intent(**SECOND), result(5, wave=1)), "signed-again"),
    ((*BEGUN, *IN_WAVES, intent(attempt=2)), "signed-again"),
    ((*HONEST, intent(attempt=2), result(5, attempt=2, outcome="failed")), "signed-again"),
    ((*HONEST, result()), "stray-result"),
    ((*BEGUN, intent(), result(3, request=OTHER)), "wrong-result"),
    ((*BEGUN, intent(), result(3, signature_sha256=())), "wrong-result"),
    ((*BEGUN, intent(), result(3, timestamps="none")), "no-timestamp"),
    ((*HONEST, intent(**AGAIN), result(5, **AGAIN, signature_sha256=(OTHER, ROOT))), "key-quota"),
    ((*BEGUN, intent(), result(3, listed=False)), "key-quota"),
]
#: The same where something loud and honest stands in the log as well: (leaves, what is told).
LOUD = [
    ((*BEGUN, policy(2, weakening=("people",))), ["weakened-policy"]),
    ((*BEGUN, LIVE, intent(**NEWER), result(4)), ["weakened-policy", "early-policy"]),
    ((*BEGUN, LIVE, policy(3, weakening=("keys",))), ["weakened-policy", "weakened-policy", "no-delay"]),
    ((*BEGUN, halt(), intent(), result(4)), ["halt", "signed-while-halted", "still-halted"]),
    ((*BEGUN, halt(), resume(), intent(), result(5)), ["halt", "resume", "signed-while-halted", "still-halted"]),
    ((*BEGUN, halt(), resume(policy_version=1)), ["halt", "resume", "bad-resume", "still-halted"]),
    ((*BEGUN, halt(), resume(), policy(2)), ["halt", "resume"]),
    ((*BEGUN, custodian(), intent(), result(4), intent(**AGAIN), result(6, **AGAIN)), ["custodian-skipped"]),
    ((*BEGUN, key_operation(), result(3, request="8" * 64)), ["key-operation"]),
    ((*BEGUN, key_operation(), result(3, request=REQUEST)), ["key-operation", "wrong-result"]),
]


@pytest.mark.parametrize(("leaves", "code"), LIES)
def test_a_lie_in_the_log_is_one_alarm(world, leaves, code):
    now = NOW + timedelta(hours=3) if code == "heartbeat-gap" else NOW
    assert [alarm.code for alarm in watched(world, leaves, now=now)] == [code]


@pytest.mark.parametrize(
    "leaves",
    [
        pytest.param(IN_WAVES, id="in-order"),
        pytest.param((intent(), HALFWAY, intent(attempt=2), result(5, attempt=2, result_sha256=())), id="not-followed"),
        pytest.param((*IN_WAVES[:3], result(5, wave=1, outcome="failed"), intent(attempt=2)), id="failed-later"),
        pytest.param((*IN_WAVES[:3], result(5, wave=1, outcome="unknown"), intent(attempt=2)), id="unknown-later"),
    ],
)
def test_waves_of_an_honest_gate_and_what_it_tries_again_are_no_alarm(world, leaves):
    assert watched(world, (*BEGUN, *leaves), site=QUIET) == []
    custody = Site(True, ORIGIN, ROOT, custodian="release")
    again = any(leaf.attempt == 2 for leaf in leaves)
    found = watched(world, (genesis(), policy(), custodian(), *leaves), site=custody)
    assert [alarm.code for alarm in found] == ["no-custodian"] * again


@pytest.mark.parametrize(
    ("leaves", "told"),
    [
        pytest.param((intent(), HALFWAY), [3], id="nothing-followed"),
        pytest.param((*IN_WAVES[:3], result(5, wave=1, outcome="failed")), [], id="failed"),
        pytest.param(
            (*IN_WAVES[:3], result(5, wave=1, outcome="failed"), intent(attempt=2), result(7, attempt=2, **NOTHING)),
            [7],
            id="nothing-followed-the-second-time",
        ),
        pytest.param(IN_WAVES, [], id="followed"),
    ],
)
def test_signature_said_to_be_half_of_something_is_not_forgotten(world, leaves, told):
    """Else a gate could call any signature half done, and nobody would ask for its receipt."""
    late = NOW + timedelta(minutes=16)
    assert watched(world, (*BEGUN, *leaves), site=QUIET, now=NOW + timedelta(minutes=14)) == []
    found = watched(world, (*BEGUN, *leaves), site=QUIET, now=late)
    wanted = [("no-result", index, Severity.WARNING) for index in told]
    assert [(alarm.code, alarm.index, alarm.severity) for alarm in found] == wanted


@pytest.mark.parametrize(("signatures", "results"), [(1, ()), (MAX_LISTED + 1, ())])
def test_request_of_which_a_wave_is_missing_wants_no_receipt(signatures, results):
    listed, (signed, made) = fold_digests([OTHER] * signatures, results)
    history = History()
    halfway = result(3, signature_sha256=signed, result_sha256=made, listed=listed)
    for index, leaf in enumerate((*BEGUN, intent(), halfway, intent(**SECOND))):
        history.add(index, leaf, limits=QUIET.limits)
    assert (history.signed_requests(), history.signed) == ({}, 0)
    history.add(6, result(5, wave=1), limits=QUIET.limits)
    assert (list(history.signed_requests()), history.signed) == ([REQUEST], 1)


@pytest.mark.parametrize(("leaves", "codes"), LOUD)
def test_what_is_loud_is_told_and_a_lie_beside_it_too(world, leaves, codes):
    assert [alarm.code for alarm in watched(world, leaves)] == codes


def test_a_software_key_outside_a_trial_is_an_alarm(world):
    site = Site(False, ORIGIN, ROOT)
    leaves = (genesis(trial=False), policy(), BEAT, intent(trial=False), result(3))
    assert [alarm.code for alarm in watched(world, leaves, site=site)] == ["software-key"]


def test_every_rule_of_the_table_has_its_lie():
    shown = {code for _, code in LIES} | {code for _, codes in LOUD for code in codes}
    shown |= {"software-key", "odd-hour", "no-custodian"}
    assert {rule.code for rule in RULES} <= shown


CUSTODIANS = [
    ("release", (intent(), result(3)), ["no-custodian"]),
    ("release", (intent(kind="test"), result(3)), []),
    ("required", (intent(kind="test"), result(3)), ["no-custodian"]),
    ("release", (custodian(), intent(), result(4)), []),
    ("release", (custodian("8" * 64), intent(), result(4)), ["no-custodian"]),
    # One confirmation is for one attempt, and for what comes after it.
    ("release", (custodian(), intent(), result(4, outcome="failed"), intent(attempt=2)), ["no-custodian"]),
    ("release", (custodian(), intent(), result(4, outcome="failed"), custodian(), intent(attempt=2)), []),
    ("release", (intent(), custodian(), result(3)), ["no-custodian"]),
    ("off", (intent(profile=3), result(3)), []),
    (None, (intent(profile=3), result(3)), ["custodian-skipped"]),
    (None, (intent(profile=3, kind="test"), result(3)), []),
    (None, (custodian(), intent(profile=3), result(4)), []),
    (None, (custodian(), intent(kind="test"), result(4), intent(**AGAIN), result(6, **AGAIN)), []),
]


@pytest.mark.parametrize(("wanted", "leaves", "codes"), CUSTODIANS)
def test_a_key_used_without_the_custodian_is_told(world, wanted, leaves, codes):
    site = Site(True, ORIGIN, ROOT, custodian=wanted)
    assert [alarm.code for alarm in watched(world, (*BEGUN, *leaves), site=site)] == codes


@pytest.mark.parametrize("kind", ["release", "test"])
def test_a_release_at_night_is_told_and_a_test_is_not(world, kind):
    """Noon in UTC is one in the morning in Auckland."""
    night = Site(True, ORIGIN, ROOT, hours=Hours(time(7), time(19), ZoneInfo("Pacific/Auckland")))
    alarms = watched(world, (*BEGUN, intent(kind=kind), result(3)), site=night)
    told = ["a release at 01:00 (Pacific/Auckland), outside 07:00 to 19:00"] if kind == "release" else []
    assert [alarm.text for alarm in alarms] == told


def test_a_result_that_is_hidden_is_an_alarm_after_its_grace(world):
    """The key was used and the gate says nothing; that it is alive does not cover it."""
    leaves = (*BEGUN, intent(), beat(at(10)))
    assert watched(world, leaves, now=NOW + timedelta(minutes=15)) == []
    alarms = watched(world, leaves, now=NOW + timedelta(minutes=16))
    assert [(alarm.code, alarm.index) for alarm in alarms] == [("no-result", 3)]


def test_a_signer_that_went_silent_is_an_alarm(world):
    assert watched(world, HONEST, now=NOW + timedelta(minutes=119)) == []
    alarms = watched(world, HONEST, now=NOW + timedelta(minutes=121))
    assert [alarm.code for alarm in alarms] == ["no-heartbeat"]


def test_a_refused_intent_under_an_old_policy_is_no_alarm(world):
    """While a policy changes, an order may come late; the keyholder refuses it and nothing was signed."""
    assert watched(world, (*BEGUN, policy(2), intent(), result(4, outcome="failed"))) == []


def test_a_policy_that_waits_leaves_the_one_before_in_force(world):
    later = NOW + timedelta(hours=25)
    beats = [beat(at(60 * hour)) for hour in range(1, 26)]
    early = (*BEGUN, LIVE, intent(), result(4))
    assert [alarm.code for alarm in watched(world, early, site=QUIET)] == ["weakened-policy"]
    signing_time = {"signing_time": at(25 * 60)}
    after = intent(**NEWER, **signing_time)
    leaves = (*BEGUN, LIVE, *beats, after, result(29, time=at(25 * 60)))
    assert [alarm.code for alarm in watched(world, leaves, now=later, site=QUIET)] == ["weakened-policy"]
    leaves = (*BEGUN, LIVE, *beats, intent(**signing_time), result(29, time=at(25 * 60)))
    assert [alarm.code for alarm in watched(world, leaves, now=later, site=QUIET)] == ["weakened-policy", "old-policy"]


def uses_at(*minutes):
    """Honest log with one signature at each of these minutes, and a heartbeat each hour before."""
    leaves = [*BEGUN]
    for number, minute in enumerate(minutes, start=1):
        hours = range(len([leaf for leaf in leaves if leaf.type == "epoch"]), int(minute // 60) + 1)
        leaves += [beat(at(60 * hour)) for hour in hours]
        about = {"request": f"{number:064x}"}
        leaves += [intent(**about, signing_time=at(minute)), result(len(leaves), **about, time=at(minute))]
    return leaves


@pytest.mark.parametrize(
    ("minutes", "told"),
    [
        ((0, 1), []),
        ((0, 1, 2, 3), ["used at least 3 times in 24 h; the policy allows 2"]),
        ((0, 1, 24 * 60 + 2), []),
        ((0, 60, 24 * 60), ["used at least 3 times in 24 h; the policy allows 2"]),
    ],
)
def test_a_quota_is_of_24_hours_and_told_when_it_is_crossed(world, minutes, told):
    site = Site(True, ORIGIN, ROOT, quotas={OTHER: 2})
    alarms = watched(world, uses_at(*minutes), now=NOW + timedelta(minutes=minutes[-1]), site=site)
    assert [(alarm.code, alarm.text.partition("… was ")[2]) for alarm in alarms] == [("key-quota", t) for t in told]


def test_a_retry_after_a_crash_is_no_alarm(world):
    leaves = (*BEGUN, intent(), result(3, outcome="unknown"), intent(attempt=2), result(5, attempt=2))
    assert watched(world, leaves) == []


def test_an_attempt_counter_that_begins_anew_is_an_alarm(world):
    """A gate whose state was taken back counts from one again."""
    leaves = (*BEGUN, intent(), result(3, outcome="unknown"), intent(), result(5, outcome="unknown"))
    assert [alarm.code for alarm in watched(world, leaves)] == ["attempt"]


def test_halts_that_were_folded_are_ended_together(world):
    halts = [halt(statement=f"{n:064x}") for n in range(MAX_LISTED + 1)]
    alarms = watched(world, (*BEGUN, *halts, resume(halts=("f" * 64,)), policy(2)))
    assert [alarm.code for alarm in alarms] == ["halt"] * (MAX_LISTED + 1) + ["resume"]


def test_severities_say_what_may_have_been_meant(world):
    meant = {rule.code for rule in RULES if rule.severity is Severity.WARNING}
    assert meant == {"resume", "key-operation", "weakened-policy", "odd-hour", "custodian-skipped"}
