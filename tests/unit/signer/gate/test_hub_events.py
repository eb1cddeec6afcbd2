# SPDX-License-Identifier: Apache-2.0
"""The hub's word about itself: one leaf in an hour, however often the hub says something."""

from __future__ import annotations

import asyncio

import pytest

from signwright.errors import MalformedError
from signwright.model.framing import Frame
from signwright.signer.gate.heartbeat import HubEvents
from signwright.transparency.leaf import HubEventsLeaf, parse_leaf
from signwright.transparency.tiles import parse_bundle
from tests.support.gates import Courier, GateSite, digest_request, now_utc, until


def events(number: int) -> dict[str, object]:
    return {"type": "hub-events", "head": f"{number:064x}", "count": number}


def logged(courier: Courier, size: int) -> list[HubEventsLeaf]:
    found = [parse_leaf(entry) for entry in parse_bundle(courier.published[f"tile/entries/000.p/{size}"], size)]
    return [leaf for leaf in found if isinstance(leaf, HubEventsLeaf)]


def test_gate_logs_the_hubs_events_once_in_an_hour(site: GateSite) -> None:
    async def scenario() -> None:
        async with site.run() as (gate, courier):
            answers = [(await courier.call(events(number))).message for number in range(1, 21)]
            assert [answer["logged"] for answer in answers] == [True] + 19 * [False]
            # A leaf of another kind comes after them, so that the published log surely has all that were taken.
            assert (await courier.sign(digest_request(site))).message["outcome"] == "signed"
            size = gate.parts.log.size
            await until(lambda: f"tile/entries/000.p/{size}" in courier.published)
            assert [leaf.count for leaf in logged(courier, size)] == [1]

    asyncio.run(scenario())


def test_the_hour_ends_to_the_second_and_begins_anew(site: GateSite) -> None:
    async def scenario() -> None:
        async with site.run() as (gate, _):
            moment = [1000.0]
            taken = HubEvents(gate.parts.log, seconds=3600, now=now_utc, monotonic=lambda: moment[0])
            found = []
            for later in (0.0, 3599.9, 0.1, 3599.9, 0.1):
                moment[0] += later
                found.append((await taken.record(Frame(events(len(found)), ())))["logged"])
            assert found == [True, False, True, False, True]

    asyncio.run(scenario())


@pytest.mark.parametrize("head", ["", "0" * 63, "0" * 65, "A" * 64, "g" * 64])
def test_head_that_is_no_digest_uses_up_nothing(site: GateSite, head: str) -> None:
    async def scenario() -> None:
        async with site.run() as (gate, _):
            taken = HubEvents(gate.parts.log, seconds=3600, now=now_utc, monotonic=lambda: 1000.0)
            with pytest.raises(MalformedError):
                await taken.record(Frame({"head": head, "count": 1}, ()))
            assert (await taken.record(Frame(events(2), ())))["logged"] is True

    asyncio.run(scenario())
