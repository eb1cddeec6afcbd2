# SPDX-License-Identifier: Apache-2.0
"""Messages between our own processes: a small JSON header and binary parts.

Wire form: 4 bytes big-endian length of the header, the header ``{"message": {...}, "parts": [n, ...]}``, then the
parts.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from signwright.errors import LimitError, MalformedError

MAX_HEADER = 4 << 20
MAX_PARTS = 4096
MAX_BODY = 64 << 20
#: Parts of so many bytes in all are read with one call.
AT_ONCE = 64 << 10
_encode = json.JSONEncoder(separators=(",", ":")).encode


@dataclass(frozen=True, slots=True)
class Frame:
    """``message`` is plain JSON data; ``parts`` are bytes it refers to by index."""

    message: dict[str, object]
    parts: tuple[bytes, ...] = ()


def encode_frame(message: dict[str, object], parts: Sequence[bytes] = ()) -> bytes:
    """The wire form; raises `LimitError` when a reader would refuse it."""
    header = _encode({"message": message, "parts": [len(p) for p in parts]}).encode()
    if len(header) > MAX_HEADER or len(parts) > MAX_PARTS or sum(map(len, parts)) > MAX_BODY:
        raise LimitError("message between processes is too large")
    return b"".join((len(header).to_bytes(4, "big"), header, *parts))


def read_frame(read_exactly: Callable[[int], bytes]) -> Frame:
    """Read one frame. ``read_exactly(n)`` returns n bytes or raises (`EOFError` at a clean end)."""
    length = header_length(read_exactly(4))
    message, sizes = parse_header(read_exactly(length))
    if 0 < sum(sizes) <= AT_ONCE:
        read_exactly = io.BytesIO(read_exactly(sum(sizes))).read
    return Frame(message, tuple(read_exactly(n) if n else b"" for n in sizes))


def header_length(first: bytes) -> int:
    """Length of the header from the first 4 bytes; raises `LimitError`."""
    length = int.from_bytes(first, "big")
    if not 0 < length <= MAX_HEADER:
        raise LimitError(f"message header of {length} bytes")
    return length


def parse_header(header: bytes, *, max_body: int = MAX_BODY) -> tuple[dict[str, object], list[int]]:
    """Message and sizes of the parts that follow; raises `MalformedError`, and `LimitError` beyond ``max_body``."""
    try:
        content = json.loads(header)
        message, sizes = content["message"], content["parts"]
    except (ValueError, KeyError, TypeError, RecursionError) as problem:
        raise MalformedError("message header does not parse") from problem
    sound = isinstance(message, dict) and isinstance(sizes, list) and len(sizes) <= MAX_PARTS
    if not sound or not all(type(n) is int and n >= 0 for n in sizes) or sum(sizes) > max_body:
        raise LimitError("message parts are out of range")
    return message, sizes


class Receiver(Protocol):
    """What a socket is here."""

    def recv(self, size: int, /) -> bytes: ...


def reader(channel: Receiver) -> Callable[[int], bytes]:
    """``read_exactly`` for `read_frame` over a blocking socket; `EOFError` when the other end is gone."""

    def read_exactly(length: int) -> bytes:
        received = bytearray()
        while len(received) < length:
            block = channel.recv(min(length - len(received), 1 << 20))
            if not block:
                raise EOFError("it hung up")
            received += block
        return bytes(received)

    return read_exactly


def decode_frame(content: bytes) -> Frame:
    """A frame that `encode_frame` wrote, back; raises `MalformedError` for anything else."""
    stream = io.BytesIO(content)

    def read_exactly(length: int) -> bytes:
        piece = stream.read(length)
        if len(piece) != length:
            raise MalformedError("a stored frame is cut off")
        return piece

    return read_frame(read_exactly)
