# SPDX-License-Identifier: Apache-2.0
"""A client remembers the newest policy under each root and refuses one that went back."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from signwright.client.seen_policy import follow_policy
from signwright.errors import ConfigurationError, VerificationError
from tests.support.world import World


def test_policy_that_went_back_is_refused_for_ever(tmp_path: Path) -> None:
    world = World()
    first, second = world.policy(), world.policy()
    for seen in (first, first, second, second):
        follow_policy(seen, folder=tmp_path)
    for _ in range(2):
        with pytest.raises(VerificationError, match="version 1, and version 2 was seen before") as refused:
            follow_policy(first, folder=tmp_path)
        assert refused.value.code == "policy-rollback"
    follow_policy(second, folder=tmp_path)


def test_two_policies_with_one_version_are_refused(tmp_path: Path) -> None:
    world = World()
    follow_policy(world.policy(), folder=tmp_path)
    world.version = 0
    with pytest.raises(VerificationError) as refused:
        follow_policy(world.policy(expires=world.now + timedelta(days=9)), folder=tmp_path)
    assert refused.value.code == "policy-fork"


def test_each_root_has_a_memory_of_its_own(tmp_path: Path) -> None:
    world = World()
    world.policy()
    follow_policy(world.policy(), folder=tmp_path)
    follow_policy(World().policy(), folder=tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


def test_damaged_memory_is_no_fresh_start(tmp_path: Path) -> None:
    policy = World().policy()
    follow_policy(policy, folder=tmp_path)
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-3])
    with pytest.raises(ConfigurationError, match="does not read"):
        follow_policy(policy, folder=tmp_path)


def test_memory_of_another_root_is_not_this_ones(tmp_path: Path) -> None:
    """A file that came under this root's name says nothing about it."""
    world, other = World(), World()
    older = other.policy()
    other.policy()
    follow_policy(older, folder=tmp_path)
    (place,) = tmp_path.iterdir()
    place.unlink()
    world.policy()
    follow_policy(world.policy(), folder=tmp_path)
    (file,) = tmp_path.iterdir()
    file.rename(place)
    follow_policy(older, folder=tmp_path)
