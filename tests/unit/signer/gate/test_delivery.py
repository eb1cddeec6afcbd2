# SPDX-License-Identifier: Apache-2.0
"""Which results leave the gate: beside older signatures, with timestamps of the right authority, of a size."""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import Sequence
from typing import Any

import pytest

from signwright.errors import TimestampError
from signwright.formats.registry import FORMATS
from signwright.model.framing import Frame
from signwright.model.patch import Patch, Patched
from signwright.model.view import BytesView
from signwright.policy import documents as d
from signwright.readers.pe import PeReader
from signwright.signer.gate.errands import Errands
from signwright.signer.gate.timestamps import Timestamps
from signwright.signer.worker.pool import WorkerPool
from signwright.statements.dsse import Envelope
from signwright.statements.models import RequestedArtifact
from tests.support.gates import Answer, GateSite, Release, digest_request, organisation, pe_artifact, sha256
from tests.support.keyholders import CountingKeyholder, now_utc
from tests.support.pki import default_pki
from tests.support.world import World


def result_of(content: bytes, answer: Any) -> bytes:
    assert answer.message["outcome"] == "signed", answer.message
    (row,) = answer.message["artifacts"]
    patched = Patched(BytesView(content), Patch.decode(answer.parts[row["patch"]]))
    return patched.read(0, patched.size)


def test_program_that_is_signed_already_gets_a_second_signature_beside_the_first(
    site: GateSite, pool: WorkerPool
) -> None:
    """Its own older signature is no signature that nobody ordered, and its content is compared without it."""

    async def scenario() -> None:
        async with site.run(pool) as (_, courier):
            release = Release(site, courier)
            once = result_of(release.content, await release.sign())
            courier.blobs[sha256(once)] = once
            artifact = pe_artifact(once, existing="append")
            request = site.world.request("release", files={"setup.exe": once}, artifacts=[artifact])
            words = [release.approval(person, request=request) for person in ("alice", "bob")]
            answer = await release.sign(request=request, approvals=words, evidence=[site.world.scan(once)])
            twice = result_of(once, answer)
            first, both = (PeReader().read(BytesView(content)) for content in (once, twice))
            assert [s.signature_value for s in both.signatures][:1] == [s.signature_value for s in first.signatures]
            assert len(both.signatures) == 2

    asyncio.run(scenario())


def raw_request(site: GateSite, content: bytes) -> Envelope:
    chosen = FORMATS["raw"]
    prepared = chosen.prepare(BytesView(content), (), chosen.options())
    artifact = RequestedArtifact(size=len(content), format="raw", operations=prepared.operations)
    return site.world.request("test-raw", files={"notes.txt": content}, artifacts=[artifact])


def with_rule(world: World, name: str, **changes: Any) -> None:
    project = world.documents()["projects/default"]
    assert isinstance(project, d.Project)
    rules = {**project.signing_policies, name: project.signing_policies[name].model_copy(update=changes)}
    world.overrides["projects/default"] = project.model_copy(update={"signing_policies": rules})


def test_raw_signature_has_no_timestamp_also_where_one_is_required(tmp_path: Any, pool: WorkerPool) -> None:
    world = organisation()
    with_rule(world, "test-raw", timestamp="required")
    site = GateSite(tmp_path, world)

    async def scenario() -> None:
        async with site.run(pool) as (_, courier):
            courier.blobs[sha256(b"any file")] = b"any file"
            answer = await courier.sign(raw_request(site, b"any file"))
            assert answer.message["outcome"] == "signed", answer.message
            assert "timestamp" not in courier.errands

    try:
        asyncio.run(scenario())
    finally:
        site.close()


def two_authorities(tmp_path: Any) -> GateSite:
    """One of this host and one outside; a release has no exception for the local one."""
    world = organisation()
    anchor = base64.b64encode(default_pki().root).decode()
    world.authorities = tuple(
        d.TimestampAuthority(name=name, anchors=(anchor,), outside=outside)
        for name, outside in (("builtin", False), ("elsewhere", True))
    )
    own = world.documents()["organisation"]
    assert isinstance(own, d.Organisation)
    kept = tuple(row for row in own.exceptions if row.name != "local-timestamp")
    world.overrides["organisation"] = own.model_copy(update={"exceptions": kept})
    return GateSite(tmp_path, world)


def test_release_without_the_exception_asks_outside_authorities_only(tmp_path: Any, pool: WorkerPool) -> None:
    site = two_authorities(tmp_path)

    async def scenario() -> None:
        async with site.run(pool) as (_, courier):
            asked: list[object] = []

            async def stamp(frame: Any) -> Any:
                asked.append(frame.message["authority"])
                return await courier.honest_timestamp(frame)

            courier.lies["timestamp"] = stamp
            assert (await Release(site, courier).sign()).message["outcome"] == "signed"
            assert asked == ["elsewhere"]
            assert (await courier.sign(digest_request(site))).message["outcome"] == "signed"
            assert asked == ["elsewhere", "builtin"], "a test takes whoever comes first"

    try:
        asyncio.run(scenario())
    finally:
        site.close()


def test_policy_without_timestamps_needs_no_authority(tmp_path: Any, pool: WorkerPool) -> None:
    world = organisation()
    world.authorities = ()
    project = world.documents()["projects/default"]
    assert isinstance(project, d.Project)
    raw = {"test-raw": project.signing_policies["test-raw"]}
    world.overrides["projects/default"] = project.model_copy(update={"signing_policies": raw})
    site = GateSite(tmp_path, world)

    async def scenario() -> None:
        async with site.run(pool) as (gate, courier):
            courier.blobs[sha256(b"any file")] = b"any file"
            answer = await courier.sign(raw_request(site, b"any file"))
            assert answer.message["outcome"] == "signed", answer.message
            stamps = Timestamps(Errands(), now=now_utc)
            with pytest.raises(TimestampError, match="lists no timestamp authority"):
                await stamps.stamp(gate.parts.policies.in_force, b"value", outside_only=False)

    try:
        asyncio.run(scenario())
    finally:
        site.close()


@pytest.mark.parametrize("change", [{"status": 500}, {"status": 201}, {"extra": True}], ids=str)
def test_timestamp_comes_with_status_200_and_nothing_else(site: GateSite, change: dict[str, Any]) -> None:
    """The token in it would hold."""

    async def scenario() -> None:
        async with site.run() as (_, courier):

            async def stamp(frame: Any) -> Answer:
                honest = await courier.honest_timestamp(frame)
                more = [b"more"] if "extra" in change else []
                return Answer(status=change.get("status", 200), parts=[*honest.parts, *more])

            courier.lies["timestamp"] = stamp
            answer = await courier.sign(digest_request(site))
            assert (answer.message["outcome"], answer.message["code"]) == ("failed", "no-timestamp"), answer.message

    asyncio.run(scenario())


def test_whoever_failed_lately_is_named_with_the_time_that_is_left(site: GateSite) -> None:
    async def scenario() -> None:
        async with site.run() as (_, courier):

            async def fails(_: Any) -> Answer:
                return Answer(status=500, parts=[b""])

            courier.lies["timestamp"] = fails
            for _unused in range(4):
                answer = await courier.sign(digest_request(site))
            assert re.search(r"the next one is asked again in [1-9][0-9]* s", str(answer.message["message"]))

    asyncio.run(scenario())


@pytest.mark.attacks
@pytest.mark.parametrize("count", [0, 2])
def test_as_many_values_as_were_ordered_come_from_the_keyholder(site: GateSite, count: int) -> None:
    class Miscounting(CountingKeyholder):
        def answer(self, frame: Frame) -> tuple[dict[str, Any], Sequence[bytes]]:
            message, parts = super().answer(frame)
            return message, [*parts] * count if frame.message["verb"] == "order" else parts

    site.keyholder = Miscounting(site.world, site.root_sha256, now=site.now)

    async def scenario() -> None:
        async with site.run() as (_, courier):
            answer = await courier.sign(digest_request(site))
            assert (answer.message["outcome"], answer.message["code"]) == ("failed", "wrong-signature")
            assert answer.message["artifacts"] == []

    asyncio.run(scenario())
