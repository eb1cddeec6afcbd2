# SPDX-License-Identifier: Apache-2.0
"""Frames over a stream: how a connection ends, and what a field of a message may be."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import pytest

from signwright.errors import MalformedError
from signwright.model.framing import Frame, encode_frame
from signwright.signer.channel import Channel, indexed_parts, number_field, text_field

WIRE = encode_frame({"type": "x"}, [b"part"])


async def received(wire: bytes) -> Frame:
    """What comes out at the end of a connection that carried ``wire`` and then ended."""
    ours, theirs = socket.socketpair()
    with theirs:
        theirs.sendall(wire)
    channel = Channel(*await asyncio.open_unix_connection(sock=ours))
    try:
        async with asyncio.timeout(20):
            return await channel.receive()
    finally:
        await channel.close()


def test_frame_comes_through_as_it_was_sent() -> None:
    assert asyncio.run(received(WIRE)) == Frame({"type": "x"}, (b"part",))


def test_end_between_two_frames_is_an_end_and_within_one_an_error() -> None:
    with pytest.raises(EOFError):
        asyncio.run(received(b""))
    for end in range(1, len(WIRE)):
        with pytest.raises(MalformedError, match="ended within a message"):
            asyncio.run(received(WIRE[:end]))


def test_what_is_sent_is_a_frame() -> None:
    async def scenario() -> bytes:
        ours, theirs = socket.socketpair()
        channel = Channel(*await asyncio.open_unix_connection(sock=ours))
        await channel.send({"type": "x"}, [b"part"])
        await channel.close()
        with theirs:
            return theirs.recv(1000)

    assert asyncio.run(scenario()) == WIRE


@pytest.mark.parametrize("value", [1, None, ["a"], "x" * 4097])
def test_text_is_a_text_of_some_length(value: object) -> None:
    assert text_field({"name": "x" * 4096}, "name") == "x" * 4096
    assert text_field({}, "name", "default") == "default"
    with pytest.raises(MalformedError, match="'name' is not a text"):
        text_field({"name": value}, "name")


@pytest.mark.parametrize("value", [-1, 1 << 63, True, 1.0, "1", None])
def test_number_is_whole_and_neither_negative_nor_endless(value: object) -> None:
    assert [number_field({"n": n}, "n") for n in (0, (1 << 63) - 1)] == [0, (1 << 63) - 1]
    with pytest.raises(MalformedError, match="'n' is not a number"):
        number_field({"n": value}, "n")


@pytest.mark.parametrize("indexes", [{}, "01", 0, None, [2], [-1], [True], ["0"], [0, 2], [1.0]])
def test_indexes_are_those_of_parts_that_came(indexes: object) -> None:
    parts = (b"a", b"b")
    assert indexed_parts(Frame({"list": [1, 0, 1]}, parts), "list") == [b"b", b"a", b"b"]
    assert indexed_parts(Frame({}, parts), "list") == []
    with pytest.raises(MalformedError, match="'list' is not a list of parts"):
        indexed_parts(Frame({"list": indexes}, parts), "list")


@pytest.mark.parametrize("read", [text_field, number_field], ids=["text", "number"])
def test_field_of_another_kind_is_refused(read: Callable[[dict[str, object], str], object]) -> None:
    with pytest.raises(MalformedError):
        read({"field": {}}, "field")
