# SPDX-License-Identifier: Apache-2.0
"""Frames between processes: what is written is read, and nothing larger is written or read."""

from __future__ import annotations

import io
import json

import pytest

from signwright.errors import LimitError, MalformedError
from signwright.model import framing
from signwright.model.framing import AT_ONCE, Frame, decode_frame, encode_frame, header_length, parse_header, read_frame


def header(**content: object) -> bytes:
    return json.dumps(content).encode()


def test_frame_is_read_as_it_was_written() -> None:
    frame = Frame({"type": "x", "n": [1, None]}, (b"", b"a" * 70_000))
    assert decode_frame(encode_frame(frame.message, frame.parts)) == frame


def test_every_truncation_is_an_error() -> None:
    wire = encode_frame({"type": "x"}, [b"part", b"y"])
    for end in range(len(wire)):
        with pytest.raises((MalformedError, LimitError)):
            decode_frame(wire[:end])


def test_header_of_no_bytes_or_too_many_is_refused() -> None:
    assert header_length((1).to_bytes(4, "big")) == 1
    assert header_length(framing.MAX_HEADER.to_bytes(4, "big")) == framing.MAX_HEADER
    for length in (0, framing.MAX_HEADER + 1, 2**32 - 1):
        with pytest.raises(LimitError):
            header_length(length.to_bytes(4, "big"))


def test_what_a_reader_would_refuse_is_not_written() -> None:
    block = bytes(framing.MAX_BODY // 4)
    encode_frame({}, [block] * 4)
    encode_frame({}, [b""] * framing.MAX_PARTS)
    with pytest.raises(LimitError):
        encode_frame({}, [block, block, block, block, b"x"])
    with pytest.raises(LimitError):
        encode_frame({}, [b""] * (framing.MAX_PARTS + 1))
    with pytest.raises(LimitError):
        encode_frame({"text": "x" * framing.MAX_HEADER})


@pytest.mark.parametrize("content", [b"", b"1", b"[]", b"{}", header(message={}), header(parts=[]), b"[" * 100_000])
def test_header_that_does_not_parse_is_malformed(content: bytes) -> None:
    with pytest.raises(MalformedError):
        parse_header(content)


@pytest.mark.parametrize(
    "content",
    [
        header(message=[], parts=[]),
        header(message={}, parts={}),
        header(message={}, parts=[-1]),
        header(message={}, parts=[True]),
        header(message={}, parts=["1"]),
        header(message={}, parts=[1.0]),
        header(message={}, parts=[0] * (framing.MAX_PARTS + 1)),
        header(message={}, parts=[framing.MAX_BODY, 1]),
    ],
)
def test_parts_out_of_range_are_refused(content: bytes) -> None:
    with pytest.raises(LimitError):
        parse_header(content)


def test_reader_sets_its_own_limit() -> None:
    assert parse_header(header(message={}, parts=[5, 5]), max_body=10) == ({}, [5, 5])
    with pytest.raises(LimitError):
        parse_header(header(message={}, parts=[5, 6]), max_body=10)


@pytest.mark.parametrize(("length", "calls"), [(AT_ONCE // 2, 3), (AT_ONCE // 2 + 1, 4), (0, 2)])
def test_small_parts_are_read_with_one_call_and_come_out_the_same(length: int, calls: int) -> None:
    parts = (b"a" * length, b"", b"b" * length)
    stream, asked = io.BytesIO(encode_frame({"verb": "x"}, parts)), []

    def read_exactly(count: int) -> bytes:
        asked.append(count)
        return stream.read(count)

    assert read_frame(read_exactly) == Frame({"verb": "x"}, parts)
    assert (len(asked), stream.read()) == (calls, b"")
