# SPDX-License-Identifier: Apache-2.0
"""What only the smallest or the air-gapped set-up may do."""

from __future__ import annotations

from pathlib import Path

import pytest

from signwright.errors import DeniedError
from signwright.policy import documents as d
from signwright.policy.following import AIR_GAP_PROFILE, ONLINE_MINUTES, check_profile
from signwright.policy.policy import Policy
from signwright.policy.standing import Standing
from tests.support.roots import HeldPolicy, Keepers
from tests.support.world import World


def policy(*, hours: int = 24, minutes: int = 5) -> Policy:
    world = World()
    organisation = world.documents()["organisation"].model_copy(update={"freshness_hours": hours})
    quorum = d.Quorum(outside=0, local=1, window_minutes=minutes)
    return world.with_documents(
        organisation=organisation, services=world.services().model_copy(update={"quorum": quorum})
    ).policy()


@pytest.mark.parametrize("profile", [0, 1, 2, 3, AIR_GAP_PROFILE])
def test_a_day_and_the_online_window_are_for_everybody(profile: int) -> None:
    check_profile(policy(hours=24, minutes=ONLINE_MINUTES), profile)


def test_longer_freshness_is_for_the_smallest_set_up_only() -> None:
    check_profile(policy(hours=168), 0)
    for profile in (1, AIR_GAP_PROFILE):
        with pytest.raises(DeniedError) as refused:
            check_profile(policy(hours=25), profile)
        assert refused.value.code == "profile-freshness"


def test_longer_window_is_for_the_air_gap_only() -> None:
    check_profile(policy(minutes=2880), AIR_GAP_PROFILE)
    for profile in {0, 1, 2, 3} - {AIR_GAP_PROFILE}:
        with pytest.raises(DeniedError) as refused:
            check_profile(policy(minutes=ONLINE_MINUTES + 1), profile)
        assert refused.value.code == "profile-window"


@pytest.mark.attacks
def test_keyholder_takes_no_policy_that_its_profile_does_not_allow(tmp_path: Path) -> None:
    """Whatever the gate's profile is."""
    keepers = Keepers()
    held = HeldPolicy(tmp_path, keepers)
    held.standing = Standing(held.state, profile=1, nonce="00" * 16, policy=None)
    with pytest.raises(DeniedError) as refused:
        held.offer(keepers.first(freshness_hours=48))
    assert refused.value.code == "profile-freshness"
    assert held.offer(keepers.first()).version == 1
