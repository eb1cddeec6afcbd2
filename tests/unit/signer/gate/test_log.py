# SPDX-License-Identifier: Apache-2.0
"""The gate's log: whoever waits for cosignatures is answered."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
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


class Carriers:
    """Answers to rounds of cosignatures come when a test says so. ``asked``: sizes, in the order of the questions."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self._answers: dict[int, asyncio.Future[None]] = {}

    async def collect(self, checkpoint: Checkpoint, note: bytes, tree: TileTree) -> tuple[bytes, Cosigned]:
        del tree
        self.asked.append(checkpoint.size)
        self._answers[checkpoint.size] = answer = asyncio.get_running_loop().create_future()
        await answer
        return note, Cosigned(1, 0, ("w1",), ())

    def answer(self, size: int, problem: Exception | None = None) -> None:
        if problem is None:
            self._answers[size].set_result(None)
        else:
            self._answers[size].set_exception(problem)

    def gone(self, size: int) -> bool:
        return self._answers[size].cancelled()


async def carried_log(folder: Path, carriers: Carriers) -> tuple[Log, asyncio.Task[None]]:
    create_state(folder / "state", root_sha256="00" * 32)
    (folder / "tiles").mkdir()
    signer = SignerKey("log.example", ED25519, hashlib.sha256(b"log").digest())
    state = State(folder / "state")
    log = Log(state, TileFiles(folder / "tiles"), signer, Frontier(), carriers.collect, carried=True)
    return log, asyncio.create_task(log.run())


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


def test_where_people_carry_a_leaf_does_not_wait_for_the_answer_about_another(tmp_path: Path) -> None:
    async def scenario() -> None:
        carriers = Carriers()
        log, running = await carried_log(tmp_path, carriers)
        first = asyncio.create_task(log.cosigned(await log.append(b"one")))
        await until(lambda: carriers.asked == [1])
        second = asyncio.create_task(log.cosigned(await log.append(b"two")))
        await until(lambda: carriers.asked == [1, 2])
        carriers.answer(2)
        answers = await asyncio.gather(first, second)
        assert {answer.checkpoint.size for answer in answers} == {2}
        await until(lambda: carriers.gone(1))
        running.cancel()

    asyncio.run(scenario())


def test_where_people_carry_an_answer_settles_what_it_covers_and_larger_trees_are_asked_anew(tmp_path: Path) -> None:
    async def scenario() -> None:
        carriers = Carriers()
        log, running = await carried_log(tmp_path, carriers)
        first = asyncio.create_task(log.cosigned(await log.append(b"one")))
        await until(lambda: carriers.asked == [1])
        second = asyncio.create_task(log.cosigned(await log.append(b"two")))
        await until(lambda: carriers.asked == [1, 2])
        carriers.answer(1)
        assert (await first).checkpoint.size == 1
        await until(lambda: carriers.asked == [1, 2, 2])  # with a proof from where the witness is now
        assert not second.done()
        carriers.answer(2)
        assert (await second).checkpoint.size == 2
        running.cancel()

    asyncio.run(scenario())


def test_where_people_carry_a_round_that_failed_is_said_to_all_whom_it_covered(tmp_path: Path) -> None:
    async def scenario() -> None:
        carriers = Carriers()
        log, running = await carried_log(tmp_path, carriers)
        first = asyncio.create_task(log.cosigned(await log.append(b"one")))
        await until(lambda: carriers.asked == [1])
        late = asyncio.create_task(log.cosigned(0))
        await asyncio.sleep(0)
        carriers.answer(1, UnavailableError("the window passed", code="no-quorum"))
        for waiter in (first, late):
            with pytest.raises(UnavailableError):
                await waiter
        await until(lambda: carriers.asked == [1, 1])  # the next medium may have better luck
        running.cancel()

    asyncio.run(scenario())


def test_where_people_carry_a_round_that_failed_is_not_said_to_who_waits_for_a_later_leaf(tmp_path: Path) -> None:
    async def scenario() -> None:
        carriers = Carriers()
        log, running = await carried_log(tmp_path, carriers)
        first = asyncio.create_task(log.cosigned(await log.append(b"one")))
        await until(lambda: carriers.asked == [1])
        second = asyncio.create_task(log.cosigned(await log.append(b"two")))
        await until(lambda: carriers.asked == [1, 2])
        carriers.answer(1, UnavailableError("the window passed", code="no-quorum"))
        with pytest.raises(UnavailableError):
            await first
        carriers.answer(2)
        assert (await second).checkpoint.size == 2
        running.cancel()

    asyncio.run(scenario())


def test_empty_log_and_one_without_a_name_are_cosigned_by_nobody_and_go_on(tmp_path: Path) -> None:
    create_state(tmp_path / "state", root_sha256="00" * 32)
    (tmp_path / "tiles").mkdir()
    asked: list[int] = []

    async def collect(checkpoint: Checkpoint, note: bytes, tree: TileTree) -> tuple[bytes, Cosigned]:
        del tree
        asked.append(checkpoint.size)
        await asyncio.sleep(0)
        if not checkpoint.size:
            raise UnavailableError("no witness cosigns nothing")
        return note, Cosigned(0, 1, ("w1",), ())

    async def some_turns() -> None:
        for _ in range(50):
            await asyncio.sleep(0)

    async def scenario() -> None:
        signer = SignerKey("log.example", ED25519, hashlib.sha256(b"log").digest())
        log = Log(State(tmp_path / "state"), TileFiles(tmp_path / "tiles"), signer, Frontier(), collect)
        running = asyncio.create_task(log.run())
        early = asyncio.create_task(log.cosigned(0))  # wants a round
        await some_turns()
        log.signer = None
        assert await log.append(b"leaf") == 0
        late = asyncio.create_task(log.cosigned(0))
        await some_turns()
        assert asked == []
        assert not running.done()
        log.signer = signer
        last = asyncio.create_task(log.cosigned(0))
        answers = await asyncio.wait_for(asyncio.gather(early, late, last), timeout=20)
        assert {answer.checkpoint.size for answer in answers} == set(asked) == {1}
        running.cancel()

    asyncio.run(scenario())


def test_leaves_are_read_back_from_any_place_to_any_other(tmp_path: Path) -> None:
    create_state(tmp_path / "state", root_sha256="00" * 32)
    (tmp_path / "tiles").mkdir()
    leaves = [b"leaf %d" % index for index in range(600)]

    async def nobody(checkpoint: Checkpoint, note: bytes, tree: TileTree) -> tuple[bytes, Cosigned]:
        raise UnavailableError("no witness")

    async def scenario() -> None:
        signer = SignerKey("log.example", ED25519, hashlib.sha256(b"log").digest())
        log = Log(State(tmp_path / "state"), TileFiles(tmp_path / "tiles"), signer, Frontier(), nobody)
        running = asyncio.create_task(log.run())
        await asyncio.gather(*map(log.append, leaves))
        for first, end in ((0, 600), (0, 0), (0, 1), (255, 257), (256, 512), (300, 599), (599, 600), (600, 600)):
            assert log.leaves(first, end) == leaves[first:end], (first, end)
        running.cancel()

    asyncio.run(scenario())


async def nobody_cosigns(checkpoint: Checkpoint, note: bytes, tree: TileTree) -> tuple[bytes, Cosigned]:
    raise UnavailableError("no witness")


def test_log_has_no_name_before_the_first_policy(tmp_path: Path) -> None:
    create_state(tmp_path / "state", root_sha256="00" * 32)

    async def scenario() -> None:
        log = Log(State(tmp_path / "state"), TileFiles(tmp_path / "tiles"), None, Frontier(), nobody_cosigns)
        with pytest.raises(UnavailableError, match="no name before the first policy"):
            log.origin  # noqa: B018 - reading it is what is refused

    asyncio.run(scenario())


def test_log_that_could_not_write_once_takes_nothing_more(tmp_path: Path) -> None:
    """What comes later would stand at the place of what was lost."""
    create_state(tmp_path / "state", root_sha256="00" * 32)
    (tmp_path / "tiles").write_bytes(b"no folder")

    async def scenario() -> None:
        signer = SignerKey("log.example", ED25519, hashlib.sha256(b"log").digest())
        log = Log(State(tmp_path / "state"), TileFiles(tmp_path / "tiles"), signer, Frontier(), nobody_cosigns)
        running = asyncio.create_task(log.run())
        with pytest.raises(UnavailableError):
            await asyncio.wait_for(log.append(b"leaf"), timeout=10)
        with pytest.raises(UnavailableError):
            await asyncio.wait_for(running, timeout=10)
        (tmp_path / "tiles").unlink()
        (tmp_path / "tiles").mkdir()
        with pytest.raises(UnavailableError):
            await asyncio.wait_for(log.append(b"leaf"), timeout=10)
        assert log.size == 0

    asyncio.run(scenario())
