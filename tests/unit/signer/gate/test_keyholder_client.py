# SPDX-License-Identifier: Apache-2.0
"""A keyholder that answers nonsense, and one that is gone: the gate's end says so and waits for nobody."""

from __future__ import annotations

import asyncio
import hashlib
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from signwright.errors import MalformedError, UnavailableError
from signwright.model.framing import Frame
from signwright.signer.channel import Channel
from signwright.signer.gate.keyholder import KeyholderClient, OutcomeUnknownError
from signwright.signer.gate.log import Log
from signwright.signer.gate.state import State, create_state
from signwright.signer.gate.tiles import TileFiles
from signwright.transparency.checkpoint import Checkpoint
from signwright.transparency.cosignature import Cosigned
from signwright.transparency.growth import Frontier
from signwright.transparency.note import ED25519
from signwright.transparency.signing import SignerKey
from signwright.transparency.tiles import TileTree

STATUS: dict[str, Any] = {
    "ok": True,
    "log": {"size": 0, "root": "00" * 32},
    "start": {"nonce": "ab" * 16, "number": 1},
    "read": 0,
}
#: What the keyholder sends for a question, in order. None: it hangs up.
Answers = Callable[[Frame], list[dict[str, Any] | None]]


@asynccontextmanager
async def keyholder(answers: Answers) -> AsyncIterator[tuple[KeyholderClient, asyncio.Task[None], list[Frame]]]:
    """The gate's end of a socket pair, its reading task, and the questions that came out at the other end."""
    ours, theirs = socket.socketpair()
    channel = Channel(*await asyncio.open_unix_connection(sock=theirs))
    asked: list[Frame] = []

    async def serve() -> None:
        while True:
            frame = await channel.receive()
            asked.append(frame)
            for message in answers(frame):
                if message is None:
                    await channel.close()
                    return
                await channel.send({"id": frame.message["id"], **message})

    serving = asyncio.create_task(serve())
    client = await KeyholderClient.connect(ours.detach(), seconds=20)
    running = asyncio.create_task(client.run())
    try:
        yield client, running, asked
    finally:
        await client.close()
        await asyncio.gather(running, serving, return_exceptions=True)
        await channel.close()


async def nobody(checkpoint: Checkpoint, note: bytes, tree: TileTree) -> tuple[bytes, Cosigned]:
    raise UnavailableError("no witness")


async def written_log(folder: Path, leaves: list[bytes]) -> Log:
    create_state(folder / "state", root_sha256="00" * 32)
    (folder / "tiles").mkdir()
    signer = SignerKey("log.example", ED25519, hashlib.sha256(b"log").digest())
    log = Log(State(folder / "state"), TileFiles(folder / "tiles"), signer, Frontier(), nobody)
    running = asyncio.create_task(log.run())
    await asyncio.gather(*map(log.append, leaves))
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    return log


@pytest.mark.parametrize("number", [[1], {"1": 1}, None, "1"], ids=["list", "object", "null", "text"])
def test_answer_to_no_question_is_dropped_and_the_next_one_is_heard(number: object) -> None:
    async def scenario() -> None:
        async with keyholder(lambda _: [{"id": number, "ok": False}, STATUS]) as (client, _, _):
            assert (await asyncio.wait_for(client.status(), timeout=20))["read"] == 0

    asyncio.run(scenario())


def test_keyholder_that_hangs_up_ends_the_gate_and_whoever_waits_for_it() -> None:
    async def scenario() -> None:
        async with keyholder(lambda _: [None]) as (client, running, _):
            with pytest.raises(OutcomeUnknownError):
                await asyncio.wait_for(client.status(), timeout=20)
            with pytest.raises(UnavailableError) as refused:
                await asyncio.wait_for(running, timeout=20)
            assert refused.value.code == "no-keyholder"

    asyncio.run(scenario())


@pytest.mark.parametrize("log", [None, 7, {"root": "00" * 32}, {"size": "7", "root": "00" * 32}], ids=str)
def test_status_that_does_not_say_which_log_was_seen_is_refused(log: object) -> None:
    async def scenario() -> None:
        async with keyholder(lambda _: [{**STATUS, "log": log}]) as (client, _, _):
            with pytest.raises(MalformedError, match="status has no log"):
                await asyncio.wait_for(client.status(), timeout=20)

    asyncio.run(scenario())


@pytest.mark.parametrize("start", [None, "ab", ["ab", 1]], ids=["null", "text", "list"])
def test_status_that_says_nothing_of_a_start_is_refused(tmp_path: Path, start: object) -> None:
    async def scenario() -> None:
        log = await written_log(tmp_path, [b"one"])
        async with keyholder(lambda _: [{**STATUS, "start": start}]) as (client, _, asked):
            with pytest.raises(MalformedError, match="nothing of its start"):
                await asyncio.wait_for(client.read_log(log), timeout=20)
            assert [frame.message["verb"] for frame in asked] == ["status"]

    asyncio.run(scenario())


def test_keyholder_is_given_the_leaves_that_it_has_not_read_before_anybody_waits(tmp_path: Path) -> None:
    async def scenario() -> None:
        log = await written_log(tmp_path, [b"one", b"two", b"three"])
        async with keyholder(lambda _: [{**STATUS, "read": 1}]) as (client, _, asked):
            await asyncio.wait_for(client.read_log(log), timeout=20)
            (leaves,) = [frame for frame in asked if frame.message["verb"] == "leaves"]
            assert leaves.message["first"] == 1
            assert list(leaves.parts) == log.leaves(1, 3)

    asyncio.run(scenario())
