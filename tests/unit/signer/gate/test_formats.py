# SPDX-License-Identifier: Apache-2.0
"""Detached and raw signatures through a real gate: the result is a file about the artifact."""

from __future__ import annotations

import asyncio

import pytest

from signwright.formats.registry import FORMATS
from signwright.model.patch import Patch, Patched
from signwright.model.view import BytesView
from signwright.readers.detached import CmsReader
from signwright.readers.raw import RawReader
from signwright.signer.worker.pool import WorkerPool
from signwright.statements.models import RequestedArtifact
from tests.support.gates import GateSite, sha256

CONTENT = b"any file at all\n" * 100


@pytest.mark.parametrize(("format_name", "signing_policy"), [("cms", "test-file"), ("raw", "test-raw")])
def test_detached_signature_is_made_and_read_back(
    site: GateSite, pool: WorkerPool, format_name: str, signing_policy: str
) -> None:
    async def scenario() -> None:
        async with site.run(pool) as (_, courier):
            chosen = FORMATS[format_name]
            chain = site.keyholder.identities["test"].chain
            prepared = chosen.prepare(BytesView(CONTENT), chain, chosen.options())
            artifact = RequestedArtifact(size=len(CONTENT), format=format_name, operations=prepared.operations)
            courier.blobs[sha256(CONTENT)] = CONTENT
            request = site.world.request(signing_policy, files={"notes.txt": CONTENT}, artifacts=[artifact])
            answer = await courier.sign(request)
            assert answer.message["outcome"] == "signed", answer.message
            (row,) = answer.message["artifacts"]  # type: ignore[misc]
            patched = Patched(BytesView(CONTENT), Patch.decode(answer.parts[row["patch"]]))
            result = patched.read(0, patched.size)
            assert sha256(result) == row["result_sha256"]
            assert result == answer.parts[row["envelopes"][0]]
            raw = RawReader(site.keyholder.identities["test-raw"].public_key)
            reader = CmsReader() if format_name == "cms" else raw
            (signature,) = reader.read(BytesView(result), BytesView(CONTENT)).signatures
            assert (signature.timestamp_token is not None) == (format_name == "cms")

    asyncio.run(scenario())
