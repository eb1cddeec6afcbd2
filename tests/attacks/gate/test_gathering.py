# SPDX-License-Identifier: Apache-2.0
"""What a hub puts beside a request: only statements that made a fact go on to the log and to the keyholder."""

from __future__ import annotations

import asyncio
from typing import Any

from signwright.signer.worker.pool import WorkerPool
from signwright.statements.dsse import Envelope, statement_digest
from signwright.statements.models import SeenCheckpoint
from signwright.transparency.intent import IntentLeaf
from signwright.transparency.leaf import parse_intent
from tests.support.gates import GateSite, Release, digest_request
from tests.support.world import ORIGIN


def intent(answer: Any) -> IntentLeaf:
    assert answer.message["outcome"] == "signed", answer.message
    (at,) = answer.message["intent"]
    return parse_intent(answer.parts[at])


def test_freshness_statement_that_the_gate_has_not_logged_does_not_count(site: GateSite, pool: WorkerPool) -> None:
    async def scenario() -> None:
        async with site.run(pool) as (gate, courier):
            release = Release(site, courier)
            newer = site.world.freshness(9, root_sha256=site.root_sha256)
            scan = site.world.scan(release.content)
            leaf = intent(await release.sign(evidence=[newer, scan]))
            held = gate.parts.words.freshness()
            assert held is not None
            counted = {statement_digest("evidence", scan), statement_digest("freshness", held[0])}
            assert set(leaf.evidence) == counted
            assert statement_digest("freshness", newer) not in leaf.evidence

    asyncio.run(scenario())


def test_test_signature_needs_no_freshness_statement(site: GateSite) -> None:
    async def scenario() -> None:
        async with site.run() as (_, courier):
            assert intent(await courier.sign(digest_request(site))).evidence == ()

    asyncio.run(scenario())


def test_statement_that_made_no_fact_is_not_handed_on(site: GateSite, pool: WorkerPool) -> None:
    async def scenario() -> None:
        async with site.run(pool) as (_, courier):
            release = Release(site, courier)
            forged = release.approval("carol", key=site.world.people["alice"])
            words: list[Envelope] = [forged, release.approval("alice"), release.approval("bob")]
            lie = site.world.scan(release.content, key=site.world.gate)
            intent(await release.sign(approvals=words, evidence=[lie, site.world.scan(release.content)]))
            (order,) = site.keyholder.orders
            assert (order.message["approvals"], order.message["evidence"]) == (2, 2)
            assert forged.encode() not in order.parts
            assert lie.encode() not in order.parts

    asyncio.run(scenario())


def test_request_under_a_signing_policy_that_does_not_exist_is_denied(site: GateSite) -> None:
    async def scenario() -> None:
        async with site.run() as (_, courier):
            request = site.world.request("nothing", key=site.world.release_credential)
            answer = await courier.sign(request)
            assert (answer.message["outcome"], answer.message["code"]) == ("denied", "signing-policy")

    asyncio.run(scenario())


def test_request_whose_approver_saw_another_log_is_refused_before_it_is_logged(site: GateSite) -> None:
    async def scenario() -> None:
        async with site.run() as (gate, courier):
            await courier.sign(digest_request(site, b"another"))
            size = gate.parts.log.size
            request = digest_request(site)
            fork = SeenCheckpoint(origin=ORIGIN, size=site.seen(courier).size, root="11" * 32)
            word = site.world.approval(request, "alice", policy=site.policy, checkpoint=fork)
            answer = await courier.sign(request, approvals=[word])
            assert (answer.message["outcome"], answer.message["code"]) == ("failed", "log-fork")
            assert gate.parts.log.size == size
            assert site.keyholder.operations == 1

    asyncio.run(scenario())
