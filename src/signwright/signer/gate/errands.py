# SPDX-License-Identifier: Apache-2.0
"""What the gate asks of the courier: bytes out by name, bytes in. Every answer is the word of somebody who may lie."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import count
from typing import Any

from signwright.errors import SignwrightError, UnavailableError
from signwright.model.framing import Frame
from signwright.signer.channel import Channel, text_field
from signwright.signer.gate.artifact import Artifact, Expected


class Errands:
    """Errands run on the newest connection of the courier; those of an older one fail when it is replaced."""

    def __init__(self) -> None:
        self._channel: Channel | None = None
        self._numbers = count(1)
        self._answers: dict[int, asyncio.Future[Frame]] = {}
        self._expected: dict[int, Expected] = {}

    def connect(self, channel: Channel) -> Channel | None:
        """Use ``channel`` from now on; returns the one that it replaces."""
        older, self._channel = self._channel, channel
        self._abandon()
        return older

    def disconnect(self, channel: Channel) -> None:
        if self._channel is channel:
            self._channel = None
            self._abandon()

    def _abandon(self) -> None:
        gone = UnavailableError("the courier went away", code="no-courier")
        for answer in list(self._answers.values()):
            if not answer.done():
                answer.set_exception(gone)

    def answered(self, frame: Frame) -> None:
        """An ``answer`` came in; one that nobody waits for is dropped."""
        number = frame.message.get("errand")
        answer = self._answers.get(number) if isinstance(number, int) else None
        if answer is not None and not answer.done():
            answer.set_result(frame)

    async def run(self, name: str, fields: dict[str, object], parts: Sequence[bytes] = (), *, seconds: float) -> Frame:
        """The courier's answer to one errand; raises `UnavailableError` when there is none, or it says that it
        failed.
        """
        number = next(self._numbers)
        return await self._ask(number, {"name": name, **fields}, parts=parts, seconds=seconds)

    async def _ask(self, number: int, fields: dict[str, object], *, parts: Sequence[bytes], seconds: float) -> Frame:
        channel = self._channel
        if channel is None:
            raise UnavailableError("no courier is connected", code="no-courier")
        answer: asyncio.Future[Frame] = asyncio.get_running_loop().create_future()
        self._answers[number] = answer
        try:
            async with asyncio.timeout(seconds):
                await channel.send({"type": "errand", "errand": number, **fields}, parts)
                frame = await answer
        except TimeoutError:
            raise UnavailableError(
                f"errand {fields['name']}: no answer within {seconds:.0f} s", code="errand-timeout"
            ) from None
        except ConnectionError as problem:
            raise UnavailableError("the courier went away", code="no-courier") from problem
        finally:
            del self._answers[number]
        if frame.message.get("ok") is not True:
            why = _printable(text_field(frame.message, "message"))
            raise UnavailableError(f"errand {fields['name']} failed: {why}", code="errand-failed")
        return frame

    async def fetch(self, sha256: str, size: int, *, seconds: float) -> Artifact:
        """The artifact's bytes in a file of our own; raises `UnavailableError`, `LimitError`, `VerificationError`."""
        number = next(self._numbers)
        expected = Expected(sha256, size)
        self._expected[number] = expected
        fields: dict[str, object] = {"name": "fetch", "sha256": sha256, "size": size}
        asked = asyncio.create_task(self._ask(number, fields, parts=(), seconds=seconds))
        try:
            waited: set[asyncio.Future[Any]] = {asked, expected.arrived}
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            if expected.arrived.done():
                return expected.arrived.result()
            asked.result()  # raises when the courier says no
            async with asyncio.timeout(seconds):
                return await expected.arrived
        except TimeoutError:
            raise UnavailableError("errand fetch: no bytes came", code="errand-timeout") from None
        finally:
            asked.cancel()
            await asyncio.gather(asked, return_exceptions=True)
            del self._expected[number]
            expected.abandon()

    async def take_blob(self, frame: Frame, channel: Channel) -> None:
        """A blob connection began with ``frame``. Bytes that nobody asked for are not read."""
        number = frame.message.get("errand")
        expected = self._expected.get(number) if isinstance(number, int) else None
        if expected is None or expected.taken:
            return
        try:
            await expected.take(channel.reader, frame.message.get("size"))
        except SignwrightError as problem:
            expected.fail(problem)
        except OSError as problem:  # our own disk, or the connection: whoever waits is told at once
            text = f"artifact: it cannot be stored: {problem.strerror or type(problem).__name__}"
            expected.fail(UnavailableError(text, code="artifact-not-stored"))


def _printable(text: str) -> str:
    """Text of a stranger, fit for a log line."""
    return "".join(c if c.isprintable() else "?" for c in text[:200])
