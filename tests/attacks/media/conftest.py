# SPDX-License-Identifier: Apache-2.0
"""A vault at work for all tests of a module, in a loop of its own; each test brings its own requests."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import pytest

from signwright.signer.worker.pool import WorkerPool
from tests.support.gates import unused_pool
from tests.support.vaults import VaultSite, vault_at_work, vault_site

T = TypeVar("T")
SECONDS = 120


@dataclass
class Running:
    """``site``: touched in its own loop only, through `do`."""

    loop: asyncio.AbstractEventLoop
    site: VaultSite

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(SECONDS)


@pytest.fixture(scope="module")
def pool() -> Iterator[WorkerPool]:
    with unused_pool() as warm:
        yield warm


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, pool: WorkerPool) -> Iterator[Running]:
    """The policy is in force, and its log is outside."""
    made = vault_site(tmp_path_factory.mktemp("vault"))
    loop, stop, ready = asyncio.new_event_loop(), asyncio.Event(), threading.Event()
    found: list[VaultSite] = []

    async def life() -> None:
        try:
            async with vault_at_work(made, pool) as site:
                await site.settled()
                found.append(site)
                ready.set()
                await stop.wait()
        finally:
            ready.set()

    thread = threading.Thread(target=loop.run_until_complete, args=(life(),))
    thread.start()
    try:
        assert ready.wait(SECONDS)
        assert found, "the vault did not begin"
        yield Running(loop, found[0])
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(SECONDS)
        loop.close()
        made.close()
