# SPDX-License-Identifier: Apache-2.0
"""An artifact that takes its parser over: whatever the workers then say, the key signs what people approved, and
nothing is handed out that a reader did not find as it was made.
"""

from __future__ import annotations

import asyncio

import pytest

from signwright.formats.registry import FORMATS
from signwright.model.view import BytesView
from signwright.signer.worker.pool import WorkerPool
from signwright.statements.models import RequestedArtifact
from tests.support.gates import GateSite, Release, pe_program, sha256


@pytest.mark.parametrize(
    ("lie", "outcome", "code", "operations"),
    [
        ("other-bytes", "failed", "worker-answer", 0),
        ("other-size", "failed", "worker-answer", 0),
        ("not-final", "denied", "wrong-operations", 0),
        ("another-form", "failed", "worker-answer", 0),
        ("control-character", "failed", "worker-answer", 0),
        ("no-source", "failed", "worker-answer", 0),
        ("other-source", "failed", "strip-test", 1),
        ("embedded-nothing", "failed", "result-mismatch", 1),
        ("other-result", "failed", "result-mismatch", 1),
        ("other-length", "failed", "result-mismatch", 1),
        ("other-content", "failed", "strip-test", 1),
        ("no-signature", "failed", "result-mismatch", 1),
        ("one-more", "failed", "result-mismatch", 1),
        ("twice", "failed", "result-mismatch", 1),
        ("other-digest", "failed", "result-mismatch", 1),
        ("other-key", "failed", "result-mismatch", 1),
        ("other-certificate", "failed", "result-mismatch", 1),
        ("no-timestamp", "failed", "result-mismatch", 1),
    ],
)
def test_lie_of_a_worker_is_noticed_and_nothing_is_delivered(
    site: GateSite, lying_pool: WorkerPool, lie: str, outcome: str, code: str, operations: int
) -> None:
    async def scenario() -> None:
        async with site.run(lying_pool) as (_, courier):
            content = pe_program(overlay=b"lie:" + lie.encode() + b";")
            answer = await Release(site, courier, content=content).sign()
            assert (answer.message["outcome"], answer.message["code"]) == (outcome, code), answer.message
            assert answer.message["artifacts"] == []
            assert site.keyholder.operations == operations

    asyncio.run(scenario())


@pytest.mark.parametrize(("lie", "code"), [("long-value", "result-mismatch"), ("other-value", "bad-signature")])
def test_value_that_a_worker_changes_is_no_raw_signature(
    site: GateSite, lying_pool: WorkerPool, lie: str, code: str
) -> None:
    content = b"any file lie:" + lie.encode() + b";"
    prepared = FORMATS["raw"].prepare(BytesView(content), (), FORMATS["raw"].options())
    artifact = RequestedArtifact(size=len(content), format="raw", operations=prepared.operations)
    request = site.world.request("test-raw", files={"notes.txt": content}, artifacts=[artifact])

    async def scenario() -> None:
        async with site.run(lying_pool) as (_, courier):
            courier.blobs[sha256(content)] = content
            answer = await courier.sign(request)
            assert (answer.message["outcome"], answer.message["code"]) == ("failed", code), answer.message
            assert answer.message["artifacts"] == []

    asyncio.run(scenario())


def test_artifact_that_takes_nothing_over_is_signed(site: GateSite, lying_pool: WorkerPool) -> None:
    async def scenario() -> None:
        async with site.run(lying_pool) as (_, courier):
            answer = await Release(site, courier, content=pe_program(overlay=b"lie:nothing;")).sign()
            assert answer.message["outcome"] == "signed", answer.message

    asyncio.run(scenario())
