# SPDX-License-Identifier: Apache-2.0
"""A custodian lets a request go once: all waves of one attempt, and no other attempt."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from signwright.client.alarms.base import Site
from signwright.client.monitoring import Monitor
from signwright.model.framing import Frame
from signwright.policy import documents as d
from signwright.signer.worker.pool import WorkerPool
from signwright.transparency.leaf import CustodianLeaf
from tests.attacks.gate.test_between_waves import request, tries
from tests.attacks.gate.test_derived import RULES, jar
from tests.support.custodians import Desk, custodian_site, run, world
from tests.support.gates import GateSite, sha256, taking, until
from tests.support.world import ORIGIN


@pytest.fixture
def site(tmp_path: Path) -> Iterator[GateSite]:
    rule = d.ArtifactRule(name="*.jar", format="jar", members=RULES.members)
    with custodian_site(tmp_path, world=taking(world(), rule, modes=("artifact",), derived="allow")) as made:
        yield made


def asked(site: GateSite, desk: Desk) -> None:
    desk.courier.blobs[sha256(jar())] = jar()
    desk.asked.append(asyncio.create_task(desk.courier.sign(request(site, jar()))))


def alarms(desk: Desk) -> set[str]:
    monitor = Monitor(Site(True, ORIGIN, "00" * 32, custodian="required"))
    monitor.see(enumerate(leaf.encode() for leaf in desk.leaves()))
    return {alarm.code for alarm in monitor.told()} - {"genesis"}


def test_one_confirmation_is_for_all_waves(site: GateSite, pool: WorkerPool) -> None:
    async def scenario(desk: Desk) -> None:
        asked(site, desk)
        await until(lambda: desk.gate.parts.custodian.count == 1)
        listed = await desk.list()
        (waiting,) = listed.rows
        assert waiting.shown.derived
        assert [one.operations for one in waiting.shown.artifacts] == [2]
        await desk.word(listed)
        assert (await desk.asked.pop()).message["outcome"] == "signed"
        assert tries(desk.leaves()) == [(1, 0), (1, 1)]
        assert sum(isinstance(leaf, CustodianLeaf) for leaf in desk.leaves()) == 1
        assert alarms(desk) == set()

    run(site, scenario, pool)


def test_what_is_begun_anew_between_waves_is_confirmed_anew(site: GateSite, pool: WorkerPool) -> None:
    async def scenario(desk: Desk) -> None:
        async def changed(frame: Frame) -> Any:
            del desk.courier.lies["timestamp"]
            assert (await desk.courier.policy(site.world.policy_parts())).message["ok"]
            return await desk.courier.honest_timestamp(frame)

        desk.courier.lies["timestamp"] = changed
        asked(site, desk)
        for times in (1, 2):
            await until(lambda times=times: desk.courier.progress.count("custodian") == times)  # type: ignore[misc]
            assert site.keyholder.operations == times - 1
            await desk.word(await desk.list())
        assert (await desk.asked.pop()).message["outcome"] == "signed"
        assert tries(desk.leaves()) == [(1, 0), (2, 0), (2, 1)]
        assert sum(isinstance(leaf, CustodianLeaf) for leaf in desk.leaves()) == 2
        assert alarms(desk) == set()

    run(site, scenario, pool)
