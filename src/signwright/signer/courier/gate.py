# SPDX-License-Identifier: Apache-2.0
"""The courier's connection to the gate: jobs in, errands and results out, many at once."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from itertools import count

from signwright.errors import SignwrightError, UnavailableError
from signwright.model.framing import Frame
from signwright.signer.channel import STREAM_LIMIT, Channel

#: Runs one errand; its return value is sent as the answer, None sends nothing.
ErrandRunner = Callable[[Frame], Awaitable[Frame | None]]
#: Hears the state of a request: (number, state).
Progress = Callable[[int, str], None]


def sign_message(approvals: Sequence[bytes], evidence: Sequence[bytes]) -> dict[str, object]:
    """The ``sign`` message whose parts are the request, then these approvals, then this evidence."""
    first = 1 + len(approvals)
    numbers = {"approvals": list(range(1, first)), "evidence": list(range(first, first + len(evidence)))}
    return {"type": "sign", "request": 0, **numbers}


class GateLink:
    """One connection. `run` reads until it ends."""

    def __init__(self, path: str, channel: Channel, *, errand: ErrandRunner, progress: Progress) -> None:
        self._path = path
        self._channel = channel
        self._errand = errand
        self._progress = progress
        self._numbers = count(1)
        self._replies: dict[int, asyncio.Future[Frame]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    @classmethod
    async def connect(cls, path: str, *, errand: ErrandRunner, progress: Progress) -> GateLink:
        """Raises `UnavailableError` when no gate listens."""
        try:
            reader, writer = await asyncio.open_unix_connection(path, limit=STREAM_LIMIT)
        except OSError as problem:
            raise UnavailableError(f"gate: {path}: {problem.strerror}", code="no-gate") from problem
        return cls(path, Channel(reader, writer), errand=errand, progress=progress)

    async def run(self) -> None:
        """Raises `UnavailableError` when the gate hangs up."""
        try:
            while True:
                self._take(await self._channel.receive())
        except (EOFError, OSError, SignwrightError) as problem:
            raise UnavailableError("the gate hung up", code="no-gate") from problem
        finally:
            await self._end()

    async def _end(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for reply in self._replies.values():
            if not reply.done():
                reply.set_exception(UnavailableError("the gate hung up", code="no-gate"))
        await self._channel.close()

    def _take(self, frame: Frame) -> None:
        kind, number = frame.message.get("type"), frame.message.get("id")
        if kind == "errand":
            task = asyncio.create_task(self._run_errand(frame))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        elif kind == "progress" and isinstance(number, int):
            self._progress(number, str(frame.message.get("state")))
        elif isinstance(number, int) and (reply := self._replies.get(number)) is not None and not reply.done():
            reply.set_result(frame)

    async def _run_errand(self, frame: Frame) -> None:
        try:
            answer = await self._errand(frame)
        except SignwrightError as problem:
            answer = Frame({"ok": False, "message": f"{problem.message} ({problem.code})"})
        if answer is not None:
            message = {"type": "answer", "errand": frame.message.get("errand"), **answer.message}
            with contextlib.suppress(OSError):
                await self._channel.send(message, answer.parts)

    def number(self) -> int:
        """A number for the next call."""
        return next(self._numbers)

    async def call(self, number: int, message: dict[str, object], parts: Sequence[bytes] = ()) -> Frame:
        """The gate's answer to ``message``, however long it takes; raises `UnavailableError` when the gate goes
        away.
        """
        reply: asyncio.Future[Frame] = asyncio.get_running_loop().create_future()
        self._replies[number] = reply
        try:
            await self._channel.send({**message, "id": number}, parts)
            return await reply
        except OSError as problem:
            raise UnavailableError("the gate hung up", code="no-gate") from problem
        finally:
            del self._replies[number]

    async def send_blob(self, errand: int, size: int, blocks: AsyncIterator[bytes]) -> None:
        """An artifact's bytes on a connection of their own, in constant memory; raises `UnavailableError`."""
        try:
            _, writer = await asyncio.open_unix_connection(self._path)
        except OSError as problem:
            raise UnavailableError(f"gate: {problem.strerror}", code="no-gate") from problem
        channel = Channel(_, writer)
        try:
            await channel.send({"type": "blob", "errand": errand, "size": size})
            async for block in blocks:
                writer.write(block)
                await writer.drain()
        except OSError as problem:
            raise UnavailableError("the gate did not take the artifact", code="blob-refused") from problem
        finally:
            await channel.close()
