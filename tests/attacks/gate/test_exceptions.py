# SPDX-License-Identifier: Apache-2.0
"""An exception ends while gate and keyholder run: from that second on nothing is signed under it."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from pathlib import Path

from signwright.model.times import format_time
from signwright.policy import documents as d
from signwright.signer.worker.pool import WorkerPool
from tests.support.gates import CountingKeyholder, GateSite, Release, now_utc, organisation
from tests.support.world import World

TWO_MINUTES = timedelta(minutes=2)


def with_ending_exceptions(world: World, ends: datetime) -> World:
    """The same organisation, whose exceptions all end at a time."""
    document: d.Organisation = world.documents()["organisation"]  # type: ignore[assignment]
    rows = tuple(row.model_copy(update={"expires": format_time(ends)}) for row in document.exceptions)
    return world.with_documents(organisation=document.model_copy(update={"exceptions": rows}))


def test_release_that_was_signed_under_an_exception_is_refused_after_its_end(tmp_path: Path, pool: WorkerPool) -> None:
    """Everything else stays good: approvals, scan, policy, and a request that was approved while it still held."""
    world = organisation()
    ends = world.now + TWO_MINUTES
    passed = [timedelta(0)]
    site = GateSite(tmp_path, world=with_ending_exceptions(world, ends), now=lambda: now_utc() + passed[0])

    async def scenario() -> None:
        async with site.run(pool) as (_, courier):
            before, waiting = Release(site, courier), Release(site, courier)
            signed = await before.sign()
            assert signed.message["outcome"] == "signed", signed.message
            one = await waiting.sign(approvals=[waiting.approval("alice")])
            assert {row["rule"] for row in one.message["reasons"]} == {"approvals"}  # type: ignore[union-attr]
            used = site.keyholder.operations
            passed[0] = TWO_MINUTES
            refused = await waiting.sign()
            assert refused.message["outcome"] == "denied", refused.message
            assert {row["rule"] for row in refused.message["reasons"]} == {"exception"}  # type: ignore[union-attr]
            assert site.keyholder.operations == used
            assert (await before.sign()).parts == signed.parts  # what was signed stays signed

    try:
        asyncio.run(scenario())
    finally:
        site.close()


def test_keyholder_that_sees_the_end_first_refuses_the_gates_order(tmp_path: Path, pool: WorkerPool) -> None:
    """The gate's clock is behind: the second decision stands for itself."""
    world = organisation()
    ends = world.now + TWO_MINUTES
    site = GateSite(tmp_path, world=with_ending_exceptions(world, ends))
    # Both clocks run: a policy comes into force at the time that its witnesses gave it.
    site.keyholder = CountingKeyholder(site.world, site.root_sha256, now=lambda: now_utc() + TWO_MINUTES)

    async def scenario() -> None:
        async with site.run(pool) as (_, courier):
            answer = await Release(site, courier).sign()
            assert answer.message["outcome"] != "signed", answer.message
            assert len(site.keyholder.orders) == 1
            assert (answer.message["code"], site.keyholder.operations) == ("exception", 0)

    try:
        asyncio.run(scenario())
    finally:
        site.close()
