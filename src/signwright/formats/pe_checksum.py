# SPDX-License-Identifier: Apache-2.0
"""The CheckSum of a PE optional header: a ones' complement sum of little-endian 16-bit words plus the file's length.

Because 2**16 = 1 (mod 0xFFFF), a whole block read as one little-endian number has the same remainder as the sum of its
words. That allows native-speed arithmetic without a C helper, and sums of parts that are put together later.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

MODULUS = 0xFFFF
#: Bytes from which the fast way is worth loading its library; in smaller files the plain way is done sooner.
VECTORISED_FROM = 8 << 20

#: Sums one block; the block starts at an even offset. Returns any number with the right remainder.
BlockSum = Callable[[memoryview], int]


def pure_block_sum(block: memoryview) -> int:
    """Sum of a block with nothing but `int`. The number is as long as the block: it is reduced once, by the caller."""
    return int.from_bytes(block, "little")


@cache
def vectorised() -> BlockSum | None:
    """The fast way when numpy is installed (extra ``fast``), else None. The first call loads it."""
    try:
        import numpy as np
    except ImportError:
        return None

    def block_sum(block: memoryview) -> int:
        whole = len(block) & ~3
        # 2**32 = 1 (mod 0xFFFF) too, so that double words do as well; 64-bit sums of them cannot overflow below 16 GiB.
        words = np.frombuffer(block[:whole], dtype="<u4")
        return int(words.sum(dtype=np.uint64)) + int.from_bytes(block[whole:], "little")

    return block_sum


class WordSum:
    """Running sum of consecutive blocks, of which all but the last have an even length.

    ``block_sum``: one way for all of them; by default the plain one, and the fast one once there was much to sum.
    """

    def __init__(self, block_sum: BlockSum | None = None) -> None:
        self._block_sum = block_sum or pure_block_sum
        self._plain_left = VECTORISED_FROM if block_sum is None else None
        self._total = 0

    def update(self, block: memoryview) -> None:
        if self._plain_left is not None:
            self._plain_left -= len(block)
            if self._plain_left < 0:
                self._block_sum, self._plain_left = vectorised() or pure_block_sum, None
        self._total += self._block_sum(block)

    @property
    def value(self) -> int:
        """The sum modulo 0xFFFF."""
        return self._total % MODULUS


def field_sum(field: bytes, offset: int) -> int:
    """What ``field`` at ``offset`` of a file contributes to its sum; at an odd offset its bytes change places."""
    return (int.from_bytes(field, "little") << (8 * (offset & 1))) % MODULUS


def checksum(word_sum: int, file_size: int) -> int:
    """CheckSum from the sum of the file's words, taken with the field itself as zero, and the file's size in bytes.

    The loader's end-around carry never yields 0 for a file that has any byte set: the remainder 0 is written 0xFFFF.
    """
    return ((word_sum % MODULUS or MODULUS) + file_size) & 0xFFFFFFFF
