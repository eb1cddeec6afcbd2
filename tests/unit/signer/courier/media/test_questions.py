# SPDX-License-Identifier: Apache-2.0
"""Questions that wait for a medium: which of them is carried, and what an answer settles."""

from __future__ import annotations

import asyncio

import pytest

from signwright.errors import MalformedError, SignwrightError, UnavailableError
from signwright.signer.courier.media import questions
from signwright.signer.courier.media.questions import Questions
from signwright.transparency.witnessing import add_checkpoint_body
from tests.support.bundles import sha256
from tests.support.logs import MemoryLog


def body(size: int, *, old: int = 0) -> bytes:
    log = MemoryLog()
    log.append([b"leaf %d" % number for number in range(size)])
    return add_checkpoint_body(old, log.tree().consistency(old, size) if old else [], checkpoint=log.note())


async def parked(waiting: Questions, *bodies: bytes, witness: str = "w1") -> list[asyncio.Task[questions.Said]]:
    tasks = [asyncio.create_task(waiting.cosign(witness, one)) for one in bodies]
    await asyncio.sleep(0)
    return tasks


def carried(waiting: Questions) -> list[tuple[str, bytes]]:
    return [(witness, one.body) for witness, one in waiting.waiting()]


def test_the_question_about_the_largest_tree_is_carried_for_each_witness():
    async def story() -> None:
        waiting = Questions()
        tasks = await parked(waiting, body(3), body(5), body(4))
        tasks += await parked(waiting, body(2), witness="w2")
        assert carried(waiting) == [("w1", body(5)), ("w2", body(2))]
        for task in tasks:
            task.cancel()

    asyncio.run(story())


def test_an_answer_ends_what_was_asked_about_smaller_trees():
    async def story() -> None:
        waiting = Questions()
        small, middle, large = await parked(waiting, body(3), body(4), body(5))
        assert waiting.answer("w1", sha256(body(4)), (200, b"line"))
        await asyncio.sleep(0)
        assert await middle == (200, b"line")
        assert small.cancelled()
        assert not large.done()
        assert carried(waiting) == [("w1", body(5))]
        large.cancel()

    asyncio.run(story())


def test_what_is_asked_knowing_the_last_answer_goes_before_a_larger_tree():
    async def story() -> None:
        waiting = Questions()
        _, large = await parked(waiting, body(3), body(6))
        waiting.answer("w1", sha256(body(3)), (409, b"2\n"))
        (again,) = await parked(waiting, body(4, old=2))
        assert carried(waiting) == [("w1", body(4, old=2))]
        large.cancel()
        again.cancel()

    asyncio.run(story())


def test_an_answer_that_nobody_asked_for_settles_nothing():
    async def story() -> None:
        waiting = Questions()
        (task,) = await parked(waiting, body(3))
        assert not waiting.answer("w2", sha256(body(3)), (200, b""))
        assert not waiting.answer("w1", sha256(b"another"), (200, b""))
        assert not task.done()
        task.cancel()

    asyncio.run(story())


def test_the_newest_checkpoint_of_a_witness_is_asked_for_until_it_was_brought():
    waiting = Questions()
    origin = "ab" * 32
    for _ in range(2):
        with pytest.raises(UnavailableError) as caught:
            waiting.latest("w1", origin)
        assert caught.value.code == "waits-for-medium"
    assert waiting.unheard() == [("w1", origin)]
    assert waiting.answer("w1", sha256(origin.encode()), (404, b""))
    assert waiting.latest("w1", origin) == (404, b"")
    assert waiting.unheard() == []


def test_another_gate_process_asks_anew():
    async def story() -> None:
        waiting = Questions()
        (task,) = await parked(waiting, body(3))
        waiting.forget()
        await asyncio.sleep(0)
        assert task.cancelled()
        assert carried(waiting) == []

    asyncio.run(story())


def test_a_gate_that_asks_without_end_fills_no_memory():
    async def story() -> None:
        waiting = Questions()
        sample = body(3)
        tasks = await parked(waiting, *[sample] * (questions.MOST + 2))
        await asyncio.sleep(0)
        failed = [task for task in tasks if task.done()]
        assert len(failed) == 2
        with pytest.raises(SignwrightError):
            await failed[0]
        for task in tasks:
            task.cancel()

    asyncio.run(story())


def test_what_is_no_question_to_a_witness_is_refused():
    with pytest.raises(MalformedError):
        asyncio.run(Questions().cosign("w1", b"hello"))
