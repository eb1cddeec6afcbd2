# SPDX-License-Identifier: Apache-2.0
"""A request for which the custodian's list has no room costs the gate nothing."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from signwright.signer.gate.verify import open_job
from signwright.signer.worker.pool import WorkerPool
from signwright.statements.models import RequestedArtifact
from signwright.statements.writing import sign_ed25519
from tests.support.custodians import SETTINGS, Desk, custodian_site, run
from tests.support.gates import Release, digest_request, pe_program, until


def test_content_of_a_request_without_room_is_not_even_fetched(tmp_path: Path, pool: WorkerPool) -> None:
    async def scenario(desk: Desk) -> None:
        first = Release(site, desk.courier)
        desk.asked.append(asyncio.create_task(first.sign()))
        await until(lambda: desk.gate.parts.custodian.count == 1)
        assert desk.courier.errands.count("fetch") == 1
        second = Release(site, desk.courier, content=pe_program(overlay=b"another"))
        answer = await second.sign()
        assert (answer.message["outcome"], answer.message["code"]) == ("waiting", "custodian")
        assert desk.courier.errands.count("fetch") == 1
        listed = await desk.list()
        await desk.word(listed)
        assert (await desk.asked[0]).message["outcome"] == "signed"

    with custodian_site(tmp_path, settings_changes={**SETTINGS, "limits": {"custodian_waiting": 2}}) as site:
        run(site, scenario, pool)


def test_digest_request_that_may_not_be_signed_is_not_shown_to_anybody(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        operation = site.world.operation(b"any content", "authenticode-pe")
        artifact = RequestedArtifact(size=11, format="pe", operations=(operation, operation))
        request = site.world.request("test", files={"a.exe": b"any content"}, artifacts=[artifact], mode="digest")
        answer = await desk.courier.sign(request)
        assert (answer.message["outcome"], answer.message["code"]) == ("denied", "digest-mode")
        assert "custodian" not in desk.courier.progress

    with custodian_site(tmp_path) as site:
        run(site, scenario)


@pytest.mark.parametrize("wanted", ["release", "required"])
def test_nobody_is_asked_about_a_request_under_a_policy_that_does_not_exist(tmp_path: Path, wanted: str) -> None:
    async def scenario(desk: Desk) -> None:
        payload = digest_request(site).payload.replace(b'"signing_policy":"test"', b'"signing_policy":"none"')
        job = open_job(sign_ed25519(payload, site.world.test_credential).encode(), [], [])
        case = desk.gate.parts.verifier.gather(job, desk.gate.parts.policies.in_force)
        assert not desk.gate.parts.custodian.wanted(case)

    with custodian_site(tmp_path, settings_changes={"custodian": wanted}) as site:
        run(site, scenario)
