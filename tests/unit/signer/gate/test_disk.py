# SPDX-License-Identifier: Apache-2.0
"""A gate whose disk fails: nothing is signed, nothing half-written counts, and it does not stay that way."""

from __future__ import annotations

import asyncio
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager

from signwright.signer.worker.pool import WorkerPool
from tests.support.gates import GateSite, Release, digest_request, pe_program


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """Every write beyond fails with EFBIG, as it does with ENOSPC on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


async def hangs_up(path: str) -> None:
    """Until nobody listens any more."""
    async with asyncio.timeout(20):
        while True:
            try:
                _, writer = await asyncio.open_unix_connection(path)
            except OSError:
                return
            writer.close()
            await asyncio.sleep(0.05)


def test_gate_that_cannot_write_its_log_signs_nothing_ends_and_is_whole_after_a_restart(site: GateSite) -> None:
    request = digest_request(site)

    async def broken() -> None:
        async with site.run() as (gate, courier):
            place = site.settings.tiles / "tile" / "entries" / "000.p" / str(gate.parts.log.size + 1)
            place.mkdir()  # no file can take this place
            answer = await courier.sign(request)
            assert (answer.message["outcome"], answer.message["code"]) == ("failed", "log-disk"), answer.message
            assert site.keyholder.operations == 0
            # Its launcher starts it again; a gate that stayed would refuse everything until somebody looked.
            await hangs_up(site.settings.socket)
            place.rmdir()

    async def again() -> None:
        async with site.run() as (_, courier):
            answer = await courier.sign(request)
            assert answer.message["outcome"] == "signed", answer.message
            assert site.keyholder.operations == 1

    asyncio.run(broken())
    asyncio.run(again())


def test_artifact_that_cannot_be_stored_is_an_answer_at_once(site: GateSite, pool: WorkerPool) -> None:
    pool.start()

    async def scenario() -> None:
        async with site.run(pool) as (_, courier):
            release = Release(site, courier, content=pe_program(overlay=bytes(4 << 20)))
            with files_of_at_most(3 << 20):
                answer = await release.sign()
            code = answer.message["code"]
            assert (answer.message["outcome"], code) == ("failed", "artifact-not-stored"), answer.message
            assert site.keyholder.operations == 0
            assert (await release.sign()).message["outcome"] == "signed"

    asyncio.run(scenario())
