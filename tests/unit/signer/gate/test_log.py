# SPDX-License-Identifier: Apache-2.0
"""The gate's log: whoever waits for cosignatures is answered."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path

import pytest

from signwright.errors import UnavailableError
from signwright.signer.gate.log import Log
from signwright.signer.gate.state import State, create_state
from signwright.signer.gate.tiles import TileFiles
from signwright.transparency.checkpoint import Checkpoint
from signwright.transparency.cosignature import Cosigned
from signwright.transparency.growth import Frontier
from signwright.transparency.note import ED25519
from signwright.transparency.signing import SignerKey
from signwright.transparency.tiles import TileTree


@pytest.mark.parametrize("late", [False, True])
def test_who_begins_to_wait_while_a_round_is_under_way_is_answered_by_it(tmp_path: Path, late: bool) -> None:
    create_state(tmp_path / "state", root_sha256="00" * 32)
    (tmp_path / "tiles").mkdir()
    under_way, go_on = asyncio.Event(), asyncio.Event()

    async def collect(checkpoint: Checkpoint, note: bytes, tree: TileTree) -> tuple[bytes, Cosigned]:
        del checkpoint, tree
        under_way.set()
        await go_on.wait()
        return note, Cosigned(0, 1, ("w1",), ())

    async def scenario() -> None:
        signer = SignerKey("log.example", ED25519, hashlib.sha256(b"log").digest())
        log = Log(State(tmp_path / "state"), TileFiles(tmp_path / "tiles"), signer, Frontier(), collect)
        running = asyncio.create_task(log.run())
        index = await log.append(b"leaf")
        first = asyncio.create_task(log.cosigned(index))
        await under_way.wait()
        waiters = [first, *([asyncio.create_task(log.cosigned(index))] if late else [])]
        await asyncio.sleep(0)
        go_on.set()
        answers = await asyncio.wait_for(asyncio.gather(*waiters), timeout=10)
        assert {answer.checkpoint.size for answer in answers} == {1}
        running.cancel()

    asyncio.run(scenario())


def test_group_does_not_wait_for_ever_while_others_keep_coming(tmp_path: Path) -> None:
    create_state(tmp_path / "state", root_sha256="00" * 32)
    (tmp_path / "tiles").mkdir()

    async def nobody(checkpoint: Checkpoint, note: bytes, tree: TileTree) -> tuple[bytes, Cosigned]:
        raise UnavailableError("no witness")

    async def scenario() -> None:
        log = Log(State(tmp_path / "state"), TileFiles(tmp_path / "tiles"), None, Frontier(), nobody)
        running = asyncio.create_task(log.run())
        first = asyncio.create_task(log.append(b"first"))
        others = []
        while not first.done():
            others.append(asyncio.create_task(log.append(b"other")))
            await asyncio.sleep(0.0005)
            assert len(others) < 20_000
        assert await first == 0
        assert sorted(await asyncio.gather(*others)) == list(range(1, len(others) + 1))
        assert log.tree().root() == log.frontier.root()
        running.cancel()

    asyncio.run(scenario())
