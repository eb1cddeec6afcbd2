# SPDX-License-Identifier: Apache-2.0
"""The strip digest of a zip whose members are signed: what stays the same when a member is, and names of members.

Source: PKWARE APPNOTE 6.3.10. Of a member that is signed another content follows, so that checksum, sizes and offsets,
the data descriptor with its flag, 64-bit fields, hints of how hard it was packed and its place in the file do not
count. Everything else does, with its length before it.
"""

from __future__ import annotations

import hashlib
import struct
import unicodedata
from bisect import bisect_left
from collections.abc import Sequence

from signwright.errors import FormatError
from signwright.model.view import View, blocks
from signwright.readers.zip import Archive, Entry

_RECORD_SIZE, _LOCAL_SIZE, _END_SIZE = 46, 30, 22
_FULL32 = 0xFFFFFFFF
_HINTS, _DESCRIBED, _UTF8 = 1 << 1 | 1 << 2, 1 << 3, 1 << 11
_ZIP64 = 1


class Strip:
    """One SHA-256 over items, each with its length before it."""

    def __init__(self) -> None:
        self._running = hashlib.sha256(b"signwright strip test of a zip\n")

    def take(self, *items: bytes) -> None:
        for item in items:
            self._running.update(len(item).to_bytes(8, "big"))
            self._running.update(item)

    def take_range(self, view: View, start: int, end: int) -> None:
        """The bytes from ``start`` to ``end`` as one item."""
        self._running.update((end - start).to_bytes(8, "big"))
        for block in blocks(view, start, end - start):
            self._running.update(block)

    def take_numbers(self, *numbers: int) -> None:
        self.take(struct.pack(f">{len(numbers)}Q", *numbers))

    def hexdigest(self) -> str:
        return self._running.hexdigest()


def opened(view: View, archive: Archive, base: int) -> Strip:
    """With what stands before the first member. ``base``: see `uncounted`."""
    strip = Strip()
    strip.take_range(view, 0, archive.start)
    strip.take_numbers(base, len(archive.entries))
    return strip


def uncounted(view: View, archive: Archive) -> int:
    """How many bytes before the archive its offsets do not count; none where the offset is one of 64 bits."""
    start = int.from_bytes(view.read(archive.end + 16, 4), "little")
    return 0 if start == _FULL32 else archive.directory - start


def take_headers(strip: Strip, view: View, entry: Entry, *, base: int, opaque: bool) -> None:
    """What the two headers of a member say besides its content. ``base``: see `uncounted`; ``opaque``: nothing in it is
    ever signed, so that its flags stay as they are. Raises `FormatError` (``zip64``).
    """
    record = view.read(entry.record, entry.record_end - entry.record)
    local = view.read(entry.local, entry.data - entry.local)
    names, extras = struct.unpack_from("<2H", record, 28)
    behind_name = _RECORD_SIZE + names
    numbers = (entry.size, entry.packed, entry.local - base)
    extra = _without_wide(record[behind_name : behind_name + extras], numbers, at=entry.record)
    local_extra = _without_wide(local[_LOCAL_SIZE + len(entry.name) :], numbers[:2], at=entry.local)
    meant = 0xFFFF if opaque else 0xFFFF & ~(_HINTS | _DESCRIBED)
    flags = (entry.flags, int.from_bytes(local[6:8], "little"))
    strip.take(entry.name)
    strip.take_numbers(*(found & meant for found in flags), entry.method)
    # Version made by; time and date of both; internal and external attributes.
    strip.take(record[4:6], record[12:16], local[10:14], record[36:42])
    strip.take(extra, local_extra, record[behind_name + extras :])


def _without_wide(extra: bytes, numbers: Sequence[int], *, at: int) -> bytes:
    """Extra fields without that of 64-bit numbers, which must say nothing but ``numbers``: programs differ in when they
    look at it (APPNOTE 4.5.3).
    """
    kept, position, seen = [], 0, False
    while position + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, position)
        stop = position + 4 + length
        field = extra[position + 4 : stop]
        if kind != _ZIP64:
            kept.append(extra[position:stop])
        elif seen or len(field) != length or not _says_only(field, numbers):
            raise FormatError("zip: a 64-bit field that contradicts the headers", offset=at, code="zip64")
        seen, position = seen or kind == _ZIP64, stop
    return b"".join(kept) + extra[position:]


def _says_only(field: bytes, numbers: Sequence[int]) -> bool:
    """Some of ``numbers`` in their order, or zeros for what was not known; perhaps the number of the only disk."""
    count = len(field) // 8
    if len(field) % 8 not in (0, 4) or any(field[count * 8 :]):
        return False
    left = iter(numbers)
    return all(any(found in (0, number) for number in left) for found in struct.unpack_from(f"<{count}Q", field))


def take_opaque(strip: Strip, view: View, entry: Entry) -> None:
    """A member as it is packed."""
    strip.take(b"opaque")
    strip.take_numbers(entry.crc, entry.size)
    running = hashlib.sha256()
    for block in blocks(view, entry.data, entry.packed):
        running.update(block)
    strip.take(running.digest())


def closed(strip: Strip, view: View, archive: Archive) -> str:
    """Hex digest, when the bytes that belong to nothing and the comment of the archive are taken as well."""
    at = archive.start
    for entry in sorted(archive.entries, key=lambda entry: entry.local):
        if entry.local > at:
            strip.take_range(view, at, entry.local)
        at = entry.end
    if archive.directory > at:
        strip.take_range(view, at, archive.directory)
    strip.take(view.read(archive.end + _END_SIZE, view.size - archive.end - _END_SIZE))
    return strip.hexdigest()


def names_of(archive: Archive) -> list[str]:
    """The names in the order of the directory. `FormatError` for one that is empty, has control characters, is not in
    the encoding that its flag names, or is there twice.
    """
    names = [_name(entry) for entry in archive.entries]
    raw: set[bytes] = set()
    seen: set[str] = set()
    for entry, name in zip(archive.entries, names, strict=True):
        if name in seen or entry.name in raw:
            raise FormatError(f"zip: two members {name[:60]!a}", offset=entry.record, code="name-twice")
        seen.add(name)
        raw.add(entry.name)
    return names


def _name(entry: Entry) -> str:
    try:
        name = entry.name.decode("utf-8" if entry.flags & _UTF8 else "cp437")
    except UnicodeDecodeError as problem:
        raise FormatError(
            "zip: a name that is not what its flag says", offset=entry.record, code="name-encoding"
        ) from problem
    if not name or (not name.isprintable() and any(unicodedata.category(c) == "Cc" for c in name)):
        raise FormatError(f"zip: a member named {name[:60]!a}", offset=entry.record, code="name")
    return name


def has(ordered: Sequence[str], name: str) -> bool:
    """Whether ``name`` is one of these, which are sorted."""
    at = bisect_left(ordered, name)
    return at < len(ordered) and ordered[at] == name


def has_below(ordered: Sequence[str], folder: str) -> bool:
    """Whether one of these names, which are sorted, begins with ``folder``, which ends with a slash."""
    at = bisect_left(ordered, folder)
    return at < len(ordered) and ordered[at].startswith(folder)
