# SPDX-License-Identifier: Apache-2.0
"""Sectors of a compound file that follow each other, many at a time: this is what makes large files quick."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable, Iterator
from functools import lru_cache

#: Words of the FAT that are compared at once: a power of two, as are the words of a sector.
AT_ONCE = 8192


def runs_in(sectors: Iterable[int]) -> Iterator[tuple[int, int]]:
    """(first, count) of neighbours, in the order in which they are named."""
    first = count = 0
    for sector in sectors:
        if count and sector == first + count:
            count += 1
            continue
        if count:
            yield first, count
        first, count = sector, 1
    if count:
        yield first, count


def joined(pieces: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Pieces that follow each other in the file as one."""
    start = end = -1
    for offset, length in pieces:
        if offset != end:
            if end > start:
                yield start, end - start
            start = offset
        end = offset + length
    if end > start:
        yield start, end - start


def is_straight(table: array[int], first: int) -> bool:
    """Whether each word of ``table``, which is about the sectors from ``first`` on, names the following sector.

    All words at once, as one long number. ``table``: `AT_ONCE` words at most.
    """
    counting, ones = _numbers(len(table))
    return int.from_bytes(table.tobytes(), sys.byteorder) == counting + first * ones


@lru_cache(maxsize=16)
def _numbers(count: int) -> tuple[int, int]:
    """``count`` words 1, 2, 3, ..., and as many ones."""
    made = array("I", range(1, count + 1)), array("I", [1]) * count
    counting, ones = (int.from_bytes(one.tobytes(), sys.byteorder) for one in made)
    return counting, ones
