# SPDX-License-Identifier: Apache-2.0
"""What stands in a compound file and belongs to nothing: free sectors, the rest of last sectors, fields without use.

Signing leaves all of it where it is. So it is told together with its place, and what is zero (or says "free" in the
way of its table) is left out: then it makes no difference that a signature takes a free place, or gives one back.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Collection, Iterator, Sequence
from heapq import merge
from itertools import pairwise

from signwright.model.view import BLOCK
from signwright.readers.cfb import CompoundReader

_NONE = 0xFFFFFFFF
#: Words that say nothing of a sector that nothing holds, nor as a place where there is none.
_IDLE = {0xFFFFFFFF, 0xFFFFFFFE}
_NOWHERE = _IDLE | {0}
_SMALL, _ROW = 64, 128
_MINOR_VERSION = 0x3E


def rest(file: CompoundReader, signature_rows: Collection[int]) -> Iterator[bytes]:
    """Everything that is not zero, in one possible way, as records: what it is (1 byte), number (8) and length (4) in
    little-endian, bytes. ``signature_rows``: rows of the directory of which nothing else is compared.

    Memory: a few sectors, and two numbers for each stream. Time: one look at each sector that is not full.
    """
    yield from _record(b"H", 0, _header(file))
    for number in range(len(file.directory) // _ROW):
        raw = file.directory[number * _ROW : (number + 1) * _ROW]
        yield from _record(b"D", number, _row(raw, is_wide=file.is_wide, is_signature=number in signature_rows))
    yield from _idle_words(b"F", file.fat, file.taken)
    yield from _idle_words(b"M", file.small_fat, file.small_used)
    for sector, content in merge(_free(file), _ends(file), _small(file)):
        yield from _record(b"S", sector, content)


def _record(what: bytes, number: int, content: bytes) -> Iterator[bytes]:
    if not _is_zero(content):
        yield what + struct.pack("<QI", number, len(content)) + content


def _is_zero(content: bytes) -> bool:
    return content == bytes(len(content))


def _header(file: CompoundReader) -> bytes:
    """The header's sector without the fields that say how the file is to be read (MS-CFB 2.2)."""
    left = bytearray(file.view.read(0, min(file.unit, file.view.size)))
    known = [(0, 8), (26, 34), (40 if file.is_wide else 44, 52), (56, 60), (64, 512)]
    (minor,), (first_small, small_count) = struct.unpack_from("<H", left, 24), struct.unpack_from("<2I", left, 60)
    if minor == _MINOR_VERSION:
        known.append((24, 26))
    if small_count or first_small in _NOWHERE:
        known.append((60, 64))
    for start, end in known:
        left[start:end] = bytes(end - start)
    return bytes(left)


def _row(raw: bytes, *, is_wide: bool, is_signature: bool) -> bytes:
    """A row of the directory without what makes the tree, and without what is compared with it (MS-CFB 2.6.1)."""
    left = bytearray(raw)
    kind, length = raw[66], struct.unpack_from("<H", raw, 64)[0]
    if kind == 0:
        for at in (68, 72, 76):
            _clear(left, at, {0, _NONE})
        return bytes(left)
    left[:length] = bytes(length)
    left[64:67] = bytes(3)
    left[67] = 0 if raw[67] <= 1 else raw[67]
    if kind == 5:  # it hangs in no tree
        _clear(left, 68, {0, _NONE})
        _clear(left, 72, {0, _NONE})
    else:
        left[68:76] = bytes(8)
    if kind == 2:
        _clear(left, 76, {0, _NONE})
    else:
        left[76:96] = bytes(20)
    if not is_signature:
        left[96:116] = bytes(20)
    size = int.from_bytes(raw[120 : 128 if is_wide else 124], "little")
    if kind == 1 or not size:
        _clear(left, 116, _NOWHERE)
    else:
        left[116 : 128 if is_wide else 124] = bytes(12 if is_wide else 8)
    return bytes(left)


def _clear(row: bytearray, at: int, idle: Collection[int]) -> None:
    if int.from_bytes(row[at : at + 4], "little") in idle:
        row[at : at + 4] = bytes(4)


def _idle_words(what: bytes, words: array[int], taken: bytearray) -> Iterator[bytes]:
    """What a table says of sectors that nothing holds, also of those that are not there."""
    at = taken.find(0)
    while 0 <= at < len(words):
        if words[at] not in _IDLE:
            yield from _record(what, at, words[at].to_bytes(4, "little"))
        at = taken.find(0, at + 1)
    for behind in range(len(taken), len(words)):
        if words[behind] not in _IDLE:
            yield from _record(what, behind, words[behind].to_bytes(4, "little"))


def _sector(file: CompoundReader, sector: int) -> bytes:
    """Its bytes, zeros where the file ends before it does."""
    offset = (sector + 1) * file.unit
    return file.view.read(offset, min(file.unit, file.view.size - offset)).ljust(file.unit, b"\0")


def _free(file: CompoundReader) -> Iterator[tuple[int, bytes]]:
    """Sectors that nothing holds, and that are not zero; in order, as are those of the two others."""
    start = file.taken.find(0)
    while start >= 0:
        end = file.taken.find(1, start)
        end = len(file.taken) if end < 0 else end
        for first in range(start, end, BLOCK // file.unit):
            offset = (first + 1) * file.unit
            stop = min((end + 1) * file.unit, offset + BLOCK, file.view.size)
            content = file.view.read(offset, stop - offset)
            if _is_zero(content):
                continue
            for at in range(0, len(content), file.unit):
                yield first + at // file.unit, content[at : at + file.unit].ljust(file.unit, b"\0")
        start = file.taken.find(0, end)


def _ends(file: CompoundReader) -> Iterator[tuple[int, bytes]]:
    """Last sectors of long streams, zeros in place of the stream."""
    for sector, used in sorted(file.ends):
        yield sector, bytes(used) + _sector(file, sector)[used:]


def _small(file: CompoundReader) -> Iterator[tuple[int, bytes]]:
    """Sectors of the small streams that these do not fill, zeros in place of them."""
    per = file.unit // _SMALL
    full = bytes([_SMALL]) * per
    places: Sequence[int] = range(len(file.small_places))
    if any(one > following for one, following in pairwise(file.small_places)):
        places = sorted(places, key=file.small_places.__getitem__)
    for place in places:
        used = file.small_used[place * per : (place + 1) * per]
        if used == full:
            continue
        content = bytearray(_sector(file, file.small_places[place]))
        for number, count in enumerate(used):
            content[number * _SMALL : number * _SMALL + count] = bytes(count)
        yield file.small_places[place], bytes(content)
