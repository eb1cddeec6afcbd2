# SPDX-License-Identifier: Apache-2.0
"""CheckSum against its plain definition: words, end-around carry, plus the length."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signwright.formats.pe_checksum import VECTORISED_FROM, WordSum, checksum, field_sum, pure_block_sum, vectorised

VECTORISED = vectorised()
_NO_NUMPY = pytest.mark.skipif(VECTORISED is None, reason="numpy is not installed (extra fast)")
WAYS = [pytest.param(pure_block_sum, id="pure"), pytest.param(VECTORISED, id="numpy", marks=_NO_NUMPY)]


def by_the_book(content: bytes) -> int:
    total = 0
    for at in range(0, len(content), 2):
        total += int.from_bytes(content[at : at + 2], "little")
        total = (total & 0xFFFF) + (total >> 16)
    return ((total & 0xFFFF) + (total >> 16) + len(content)) & 0xFFFFFFFF


@pytest.mark.parametrize("way", WAYS)
@given(blocks=st.lists(st.binary(max_size=99).map(lambda b: b + b), max_size=5), last=st.binary(max_size=99))
def test_sum_of_blocks_is_the_checksum_of_the_whole(way, blocks, last):
    content = b"MZ" + b"".join(blocks) + last
    running = WordSum(way)
    for block in (b"MZ", *blocks, last):
        running.update(memoryview(block))
    assert checksum(running.value, len(content)) == by_the_book(content)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("content", [b"\xff" * 4096, b"\xff\xff", b"\x00\x00\xff\xff", b"\xff\xff\x01", b"\1"])
def test_the_remainder_zero_is_written_as_all_ones(way, content):
    running = WordSum(way)
    running.update(memoryview(content))
    assert checksum(running.value, len(content)) == by_the_book(content)


@given(st.binary(max_size=60), st.binary(max_size=9), st.binary(max_size=60))
def test_a_field_can_be_taken_out_and_put_back_at_any_offset(before, field, after):
    content = b"MZ" + before + field + after
    at = 2 + len(before)
    running = WordSum(pure_block_sum)
    running.update(memoryview(content[:at] + bytes(len(field)) + content[at + len(field) :]))
    assert checksum(running.value + field_sum(field, at), len(content)) == by_the_book(content)


def test_sum_that_changes_its_way_in_the_middle_is_the_same():
    block = bytes(range(256)) * 4096
    count = VECTORISED_FROM // len(block) + 2
    plain, running = WordSum(pure_block_sum), WordSum()
    for _ in range(count):
        plain.update(memoryview(block))
        running.update(memoryview(block))
    assert running.value == plain.value
