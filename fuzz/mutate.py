# SPDX-License-Identifier: Apache-2.0
"""Mutations of bytes for machines without a coverage-guided engine; the same seed gives the same inputs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random

MAX_BYTES = 1 << 20

_EDGES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF)
_FRAGMENTS = (
    b"",
    b"\0",
    b'"',
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b"\n",
    b"\xff\xfe",
    b"\x30\x80",
    b"\x30\x84\xff\xff\xff\xff",
    b"1e999",
)


def mutations(corpus: Sequence[bytes], seed: int) -> Iterator[bytes]:
    """Yield inputs without end: each is a corpus entry with one to eight mutations. ``corpus`` may be empty."""
    dice = Random(seed)
    entries = list(corpus) or [b""]
    while True:
        current = bytearray(dice.choice(entries))
        for _ in range(dice.choice((1, 1, 1, 2, 3, 5, 8))):
            dice.choice(_MUTATORS)(current, entries, dice)
        yield bytes(current[:MAX_BYTES])


def _position(current: bytearray, dice: Random) -> int:
    return dice.randrange(len(current) + 1)


def _flip_bit(current: bytearray, _entries: Sequence[bytes], dice: Random) -> None:
    if current:
        current[dice.randrange(len(current))] ^= 1 << dice.randrange(8)


def _set_byte(current: bytearray, _entries: Sequence[bytes], dice: Random) -> None:
    if current:
        current[dice.randrange(len(current))] = dice.randrange(256)


def _write_edge(current: bytearray, _entries: Sequence[bytes], dice: Random) -> None:
    width = dice.choice((1, 2, 4, 8))
    start = _position(current, dice)
    value = dice.choice(_EDGES) % (1 << 8 * width)
    current[start : start + width] = value.to_bytes(width, dice.choice(("little", "big")))


def _truncate(current: bytearray, _entries: Sequence[bytes], dice: Random) -> None:
    del current[_position(current, dice) :]


def _delete(current: bytearray, _entries: Sequence[bytes], dice: Random) -> None:
    start = _position(current, dice)
    del current[start : start + dice.randrange(1, 65)]


def _repeat(current: bytearray, _entries: Sequence[bytes], dice: Random) -> None:
    start = _position(current, dice)
    piece = current[start : start + dice.randrange(1, 65)]
    current[start:start] = piece * dice.choice((1, 2, 16))


def _insert_fragment(current: bytearray, _entries: Sequence[bytes], dice: Random) -> None:
    start = _position(current, dice)
    current[start:start] = dice.choice(_FRAGMENTS) or dice.randbytes(dice.randrange(1, 9))


def _splice(current: bytearray, entries: Sequence[bytes], dice: Random) -> None:
    other = dice.choice(entries)
    current[_position(current, dice) :] = other[dice.randrange(len(other) + 1) :]


_MUTATORS = (_flip_bit, _flip_bit, _set_byte, _write_edge, _truncate, _delete, _repeat, _insert_fragment, _splice)
