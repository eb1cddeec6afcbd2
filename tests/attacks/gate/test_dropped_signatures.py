# SPDX-License-Identifier: Apache-2.0
"""A worker that an artifact has taken over loses a signature that was to stay, or hands over too much to be seen."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from signwright.formats.pe import PeFormat, PeOptions
from signwright.model.view import BytesView
from signwright.signer.gate import derive
from signwright.signer.worker.client import Workers
from signwright.signer.worker.pool import WorkerPool
from signwright.statements.models import RequestedArtifact
from tests.attacks.gate.test_old_signatures import windows
from tests.support.gates import GateSite, sha256
from tests.support.pe_builder import PE32, sign

__all__ = ["windows"]


def asked(site: GateSite, pool: WorkerPool, content: bytes, **options: Any) -> tuple[str, str, int]:
    """Outcome, code, and how many leaves the log has more."""
    chain = site.keyholder.identities["test"].chain
    prepared = PeFormat().prepare(BytesView(content), chain, PeOptions(**options))
    artifact = RequestedArtifact(size=len(content), format="pe", options=options, operations=prepared.operations)
    request = site.world.request("test", files={"a.exe": content}, artifacts=[artifact])

    async def scenario() -> tuple[str, str, int]:
        async with site.run(pool) as (gate, courier):
            courier.blobs[sha256(content)] = content
            before = gate.parts.log.size
            answer = await courier.sign(request)
            return str(answer.message["outcome"]), str(answer.message["code"]), gate.parts.log.size - before

    return asyncio.run(scenario())


def test_signature_that_was_to_stay_is_missed(
    windows: GateSite, pool: WorkerPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = Workers.embed

    def lossy(self: Workers, artifact: int, *, prepared: Any, **rest: Any) -> Any:
        lost = prepared.model_copy(update={"state": {**prepared.state, "kept": []}})
        return honest(self, artifact, prepared=lost, **rest)

    signed = sign(PE32.build())
    assert asked(windows, pool, signed, existing="append")[0] == "signed"
    monkeypatch.setattr(Workers, "embed", lossy)
    outcome, code, _ = asked(windows, pool, sign(PE32.build(), description="another"), existing="append")
    assert (outcome, code) == ("failed", "result-mismatch")


def test_more_content_than_an_order_carries_costs_no_attempt(
    windows: GateSite, pool: WorkerPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(derive, "MAX_SEEN", 16)
    outcome, code, leaves = asked(windows, pool, PE32.build(), page_hashes=True)
    assert (outcome, code, leaves) == ("denied", "contents-size", 0)
    assert windows.keyholder.operations == 0
