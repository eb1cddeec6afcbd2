# SPDX-License-Identifier: Apache-2.0
"""A hostile gate that says a second time what counted once: a policy, a freshness statement, a start."""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path

from signwright.model.times import format_time
from signwright.policy.reading import Started
from signwright.signer.keyholder.state import State
from signwright.transparency.checkpoint import Checkpoint
from tests.attacks.keyholder.test_freshness import freshness, live, says, weakened
from tests.attacks.keyholder.test_hostile_gate import Keyholder, keyholder
from tests.attacks.keyholder.test_restored_state import FAR, Restored, host
from tests.support import leaves
from tests.support.world import ORIGIN

__all__ = ["host", "keyholder"]


def test_policy_that_follows_one_that_waited_wants_the_same_freshness(keyholder: Keyholder) -> None:
    """Whoever stole the keepers' keys signs two versions: one that waits, and one that weakens nothing more."""
    message = weakened(keyholder)
    signer = keyholder.signer
    second = live(signer, {"freshness_hours": 30})
    in_force = signer.world.now + timedelta(hours=24)
    signer.world.now += timedelta(hours=25)
    assert keyholder.ask(*message)[0]["ok"] is True
    assert keyholder.load_policy(second)["ok"] is True
    assert signer.loaded is not None
    signer.policy = signer.loaded
    assert says(keyholder, freshness(signer, 2, in_force - timedelta(seconds=1))) == "freshness"
    assert keyholder.operations == 0
    assert says(keyholder, freshness(signer, 3, in_force)) == "ok"


def test_made_up_freshness_number_does_not_hide_those_that_are_logged_after_it(host: Restored) -> None:
    """The highest number of all is somebody's word, and counts only against what was signed before it was read."""
    host.signer.log.append(leaves.freshness(FAR).encode())
    host.again(restored=False)
    world = host.signer.world
    world.now += timedelta(minutes=1)
    host.signer.freshness = world.freshness(2, root_sha256=host.signer.parts[3], created=format_time(world.now))
    assert host.orders() == "signed"
    host.copy()
    host.signer.log.append(leaves.freshness(3).encode())
    host.again()
    assert host.orders() == "freshness-old"
    host.signer.freshness = world.freshness(3, root_sha256=host.signer.parts[3], created=format_time(world.now))
    assert host.orders() == "signed"


def test_start_that_is_shown_again_does_not_hold_the_clock(tmp_path: Path) -> None:
    """Each time with the old cosignatures, and the host's own clock set back: the floor rises all the same."""
    state = State(tmp_path / "state.sqlite3", genesis="ab" * 32)
    start = Started(7, (8, b"r" * 32), Checkpoint(ORIGIN, 8, b"r" * 32), 1_000_000, 1)
    state.started(start)
    begun = time.clock_gettime(time.CLOCK_BOOTTIME)
    for seconds in (1.1, 2.2):
        while time.clock_gettime(time.CLOCK_BOOTTIME) < begun + seconds:
            time.sleep(0.01)
        state.started(start)
    assert state.clock() >= 1_000_002


def test_policy_from_the_future_is_refused(host: Restored) -> None:
    """A restored keyholder would take it for newer than whatever it reads in the log."""
    now = host.signer.world.now
    ahead = host.second_policy(created=now + timedelta(days=300), expires=now + timedelta(days=400))
    answer = host.load(ahead)
    assert (answer["ok"], answer["code"]) == (False, "policy-ahead")
    assert host.orders() == "signed", "under the policy in force"
