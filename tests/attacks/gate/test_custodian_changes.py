# SPDX-License-Identifier: Apache-2.0
"""What a custodian saw is no longer so: whatever was confirmed before counts no more. No key operation in each."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest

from signwright.client.keepers_words import draft_halt
from signwright.errors import SignwrightError
from signwright.model.framing import Frame
from signwright.model.times import format_time
from signwright.signer.worker.pool import WorkerPool
from signwright.statements.custodian import parse_custodian
from signwright.transparency.leaf import CustodianLeaf, IntentLeaf
from tests.support.custodians import Desk, custodian_site, run
from tests.support.gates import GateSite, Release, digest_request, now_utc, until
from tests.support.world import key_id, sign_ssh


@pytest.fixture
def site(tmp_path: Path) -> Iterator[GateSite]:
    with custodian_site(tmp_path) as made:
        yield made


def test_list_that_changed_wants_a_new_confirmation(site: GateSite) -> None:
    """A newer freshness statement is other evidence; the custodian saw the older one."""

    async def scenario(desk: Desk) -> None:
        release = Release(site, desk.courier)
        desk.asked.append(asyncio.create_task(release.sign()))
        await until(lambda: desk.gate.parts.custodian.count == 1)
        listed = await desk.list()
        newer = site.world.freshness(2, root_sha256=site.root_sha256)
        assert (await desk.courier.call({"type": "freshness"}, [newer.encode()])).message["ok"]
        with pytest.raises(SignwrightError, match="not what was shown any more"):
            await desk.word(listed)
        await desk.still_waiting()
        await desk.word(await desk.list())
        assert (await desk.asked[0]).message["outcome"] == "signed"

    run(site, scenario)


def test_what_changes_after_the_confirmation_wants_another_one(site: GateSite, pool: WorkerPool) -> None:
    """Newer evidence comes while the artifact is fetched again for the signature."""

    async def scenario(desk: Desk) -> None:
        release = Release(site, desk.courier)
        desk.asked.append(asyncio.create_task(release.sign()))
        await until(lambda: desk.gate.parts.custodian.count == 1)

        async def renewed_meanwhile(frame: Frame) -> None:
            del desk.courier.lies["fetch"]
            newer = site.world.freshness(2, root_sha256=site.root_sha256)
            await desk.gate.parts.words.take_freshness(newer.encode())
            await desk.courier.honest_fetch(frame)

        desk.courier.lies["fetch"] = renewed_meanwhile  # type: ignore[assignment]
        first = await desk.word(await desk.list())
        await until(lambda: desk.courier.progress.count("custodian") == 2)
        assert site.keyholder.operations == 0
        assert not [leaf for leaf in desk.leaves() if isinstance(leaf, IntentLeaf)]
        second = await desk.word(await desk.list())
        assert (await desk.asked[0]).message["outcome"] == "signed"
        statements = [leaf.statement for leaf in desk.leaves() if isinstance(leaf, CustodianLeaf)]
        assert statements == [first.message["statement"], second.message["statement"]]

    run(site, scenario, pool)


def test_submitter_who_is_revoked_after_the_confirmation_gets_nothing(site: GateSite, pool: WorkerPool) -> None:
    async def scenario(desk: Desk) -> None:
        release = Release(site, desk.courier)
        desk.asked.append(asyncio.create_task(release.sign()))
        await until(lambda: desk.gate.parts.custodian.count == 1)

        async def revoked_meanwhile(frame: Frame) -> None:
            del desk.courier.lies["fetch"]
            gone = (key_id(site.world.release_credential),)
            newer = site.world.freshness(2, root_sha256=site.root_sha256, revoked_credentials=gone)
            await desk.gate.parts.words.take_freshness(newer.encode())
            await desk.courier.honest_fetch(frame)

        desk.courier.lies["fetch"] = revoked_meanwhile  # type: ignore[assignment]
        await desk.word(await desk.list())
        answer = (await desk.asked.pop()).message
        assert (answer["outcome"], answer["code"]) == ("denied", "submitter")
        assert site.keyholder.operations == 0

    run(site, scenario, pool)


def test_new_policy_and_halt_take_a_request_off_the_list(site: GateSite, pool: WorkerPool) -> None:
    async def scenario(desk: Desk) -> None:
        desk.asked.append(asyncio.create_task(Release(site, desk.courier).sign()))
        await until(lambda: desk.gate.parts.custodian.count == 1)
        listed = await desk.list()
        assert (await desk.courier.policy(site.world.policy_parts())).message["ok"]
        with pytest.raises(SignwrightError, match="does not wait for a custodian"):
            await desk.word(listed)
        answer = (await desk.asked.pop()).message
        assert (answer["outcome"], answer["code"]) == ("waiting", "approvals"), "approvals were for the older policy"

        listed = await desk.ask()
        payload = draft_halt(site.root_sha256, reason="stop", now=now_utc())
        halt = sign_ssh(payload, site.world.keeper, "halt")
        assert (await desk.courier.call({"type": "halt"}, [halt.encode()])).message["ok"]
        with pytest.raises(SignwrightError, match="does not wait for a custodian"):
            await desk.word(listed)
        answer = (await desk.asked.pop()).message
        assert (answer["outcome"], answer["code"]) == ("waiting", "halted")
        assert site.keyholder.operations == 0

    run(site, scenario, pool)


def test_approval_that_ends_while_the_request_waits_counts_no_more(tmp_path: Path, pool: WorkerPool) -> None:
    moved = [timedelta(0)]

    async def scenario(desk: Desk) -> None:
        release = Release(site, desk.courier)
        soon = format_time(now_utc() + timedelta(minutes=4))
        words = [release.approval("alice"), release.approval("bob", expires=soon)]
        desk.asked.append(asyncio.create_task(release.sign(approvals=words)))
        await until(lambda: desk.gate.parts.custodian.count == 1)
        listed = await desk.list()
        moved[0] = timedelta(minutes=5)
        with pytest.raises(SignwrightError, match="does not wait for a custodian"):
            await desk.word(listed)
        assert (await desk.asked.pop()).message["code"] == "approvals"
        assert site.keyholder.operations == 0

    with custodian_site(tmp_path, now=lambda: now_utc() + moved[0]) as site:
        run(site, scenario, pool)


def test_request_ends_with_its_own_time_while_it_waits(tmp_path: Path) -> None:
    moved = [timedelta(0)]

    async def scenario(desk: Desk) -> None:
        await desk.ask()
        moved[0] = timedelta(hours=13)
        answer = (await desk.asked.pop()).message
        assert (answer["outcome"], answer["code"]) == ("denied", "request-expired")
        assert desk.gate.parts.custodian.count == 0
        assert site.keyholder.operations == 0

    with custodian_site(tmp_path, now=lambda: now_utc() + moved[0]) as site:
        run(site, scenario)


def test_denial_counts_though_a_confirmation_reaches_the_log_before_it(site: GateSite) -> None:
    """The denial came first, and its own record takes its time."""

    async def scenario(desk: Desk) -> None:
        listed = await desk.ask(digest_request(site, b"content"))
        parts = desk.gate.parts

        def taken(**changes: str) -> asyncio.Task[None]:
            envelope = desk.statement(listed, site.world.people["carol"], **changes)
            word = parse_custodian(envelope), envelope.encode(), parts.policies.in_force.policy
            return asyncio.create_task(parts.custodian.take(*word))

        busy, loop = threading.Event(), asyncio.get_running_loop()
        with ThreadPoolExecutor(1) as records:
            loop.set_default_executor(records)
            loop.run_in_executor(None, busy.wait)
            denial = taken(decision="deny", reason="not the tagged commit")
            await asyncio.sleep(0)
            confirmation = taken()
            await asyncio.wait({confirmation}, timeout=2)
            busy.set()
            await denial
            answer = (await desk.asked[0]).message
        assert (answer["outcome"], answer["code"]) == ("denied", "custodian-denied")
        with pytest.raises(SignwrightError, match="does not wait for a custodian"):
            await confirmation
        assert site.keyholder.operations == 0
        loop.set_default_executor(ThreadPoolExecutor())

    run(site, scenario)
