# SPDX-License-Identifier: Apache-2.0
"""Errands to a courier that says no, goes away, answers nobody or sends bytes twice."""

from __future__ import annotations

import asyncio
import hashlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from signwright.errors import UnavailableError
from signwright.model.framing import Frame
from signwright.signer.channel import Channel
from signwright.signer.gate.errands import Errands

CONTENT = b"12345"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@asynccontextmanager
async def connection() -> AsyncIterator[tuple[Channel, Channel]]:
    """Two ends of one connection."""
    ends = [Channel(*await asyncio.open_unix_connection(sock=end)) for end in socket.socketpair()]
    try:
        yield ends[0], ends[1]
    finally:
        for end in ends:
            await end.close()


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[Errands, Channel]]:
    """Errands and the courier's end."""
    async with connection() as (gate, courier):
        errands = Errands()
        errands.connect(gate)
        yield errands, courier


async def problem_of(work: asyncio.Task[object]) -> str:
    with pytest.raises(UnavailableError) as failed:
        async with asyncio.timeout(20):
            await work
    return failed.value.code


@pytest.mark.parametrize("ok", [False, 1, "true", None])
def test_answer_that_does_not_say_yes_is_a_no(ok: object) -> None:
    async def scenario() -> None:
        async with connected() as (errands, courier):
            work = asyncio.create_task(errands.run("publish", {}, seconds=20))
            asked = await courier.receive()
            errands.answered(Frame({"errand": asked.message["errand"], "ok": ok, "message": "no"}))
            assert await problem_of(work) == "errand-failed"

    asyncio.run(scenario())


@pytest.mark.parametrize("number", [[1], {"a": 1}, "1", None, 99])
def test_answer_that_nobody_waits_for_is_dropped(number: object) -> None:
    async def scenario() -> None:
        async with connected() as (errands, courier):
            work = asyncio.create_task(errands.run("publish", {}, seconds=20))
            asked = await courier.receive()
            errands.answered(Frame({"errand": number, "ok": True}))
            errands.answered(Frame({"errand": asked.message["errand"], "ok": True, "mine": True}))
            assert (await work).message["mine"] is True

    asyncio.run(scenario())


def test_courier_that_hung_up_is_no_courier() -> None:
    async def scenario() -> None:
        async with connection() as (gate, _):
            errands = Errands()
            assert await problem_of(asyncio.create_task(errands.run("publish", {}, seconds=20))) == "no-courier"
            errands.connect(gate)
            await gate.close()
            assert await problem_of(asyncio.create_task(errands.run("publish", {}, seconds=20))) == "no-courier"

    asyncio.run(scenario())


def test_artifact_that_was_promised_and_does_not_come_is_given_up() -> None:
    async def scenario() -> None:
        async with connected() as (errands, courier):
            work = asyncio.create_task(errands.fetch(SHA256, 5, seconds=0.2))
            asked = await courier.receive()
            errands.answered(Frame({"errand": asked.message["errand"], "ok": True}))
            assert await problem_of(work) == "errand-timeout"

    asyncio.run(scenario())


def test_second_connection_cannot_replace_the_bytes_of_the_first() -> None:
    async def scenario() -> None:
        async with connected() as (errands, courier), connection() as (first, sends), connection() as (second, other):
            work = asyncio.create_task(errands.fetch(SHA256, 5, seconds=20))
            blob = Frame({"errand": (await courier.receive()).message["errand"], "size": 5})
            sends.writer.write(CONTENT[:2])
            taken = asyncio.create_task(errands.take_blob(blob, first))
            other.writer.write(CONTENT)
            await asyncio.sleep(0)
            await errands.take_blob(blob, second)
            assert not work.done()
            assert await second.reader.readexactly(5) == CONTENT, "nobody has read it"
            sends.writer.write(CONTENT[2:])
            await taken
            artifact = await work
            assert artifact.file.seek(0) == 0
            assert artifact.file.read() == CONTENT
            artifact.close()

    asyncio.run(scenario())


@pytest.mark.parametrize("number", [7, [1], {}, "1", None])
def test_bytes_that_nobody_asked_for_are_not_read(number: object) -> None:
    async def scenario() -> None:
        async with connected() as (errands, _), connection() as (stranger, sends):
            sends.writer.write(CONTENT)
            await errands.take_blob(Frame({"errand": number, "size": 5}), stranger)
            assert await stranger.reader.readexactly(5) == CONTENT

    asyncio.run(scenario())
