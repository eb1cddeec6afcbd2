# SPDX-License-Identifier: Apache-2.0
"""Bytes that somebody hides in an installer between source and result, where no stream holds them: the strip test sees
them all.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import cache

import pytest

from signwright.containers.cfb import CompoundFile
from signwright.errors import FormatError, VerificationError
from signwright.model.view import BytesView
from signwright.readers.msi import MsiReader
from tests.support.cfb_builder import Cfb, Tree
from tests.support.msi_builder import EXTENDED, LONG_URL, SIGNATURE, sign
from tests.support.signed_files import identity

_TREE: Tree = {
    "Large": bytes(range(1, 251)) * 20,
    "Other": b"o" * 4500,
    "small": b"content",
    "none": b"",
    "sub": {"inner": b"1234"},
}
_CLEAN = Cfb(_TREE, gaps=10, mini_gaps=1, clean=True, spare_entries=9)


def strip_digest(content: bytes) -> str | None:
    """None where the file is refused: by the walk through it, or by the signature's."""
    try:
        if MsiReader().read(BytesView(content)).signatures:
            return MsiReader().stripped(BytesView(content))
    except (FormatError, VerificationError):
        pass
    return None


@cache
def source(version: int = 3) -> bytes:
    return _CLEAN.but(version=version).build()


@cache
def signed(version: int = 3, *, large: bool = False) -> bytes:
    return sign(source(version), identity("rsa3072"), url=LONG_URL if large else None, extended=True)


def _file(content: bytes) -> CompoundFile:
    return CompoundFile(BytesView(content))


def _entry(content: bytes, name: str) -> int:
    """Offset of a row of the directory."""
    file = _file(content)
    return file.entry_offset(next(entry.index for entry in file.entries if entry.kind and entry.text == name))


def _end(content: bytes, name: str) -> int:
    """Offset behind the last byte of a stream."""
    file = _file(content)
    (entry,) = (entry for entry in file.entries if entry.kind and entry.text == name)
    offset, length = list(file.pieces(entry))[-1]
    return offset + length


def _free_sector(content: bytes) -> int:
    file = _file(content)
    return file.offset(file.owned.find(0))


def _fat_word_of_a_free_sector(content: bytes) -> int:
    file = _file(content)
    sector = file.owned.find(0)
    return file.offset(file.fat_places[sector // file.per_sector]) + sector % file.per_sector * 4


def _free_small_sector(content: bytes) -> int:
    file = _file(content)
    return file.mini_offset(file.mini_fat.index(0xFFFFFFFF))


def _word_of_a_free_small_sector(content: bytes) -> int:
    return _file(content).offset(_file(content).mini_fat_places[0]) + 4 * _file(content).mini_fat.index(0xFFFFFFFF)


def _word_behind_the_small_sectors(content: bytes) -> int:
    file = _file(content)
    return file.offset(file.mini_fat_places[0]) + 4 * file.mini_sectors


def _rest_of_the_mini_stream(content: bytes) -> int:
    file = _file(content)
    assert file.root.size % file.sector_size
    return file.offset(file.mini_places[-1]) + file.root.size % file.sector_size


def _unused_entry(content: bytes) -> int:
    file = _file(content)
    return file.entry_offset(next(entry.index for entry in file.entries if entry.kind == 0))


PLACES: dict[str, Callable[[bytes], int]] = {
    "free sector": _free_sector,
    "end of a free sector": lambda content: _free_sector(content) + 508,
    "word of a free sector in the FAT": _fat_word_of_a_free_sector,
    "rest of a large stream": lambda content: _end(content, "Large"),
    "rest of the stream that ends the file": lambda content: _end(content, "Other"),
    "rest of a small stream": lambda content: _end(content, "small"),
    "rest of the signature": lambda content: _end(content, SIGNATURE),
    "rest of the extended stream": lambda content: _end(content, EXTENDED),
    "free small sector": _free_small_sector,
    "word of a free small sector": _word_of_a_free_small_sector,
    "word behind the small sectors": _word_behind_the_small_sectors,
    "rest of the mini stream": _rest_of_the_mini_stream,
    "name of an unused entry": _unused_entry,
    "times of an unused entry": lambda content: _unused_entry(content) + 100,
    "links of an unused entry": lambda content: _unused_entry(content) + 72,
    "behind a name": lambda content: _entry(content, "small") + 32,
    "behind the name of the signature": lambda content: _entry(content, SIGNATURE) + 60,
    "class of a stream": lambda content: _entry(content, "small") + 80,
    "class of the signature": lambda content: _entry(content, SIGNATURE) + 80,
    "state of the signature": lambda content: _entry(content, SIGNATURE) + 96,
    "times of the signature": lambda content: _entry(content, SIGNATURE) + 104,
    "times of the extended stream": lambda content: _entry(content, EXTENDED) + 104,
    "storage in a stream": lambda content: _entry(content, "small") + 76,
    "color": lambda content: _entry(content, "small") + 67,
    "start of an empty stream": lambda content: _entry(content, "none") + 116,
    "start of a storage": lambda content: _entry(content, "sub") + 116,
    "size of a storage": lambda content: _entry(content, "sub") + 120,
    "neighbour of the root": lambda content: _entry(content, "Root Entry") + 70,
    "class of the header": lambda _: 8,
    "minor version": lambda _: 24,
    "reserved words of the header": lambda _: 36,
    "transaction number": lambda _: 52,
    "behind the last sector": len,
}
_ONLY_VERSION_3 = {
    "upper half of a size": lambda content: _entry(content, "small") + 124,
    "upper half of the signature's size": lambda content: _entry(content, SIGNATURE) + 124,
    "sectors of the directory": lambda _: 40,
}
_ONLY_VERSION_4 = {"rest of the header": lambda _: 2000}
CASES = [
    *((version, name, place) for name, place in PLACES.items() for version in (3, 4)),
    *((3, name, place) for name, place in _ONLY_VERSION_3.items()),
    *((4, name, place) for name, place in _ONLY_VERSION_4.items()),
]


@pytest.mark.parametrize("large", [False, True], ids=["small", "large"])
def test_our_own_signature_leaves_the_digest_as_it_was(large):
    for version in (3, 4):
        assert strip_digest(signed(version, large=large)) == MsiReader().stripped(BytesView(source(version)))


@pytest.mark.parametrize("large", [False, True], ids=["small", "large"])
@pytest.mark.parametrize(("version", "name", "place"), CASES, ids=[f"{name}, {version}" for version, name, _ in CASES])
def test_bytes_that_nothing_holds_are_seen(version, name, place, large):
    content = signed(version, large=large)
    at = place(content)
    bent = content[:at] + b"P" + content[at + 1 :]
    assert bent != content
    assert strip_digest(bent) != strip_digest(content)


def test_sectors_that_change_their_places_are_seen():
    """No byte more than before, but an archive may be there only once they stand in another order."""
    content = signed()
    file = _file(content)
    (entry,) = (entry for entry in file.entries if entry.text == "Large")
    a, b, c = range(entry.start, entry.start + 3)
    bent = bytearray(content)
    for sector, following in ((a, c), (c, b), (b, c + 1)):
        struct.pack_into("<I", bent, file.offset(file.fat_places[0]) + 4 * sector, following)
    bent[file.offset(b) : file.offset(b) + 512] = content[file.offset(c) : file.offset(c) + 512]
    bent[file.offset(c) : file.offset(c) + 512] = content[file.offset(b) : file.offset(b) + 512]
    assert strip_digest(bytes(bent)) != strip_digest(content)
    assert MsiReader().read(BytesView(bytes(bent))).signatures


def test_every_byte_counts_but_the_signature_and_how_tables_and_tree_are_written():
    """What may be bent and stays the same file to the strip test has two or three ways to be written."""
    content = sign(Cfb({"a": b"x" * 100, "b": {}}, clean=True, spare_entries=3).build(), extended=True)
    file = _file(content)
    mini_words = file.offset(file.mini_fat_places[0])
    root = file.entry_offset(0)
    expected = {
        68,  # where a DIFAT that is not there begins: at the end, or nowhere
        *range(mini_words + 4 * file.mini_sectors, mini_words + file.sector_size, 4),  # free, or the end of nothing
        root + 120, root + 121,  # the mini stream may be longer within its last sector
    }  # fmt: skip
    for entry in file.entries:
        offset = file.entry_offset(entry.index)
        expected |= {offset + 67} if entry.kind else set()  # red or black
        expected |= {offset + 116} if entry.kind == 1 else set()  # nowhere, in two ways
        if entry.kind and entry.text in (SIGNATURE, EXTENDED):
            expected |= {at for start, length in file.pieces(entry) for at in range(start, start + length)}
            expected.add(offset + 120)  # one zero more is the reader's to refuse
    assert _unseen(content, 0x01) <= expected
    assert _unseen(content, 0xFF) <= expected


def _unseen(content: bytes, flip: int) -> set[int]:
    """Offsets of bytes that may be another one for all that the strip digest says."""
    expected, found = MsiReader().stripped(BytesView(content)), set()
    for at in range(len(content)):
        bent = bytearray(content)
        bent[at] ^= flip
        try:
            if MsiReader().stripped(BytesView(bytes(bent))) == expected:
                found.add(at)
        except FormatError:
            pass
    return found
