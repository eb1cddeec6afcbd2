# SPDX-License-Identifier: Apache-2.0
"""An installer that takes its parser over: the signature is what it should be and every stream is as it was, but
something else stands in the file, where neither a stream nor a signature is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from signwright.formats.msi import MsiFormat, MsiOptions
from signwright.model.view import BytesView
from signwright.policy import documents as d
from signwright.signer.worker.pool import WorkerPool
from signwright.statements.models import RequestedArtifact
from tests.support.cfb_builder import Cfb
from tests.support.gates import GateSite, organisation, sha256, taking


@pytest.fixture
def installers(tmp_path: Path) -> Iterator[GateSite]:
    """A site that signs installers for tests."""
    site = GateSite(tmp_path, world=taking(organisation(), d.ArtifactRule(name="*", format="msi")))
    yield site
    site.close()


def installer(lie: str) -> bytes:
    """Its last stream ends with the lie, and fills the last sector; many sectors in front of it are free."""
    told = f"lie:{lie};".encode()
    return Cfb({"Only": told.rjust(20 * 512, b" ")}, gaps=40, clean=True).build()


@pytest.mark.parametrize(
    ("lie", "outcome", "code"),
    [
        ("none", "signed", ""),
        ("hidden-in-free-sector", "failed", "strip-test"),
        ("hidden-behind-signature", "failed", "strip-test"),
        ("hidden-in-header", "failed", "strip-test"),
    ],
)
def test_bytes_that_nothing_holds_are_not_delivered(
    installers: GateSite, lying_pool: WorkerPool, lie: str, outcome: str, code: str
) -> None:
    content = installer(lie)
    chain = installers.keyholder.identities["test"].chain
    prepared = MsiFormat().prepare(BytesView(content), chain, MsiOptions())
    artifact = RequestedArtifact(size=len(content), format="msi", options={}, operations=prepared.operations)
    request = installers.world.request("test", files={"a.msi": content}, artifacts=[artifact])

    async def scenario() -> None:
        async with installers.run(lying_pool) as (_, courier):
            courier.blobs[sha256(content)] = content
            answer = await courier.sign(request)
            assert (answer.message["outcome"], answer.message["code"]) == (outcome, code), answer.message
            assert bool(answer.message["artifacts"]) is (outcome == "signed")

    asyncio.run(scenario())
