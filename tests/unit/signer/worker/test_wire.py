# SPDX-License-Identifier: Apache-2.0
"""Messages between asker, zygote and child: round trips, and any bytes in place of them."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signwright.errors import FormatError, LimitError, MalformedError, SignwrightError, VerificationError
from signwright.model.framing import encode_frame
from signwright.signer.worker.wire import MAX_ANSWER, Ending, Start, describe_error, read_answer, rebuild_error

START = Start("prepare", 2, 1.5, 3, 4096, reopen=True)


def reader_of(content: bytes):
    stream = io.BytesIO(content)

    def exactly(wanted: int) -> bytes:
        piece = stream.read(wanted)
        if len(piece) < wanted:
            raise EOFError
        return piece

    return exactly


def test_start_and_ending_come_back() -> None:
    assert Start.decode(START.encode()) == START
    ending = Ending(0, 9, overrun=True)
    assert Ending.decode(ending.encode()) == ending


@given(st.binary(max_size=80))
def test_any_bytes_are_a_start_or_malformed(content: bytes) -> None:
    try:
        Start.decode(content)
    except MalformedError:
        return
    pytest.fail("random bytes were a job start")


def test_every_truncation_and_flip_of_a_start_is_malformed_or_a_start() -> None:
    wire = START.encode()
    for length in range(len(wire)):
        with pytest.raises(MalformedError):
            Start.decode(wire[:length])
    for at in range(len(wire)):
        for bit in range(8):
            flipped = bytearray(wire)
            flipped[at] ^= 1 << bit
            try:
                start = Start.decode(bytes(flipped))
            except MalformedError:
                continue
            assert start != START
            assert start.views >= 0


@pytest.mark.parametrize(
    "row", [b"[]", b"[1,1,1,1,1,false]", b'["a",-1,1,1,1,false]', b'["a",true,1,1,1,false]', b'["a",1,1,1,1,0]', b"7"]
)
def test_a_start_of_other_types_is_malformed(row: bytes) -> None:
    with pytest.raises(MalformedError):
        Start.decode(row)


@given(st.binary(max_size=200))
def test_any_answer_is_a_frame_or_refused(content: bytes) -> None:
    with pytest.raises((EOFError, LimitError, MalformedError)):
        read_answer(reader_of(content), 100)


def test_an_answer_is_cut_off_before_its_bytes_are_read() -> None:
    seen: list[int] = []

    def exactly(wanted: int) -> bytes:
        seen.append(wanted)
        return reader(wanted)

    reader = reader_of(encode_frame({"done": {}}, [bytes(50), bytes(51)]))
    with pytest.raises(LimitError):
        read_answer(exactly, 100)
    assert 51 not in seen
    seen.clear()
    reader = reader_of((MAX_ANSWER + 1).to_bytes(4, "big"))
    with pytest.raises(LimitError):
        read_answer(exactly, 100)
    assert seen == [4]


@pytest.mark.parametrize(
    "error",
    [
        FormatError("the table ends", offset=9, code="bad-table"),
        VerificationError("no"),
        LimitError("too much", code="x-y"),
    ],
)
def test_an_error_comes_back_as_it_was(error: SignwrightError) -> None:
    again = rebuild_error(describe_error(error))
    assert type(again) is type(error)
    assert (again.message, again.code, again.details) == (error.message, error.code, error.details)


def test_other_exceptions_lose_their_words() -> None:
    assert rebuild_error(describe_error(ValueError("secret"))).message.count("secret") == 0
    assert rebuild_error(describe_error(MemoryError())).code == "worker-memory"
    assert "zoneinfo" in rebuild_error(describe_error(ImportError("x", name="zoneinfo"))).message


JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner, max_size=3))


@given(JSON | st.dictionaries(st.sampled_from(["kind", "code", "text", "offset"]), JSON))
def test_whatever_a_child_calls_an_error_is_one_about_the_artifact(failed: object) -> None:
    error = rebuild_error(failed)
    assert isinstance(error, SignwrightError)
    assert error.message.isprintable()
    assert len(error.message) < 700
