# SPDX-License-Identifier: Apache-2.0
"""What a zip has beside the members that its directory names: where a closed world would have a hole."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import pairwise

from signwright.containers.zip import Member, ZipArchive
from signwright.model.view import View
from signwright.plan.paths import shown
from signwright.policy.documents import Inside

_RECORD, _LOCAL = 46, 30
#: Extra field with another name, which many programs take in place of the plain one (APPNOTE 4.6.9).
_UNICODE_PATH, _ITS_HEAD, _ITS_VERSION = 0x7075, 5, 1
#: What nothing is deflated to, at most.
_EMPTY = 2


def beside_problems(view: View, archive: ZipArchive, inside: Inside) -> Iterator[str]:
    """In words: bytes that no member has, where what is unlisted is refused; members under two names; folders in which
    something is packed.
    """
    loose = _loose(archive)
    if loose and inside.unlisted == "refuse":
        yield f"{loose} bytes before or between the members are of none, and what is unlisted is refused"
    for member in archive.members:
        if member.is_folder and member.packed > _EMPTY:
            yield f"{shown(member.name)}: a folder with content"
        if any(name != member.name.encode() for name in _other_names(view, member)):
            yield f"{shown(member.name)}: an extra field (0x7075) gives it another name"


def _loose(archive: ZipArchive) -> int:
    """How many bytes stand before or between the members; the comment behind them is none of these."""
    ends = [(0, 0), *archive.covered]
    return sum(start - end for (_, end), (start, _) in pairwise(ends))


def _other_names(view: View, member: Member) -> Iterator[bytes]:
    record = view.read(member.entry, member.entry_size)
    names, extras = struct.unpack_from("<2H", record, 28)
    local = view.read(member.header, member.start - member.header)
    (local_names,) = struct.unpack_from("<H", local, 26)
    yield from _in_extra(record[_RECORD + names : _RECORD + names + extras])
    yield from _in_extra(local[_LOCAL + local_names :])


def _in_extra(extra: bytes) -> Iterator[bytes]:
    """Whether the field's checksum is that of the plain name does not count: not every program compares."""
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, at)
        field = extra[at + 4 : at + 4 + length]
        if kind == _UNICODE_PATH and field[:1] == bytes([_ITS_VERSION]):
            yield field[_ITS_HEAD:]
        at += 4 + length
