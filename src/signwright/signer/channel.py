# SPDX-License-Identifier: Apache-2.0
"""Frames of `signwright.model.framing` over an asyncio stream: what gate and courier, gate and keyholder talk in."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from signwright.errors import MalformedError
from signwright.model.framing import Frame, encode_frame, header_length, parse_header

#: Bytes that a stream holds back before its sender has to wait.
STREAM_LIMIT = 1 << 20
#: Bodies of ordinary messages; the bytes of artifacts never travel as parts.
MAX_MESSAGE = 32 << 20


class Channel:
    """One connection. ``receive`` belongs to one task; ``send`` may be called by any."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def receive(self, *, max_body: int = MAX_MESSAGE) -> Frame:
        """The next frame. Raises `EOFError` at a clean end, `MalformedError` in the middle of a frame, `LimitError`."""
        try:
            first = await self.reader.readexactly(4)
        except asyncio.IncompleteReadError as problem:
            if problem.partial:
                raise MalformedError("the connection ended within a message") from problem
            raise EOFError("the connection ended") from problem
        try:
            message, sizes = parse_header(await self.reader.readexactly(header_length(first)), max_body=max_body)
            parts = [await self.reader.readexactly(size) if size else b"" for size in sizes]
        except asyncio.IncompleteReadError as problem:
            raise MalformedError("the connection ended within a message") from problem
        return Frame(message, tuple(parts))

    async def send(self, message: dict[str, object], parts: Sequence[bytes] = ()) -> None:
        """Write one frame; raises `ConnectionError` when the other side is gone and `LimitError` for one too large."""
        self.writer.write(encode_frame(message, parts))
        await self.writer.drain()

    async def close(self) -> None:
        self.writer.close()
        try:
            await self.writer.wait_closed()
        except OSError:
            return


def text_field(message: dict[str, object], name: str, default: str = "") -> str:
    """A text member; raises `MalformedError` for another type."""
    value = message.get(name, default)
    if not isinstance(value, str) or len(value) > 4096:
        raise MalformedError(f"message field {name!r} is not a text")
    return value


def number_field(message: dict[str, object], name: str) -> int:
    """A whole number that is not negative; raises `MalformedError`."""
    value = message.get(name)
    if type(value) is not int or not 0 <= value < 1 << 63:
        raise MalformedError(f"message field {name!r} is not a number")
    return value


def indexed_parts(frame: Frame, name: str) -> list[bytes]:
    """The parts that the list of indexes ``name`` refers to; raises `MalformedError`."""
    indexes = frame.message.get(name, [])
    if not isinstance(indexes, list) or not all(type(n) is int and 0 <= n < len(frame.parts) for n in indexes):
        raise MalformedError(f"message field {name!r} is not a list of parts")
    return [frame.parts[n] for n in indexes]
