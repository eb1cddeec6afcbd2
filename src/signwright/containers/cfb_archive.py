# SPDX-License-Identifier: Apache-2.0
"""Compound files as containers: every stream is a file to be looked at, whatever it is called and however it lies."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from signwright.containers.base import ArchiveLimits, Place, Reach, Run, Tally
from signwright.containers.cfb import STORAGE, CompoundFile, Entry, looks_like_cfb
from signwright.errors import LimitError
from signwright.model.text import first_bad_character
from signwright.model.view import View

#: Class identifiers of databases, patches and transforms of Windows Installer, which writes names in its own way.
INSTALLERS = frozenset(bytes.fromhex(f"{kind}100c0000000000c000000000000046") for kind in ("82", "84", "86"))

_BLOCK = 1 << 18
#: Pieces of a stream from this size on are noted as explained, the others are searched like any other bytes.
_NOTED, _MOST_NOTED = 4096, 4096
_LETTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz._"
_PAIRS, _SINGLES, _TABLE = 0x3800, 0x4800, 0x4840


@dataclass(frozen=True, slots=True)
class CfbStream:
    """A stream; ``name``: with ``/`` between storages, fit to be shown."""

    name: str
    entry: Entry
    is_folder: bool = field(default=False, init=False)

    @property
    def size(self) -> int:
        return self.entry.size


class CfbContainer:
    """Implements `signwright.containers.base.Container`. No reader opens one that does not begin the file."""

    kind = "cfb"

    def claims(self, view: View) -> Place | None:
        return Place(self.kind, 0, view.size) if looks_like_cfb(view) else None

    def places(self, view: View, first: int, last: int) -> list[Place]:  # noqa: ARG002 - the shape of a container
        return []

    def reach(self, view: View, place: Place, tally: Tally) -> Reach | None:  # noqa: ARG002 - the shape of a container
        return Reach(place.mark, place.end, place.end)

    def open(self, view: View, place: Place, limits: ArchiveLimits) -> CfbArchive:  # noqa: ARG002 - it is the whole file
        return CfbArchive(view, limits)


class CfbArchive:
    """Implements `signwright.containers.base.Archive`."""

    def __init__(self, view: View, limits: ArchiveLimits) -> None:
        self._file = CompoundFile(view)
        self.members = list(self._streams(self._file.root, ""))
        if len(self.members) > limits.members:
            raise LimitError(f"{len(self.members)} streams, at most {limits.members} are read", code="archive-members")
        if sum(member.size for member in self.members) > limits.total:
            raise LimitError(f"more than {limits.total} bytes in streams", code="archive-total")
        self._noted_runs = sorted(self._noted(), key=lambda run: run.start)
        self.covered = [(run.start, run.end) for run in self._noted_runs]

    def runs(self) -> list[Run]:
        """The pieces of streams that are explained."""
        return self._noted_runs

    def read(self, member: CfbStream) -> Iterator[bytes]:
        """The stream in blocks of at most 256 KiB."""
        for block in self._file.blocks(member.entry):
            for at in range(0, len(block), _BLOCK):
                yield block[at : at + _BLOCK]

    def _streams(self, storage: Entry, path: str) -> Iterator[CfbStream]:
        installer = self._file.root.clsid in INSTALLERS
        for entry in sorted(self._file.children(storage), key=lambda entry: entry.index):
            text = decoded(entry.text) if installer else entry.text
            name = path + (text if first_bad_character(text) is None else ascii(text)[1:-1])
            if entry.kind == STORAGE:
                yield from self._streams(entry, f"{name}/")
            elif entry.size:
                yield CfbStream(name, entry)

    def _noted(self) -> Iterator[Run]:
        """Pieces that hold nothing but a stream's bytes: what fills the rest of a sector is not among them."""
        left = _MOST_NOTED
        for member in self.members:
            behind = member.size
            for offset, length in self._file.pieces(member.entry) if member.size >= _NOTED else ():
                behind -= length
                if length >= _NOTED and left:
                    left -= 1
                    yield Run(offset, offset + length, behind)


def decoded(name: str) -> str:
    """A stream's name as Windows Installer means it: two letters in one character, a mark before tables (``!``).

    As found out and described by the makers of other readers; Microsoft has not published it.
    """
    found = []
    for character in name:
        code = ord(character)
        if _PAIRS <= code < _SINGLES:
            code -= _PAIRS
            found += [_LETTERS[code & 0x3F], _LETTERS[code >> 6]]
        elif _SINGLES <= code < _TABLE:
            found.append(_LETTERS[code - _SINGLES])
        else:
            found.append("!" if code == _TABLE else character)
    return "".join(found)
