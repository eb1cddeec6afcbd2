# SPDX-License-Identifier: Apache-2.0
"""What a gate does before it hears anybody, and what a witness tells it about its own age."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from typing import Any

import pytest

from signwright.errors import ConfigurationError
from signwright.transparency.leaf import ResultLeaf, parse_leaf
from signwright.transparency.tiles import parse_bundle
from tests.support.gates import Answer, GateSite, digest_request, until
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


def test_intent_that_was_left_open_ends_as_unknown_before_anybody_is_heard(site: GateSite) -> None:
    async def stopped() -> None:
        async with site.run() as (_, courier):
            site.keyholder.silent = True
            asked = asyncio.create_task(courier.sign(digest_request(site)))
            await until(lambda: site.keyholder.operations == 1)
            asked.cancel()
            await asyncio.gather(asked, return_exceptions=True)

    async def again() -> None:
        async with site.run(policy=False, courier=False) as (gate, _):
            assert gate.parts.state.open_intents() == []
            files, size = gate.parts.log.files, gate.parts.log.size
            found = [parse_leaf(leaf) for leaf in parse_bundle(files.read(f"tile/entries/000.p/{size}"), size)]
            ends = [leaf.outcome for leaf in found if isinstance(leaf, ResultLeaf)]
            assert ends == ["unknown"]

    asyncio.run(stopped())
    site.keyholder.silent = False
    asyncio.run(again())
    assert site.keyholder.operations == 1


def test_size_that_a_witness_has_seen_is_remembered(site: GateSite) -> None:
    """Only a hint: the next process need not ask it first."""

    async def scenario() -> None:
        async with site.run() as (gate, courier):
            assert (await courier.sign(digest_request(site))).message["outcome"] == "signed"
            assert 0 < gate.parts.state.witness_sizes()["w1"] <= gate.parts.log.size

    asyncio.run(scenario())


def test_newest_freshness_statement_is_there_again_after_a_restart(site: GateSite) -> None:
    async def first() -> None:
        async with site.run() as (gate, _):
            assert gate.parts.words.freshness() is not None

    async def again() -> None:
        async with site.run(policy=False) as (gate, _):
            held = gate.parts.words.freshness()
            assert held is not None
            assert held[0].encode() == held[1]
            assert gate.parts.words.number == 1

    asyncio.run(first())
    asyncio.run(again())


def test_log_that_is_sound_in_itself_and_another_than_the_states_stops_the_start(site: GateSite) -> None:
    async def first() -> None:
        async with site.run() as (_, courier):
            assert (await courier.sign(digest_request(site))).message["outcome"] == "signed"

    async def again() -> None:
        async with site.run(policy=False):
            raise AssertionError("it started")

    asyncio.run(first())
    with closing(sqlite3.connect(site.settings.database)) as connection:
        connection.execute("UPDATE pinned SET log_root = ?", (bytes(32),))
        connection.commit()
    site.keyholder = CountingKeyholder(site.world, site.root_sha256, now=site.now)
    with pytest.raises(ConfigurationError) as refused:
        asyncio.run(again())
    assert refused.value.code == "log-damaged"
