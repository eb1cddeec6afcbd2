# SPDX-License-Identifier: Apache-2.0
"""Keepers' words that a hub or a stolen freshness key hands to the gate, and those that it withholds."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from signwright.model.times import format_time
from signwright.policy import documents as d
from signwright.policy.policy import open_policy
from signwright.signer.worker.pool import WorkerPool
from signwright.statements.dsse import Envelope
from tests.support.gates import Courier, GateSite, Release, now_utc


def freshness(site: GateSite, number: int, *, created: Any = None, **changes: Any) -> Envelope:
    created = created or site.now()
    times = {"created": format_time(created), "expires": format_time(created + timedelta(hours=48))}
    return site.world.freshness(number, root_sha256=site.root_sha256, **(times | changes))


async def says(courier: Courier, envelope: Envelope) -> str:
    answer = await courier.call({"type": "freshness"}, [envelope.encode()])
    return "ok" if answer.message["ok"] else str(answer.message["code"])


async def rules(release: Release) -> set[str]:
    """Why the gate does not sign it."""
    answer = (await release.sign()).message
    return {row["rule"] for row in answer["reasons"]}  # type: ignore[attr-defined]


def test_release_waits_while_the_freshness_statement_lists_a_halt(site: GateSite, pool: WorkerPool) -> None:
    """A halt that the hub withheld from us counts as soon as keepers name it."""

    async def scenario() -> None:
        async with site.run(pool) as (_, courier):
            assert await says(courier, freshness(site, 2, halts=("ab" * 32,))) == "ok"
            release = Release(site, courier)
            assert await rules(release) == {"halted"}
            assert site.keyholder.operations == 0
            assert await says(courier, freshness(site, 3)) == "ok"
            assert (await release.sign()).message["outcome"] == "signed"

    asyncio.run(scenario())


def test_second_statement_of_one_number_is_refused(site: GateSite) -> None:
    """Two keepers renewed, and one did not know of the other: the first one counts, and the hub is told."""

    async def scenario() -> None:
        async with site.run() as (_, courier):
            first = freshness(site, 2, revoked_people=("alice",))
            assert await says(courier, first) == "ok"
            assert await says(courier, freshness(site, 2)) == "freshness-fork"
            assert await says(courier, first) == "ok"
            assert await says(courier, freshness(site, 1)) == "freshness-old"

    asyncio.run(scenario())


def test_statement_from_the_future_does_not_use_numbers_up(site: GateSite) -> None:
    async def scenario() -> None:
        async with site.run() as (gate, courier):
            seconds = int(site.now().timestamp())
            assert await says(courier, freshness(site, (1 << 53) - 1)) == "freshness-number"
            ahead = site.now() + timedelta(days=400)
            assert await says(courier, freshness(site, int(ahead.timestamp()), created=ahead)) == "freshness-ahead"
            assert await says(courier, freshness(site, seconds + 60, created=site.now() + timedelta(minutes=2))) == "ok"
            assert gate.parts.words.number == seconds + 60

    asyncio.run(scenario())


@pytest.fixture
def later(tmp_path: Path) -> Any:
    """A site whose clock can be moved: (site, hours to add)."""
    hours = [0.0]
    site = GateSite(tmp_path, now=lambda: now_utc() + timedelta(hours=hours[0]))
    yield site, hours
    site.close()


def test_weaker_policy_wants_a_freshness_statement_from_after_its_delay(later: Any, pool: WorkerPool) -> None:
    async def scenario() -> None:
        site, hours = later
        organisation = site.world.documents()["organisation"]
        assert isinstance(organisation, d.Organisation)
        async with site.run(pool) as (gate, courier):
            for changes in ({"live": True}, {"live": True, "freshness_hours": 30}):
                site.world.with_documents(organisation=organisation.model_copy(update=changes))
                parts = site.world.policy_parts()
                answer = await courier.policy(parts)
                assert answer.message["ok"], answer.message
            assert answer.message["waits_until"] is not None
            assert await says(courier, freshness(site, 2)) == "ok"
            site.policy = open_policy(*parts[:3], pinned_root_sha256=site.root_sha256)
            hours[0] = 25
            site.world.now = site.now()
            assert await gate.parts.policies.advance(gate.parts.log, gate.parts.keyholder)
            assert gate.parts.policies.in_force.policy.version == site.policy.version
            assert "freshness" in await rules(Release(site, courier))
            published = courier.published
        async with site.run(pool, policy=False) as (_, courier):
            courier.published.update(published)
            await courier.policy(parts)
            assert "freshness" in await rules(Release(site, courier))
            assert await says(courier, freshness(site, 3)) == "ok"
            assert "freshness" not in await rules(Release(site, courier))
        assert site.keyholder.operations == 0

    asyncio.run(scenario())


def test_policy_that_follows_one_that_waited_wants_the_same_freshness(later: Any, pool: WorkerPool) -> None:
    """Also after a restart of the gate."""

    async def scenario() -> None:
        site, hours = later
        organisation = site.world.documents()["organisation"]
        assert isinstance(organisation, d.Organisation)
        weaker = {"live": True, "freshness_hours": 30}
        async with site.run(pool) as (gate, courier):
            for changes in ({"live": True}, weaker):
                site.world.with_documents(organisation=organisation.model_copy(update=changes))
                assert (await courier.policy(site.world.policy_parts())).message["ok"]
            parts = site.world.policy_parts()
            assert await says(courier, freshness(site, 2)) == "ok"
            hours[0] = 25
            site.world.now, site.witness_now = site.now(), site.now
            assert await gate.parts.policies.advance(gate.parts.log, gate.parts.keyholder)
            answer = await courier.policy(parts)
            assert answer.message["ok"], answer.message
            site.policy = open_policy(*parts[:3], pinned_root_sha256=site.root_sha256)
            assert gate.parts.policies.in_force.policy.version == site.policy.version
            assert "freshness" in await rules(Release(site, courier))
            published = courier.published
        async with site.run(pool, policy=False) as (_, courier):
            courier.published.update(published)
            await courier.policy(parts)
            assert "freshness" in await rules(Release(site, courier))
            assert site.keyholder.operations == 0
            assert await says(courier, freshness(site, 3)) == "ok"
            assert "freshness" not in await rules(Release(site, courier))

    asyncio.run(scenario())


def test_policy_from_the_future_is_neither_logged_nor_taken(later: Any, pool: WorkerPool) -> None:
    async def scenario() -> None:
        site, _ = later
        async with site.run(pool) as (gate, courier):
            before = gate.parts.log.size
            parts = site.world.policy_parts(created=site.now() + timedelta(hours=1))
            assert (await courier.policy(parts)).message["code"] == "policy-ahead"
            assert (gate.parts.policies.waiting, gate.parts.log.size) == (None, before)

    asyncio.run(scenario())
