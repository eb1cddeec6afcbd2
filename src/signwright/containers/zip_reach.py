# SPDX-License-Identifier: Apache-2.0
"""What a lenient reader gets to see that believes one end record of a zip (APPNOTE 6.3.10, 4.3.7 to 4.3.16).

Nothing is judged here: a member counts as seen when a local header's mark stands where a directory's record says, in
either of the ways in which readers count.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from signwright.containers.base import Reach, Tally
from signwright.model.view import View

_END, _END64, _LOCATOR64 = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"
_CENTRAL, _LOCAL = b"PK\x01\x02", b"PK\x03\x04"
_END_SIZE, _END64_SIZE, _LOCATOR64_SIZE, _CENTRAL_SIZE, _LOCAL_SIZE = 22, 56, 20, 46, 30
_FULL32 = 0xFFFFFFFF


def reach(view: View, mark: int, tally: Tally) -> Reach | None:
    """The smallest range of ``view`` with the end record at ``mark``, each directory that it leads to and the members
    that stand where that says; None when it leads to no directory, or to one that leads to no member.

    ``tally`` counts the records looked at.
    """
    if not _stands(view, mark, _END) or mark + _END_SIZE > view.size:
        return Reach(0, view.size, view.size)
    seen: list[tuple[int, int]] = []
    low, high = mark, mark + _END_SIZE
    for start, base in _directories(view, mark):
        for at, following, header, packed, name in _records(view, start, tally):
            low, high = min(low, at), max(high, following)
            place = _local(view, header, base, name)
            if place is not None:
                names, extras = struct.unpack("<2H", view.read(place + 26, 4))
                seen.append((place, min(place + _LOCAL_SIZE + names + extras + packed, view.size)))
                low, high = min(low, seen[-1][0]), max(high, seen[-1][1])
    return Reach(low, high, high) if seen else None


def _stands(view: View, at: int, mark: bytes) -> bool:
    return 0 <= at <= view.size - len(mark) and view.read(at, len(mark)) == mark


def _directories(view: View, mark: int) -> set[tuple[int, int]]:
    """Where directories begin, and what is to be added to the offsets in them: counted back from the end record, and
    from the start of the file.
    """
    ends = [(mark, *struct.unpack("<2L", view.read(mark + 12, 8)))]
    locator = mark - _LOCATOR64_SIZE
    if _stands(view, locator, _LOCATOR64):
        named = int.from_bytes(view.read(locator + 8, 8), "little")
        for wide in (locator - _END64_SIZE, named):
            if _stands(view, wide, _END64) and wide + _END64_SIZE <= view.size:
                ends.append((wide, *struct.unpack("<2Q", view.read(wide + 40, 16))))
    found = set()
    for position, size, offset in ends:
        found |= {(position - size, position - size - offset), (offset, 0)}
    return {(start, base) for start, base in found if _stands(view, start, _CENTRAL)}


def _records(view: View, start: int, tally: Tally) -> Iterator[tuple[int, int, int, int, bytes]]:
    """Offset, end, header's offset, packed size and raw name of each record from ``start`` on."""
    at = start
    while at + _CENTRAL_SIZE <= view.size:
        record = view.read(at, _CENTRAL_SIZE)
        if record[:4] != _CENTRAL:
            return
        tally.take()
        packed, size, names, extras, comment = struct.unpack("<2L3H", record[20:34])
        following = at + _CENTRAL_SIZE + names + extras + comment
        if following > view.size:
            return
        content = view.read(at + _CENTRAL_SIZE, names + extras)
        header = int.from_bytes(record[42:46], "little")
        _, packed, header = _widened(content[names:], [size, packed, header])
        yield at, following, header, packed, content[:names]
        at = following


def _widened(extra: bytes, fields: list[int]) -> list[int]:
    """``fields`` with what extra field 1 has for those that are all ones, as far as it goes."""
    at = 0
    while _FULL32 in fields and at + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, at)
        if kind == 1:
            whole = extra[at + 4 : at + 4 + length]
            values = list(struct.unpack_from(f"<{len(whole) // 8}Q", whole))
            return [values.pop(0) if value == _FULL32 and values else value for value in fields]
        at += 4 + length
    return fields


def _local(view: View, header: int, base: int, name: bytes) -> int | None:
    """Where the local header stands: as the directory is counted or, for readers that then try that, from the start of
    the file. There any archive around may have a member, so that the name decides.
    """
    for place, is_certain in ((base + header, True), (header, False)):
        if _stands(view, place, _LOCAL) and place + _LOCAL_SIZE <= view.size:
            names = int.from_bytes(view.read(place + 26, 2), "little")
            room = min(names, view.size - place - _LOCAL_SIZE)
            if is_certain or view.read(place + _LOCAL_SIZE, room) == name:
                return place
    return None
