# SPDX-License-Identifier: Apache-2.0
"""What a gate does before it hears anybody, and what a witness tells it about its own age."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from signwright.errors import ConfigurationError
from tests.support.gates import Answer, GateSite, digest_request
from tests.support.keyholders import CountingKeyholder


def test_keyholder_of_another_profile_is_refused(site: GateSite) -> None:
    """Each receipt repeats the profile: both must mean the same."""
    site.keyholder = CountingKeyholder(site.world, site.root_sha256, profile=1, now=site.now)

    async def start() -> None:
        async with site.run():
            raise AssertionError("it started")

    with pytest.raises(ConfigurationError, match="runs as profile 1, the gate as 0"):
        asyncio.run(start())


def test_keyholder_without_a_policy_is_given_all_of_them_at_the_start(site: GateSite) -> None:
    """Before the courier says anything."""

    async def first() -> None:
        async with site.run() as (_, courier):
            newer = site.world.policy_parts()
            assert (await courier.policy(newer)).message["ok"]

    async def again() -> None:
        async with site.run(policy=False) as (_, courier):
            assert site.keyholder.standing.in_force().version == 2
            assert (await courier.sign(digest_request(site))).message["outcome"] == "signed"

    asyncio.run(first())
    site.keyholder = CountingKeyholder(site.world, site.root_sha256, now=site.now)
    asyncio.run(again())


def test_witness_that_has_seen_more_says_that_this_is_an_older_copy(site: GateSite) -> None:
    async def scenario() -> None:
        async with site.run() as (_, courier):

            async def ahead(_: Any) -> Answer:
                return Answer(status=409, parts=[b"1000000\n"])

            courier.lies["witness"] = ahead
            answer = await courier.sign(digest_request(site))
            assert (answer.message["outcome"], answer.message["code"]) == ("failed", "no-quorum")
            assert "log-behind-witness" in str(answer.message["message"])

    asyncio.run(scenario())
