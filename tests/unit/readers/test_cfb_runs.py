# SPDX-License-Identifier: Apache-2.0
"""Long chains are followed many sectors at a time, by the reader and by the writer, each in its own way: wherever they
bend, the content is the one that a walk from sector to sector finds.
"""

from __future__ import annotations

import struct
from functools import cache

import pytest

from signwright.containers.cfb import CompoundFile
from signwright.errors import FormatError
from signwright.model.view import BytesView
from signwright.readers.cfb import CompoundReader
from tests.support.cfb_builder import Cfb

_SECTORS = 70_000
_AT = [1, 2, 127, 128, 129, 1022, 1023, 1024, 1025, 2048, 8191, 8192, 8193, 16_383, 16_384, 65_535, 65_536, 69_997]


@cache
def straight() -> bytes:
    return Cfb({"Only": b"".join(struct.pack("<I", number) * 128 for number in range(_SECTORS))}).build()


def _fat(content: bytes, sector: int) -> int:
    """Offset of a word; the FAT stands in front."""
    assert content[512 : 512 + 4] == struct.pack("<I", 0xFFFFFFFD)
    return 512 + 4 * sector


def bent(sector: int) -> bytes:
    """Two neighbours in the file change their places in the chain, and with it in the stream."""
    content = bytearray(straight())
    for at, following in ((sector - 1, sector + 1), (sector + 1, sector), (sector, sector + 2)):
        struct.pack_into("<I", content, _fat(content, at), following)
    return bytes(content)


def _first() -> int:
    (item,) = CompoundReader(BytesView(straight())).root.items
    return item.start


@pytest.mark.parametrize("at", _AT)
def test_content_is_that_of_the_chain_wherever_it_bends(at):
    sector = max(at, _first() + 1)
    content = bent(sector)
    reader = CompoundReader(BytesView(content))
    (item,) = reader.root.items
    runs = [
        (_first(), sector - _first()),
        (sector + 1, 1),
        (sector, 1),
        (sector + 2, _SECTORS - (sector - _first()) - 2),
    ]
    offsets = [((first + 1) * 512, count * 512) for first, count in runs]
    assert list(reader.spans(item)) == offsets
    file = CompoundFile(BytesView(content))
    assert list(file.pieces(file.entries[1])) == offsets


@pytest.mark.parametrize("at", _AT[4:])
def test_a_chain_that_turns_back_is_refused_wherever_it_does(at):
    content = bytearray(straight())
    struct.pack_into("<I", content, _fat(content, max(at, _first() + 1)), _first())
    for walk in (CompoundReader, CompoundFile):
        with pytest.raises(FormatError):
            walk(BytesView(bytes(content)))
