# SPDX-License-Identifier: Apache-2.0
"""Every kind of container that is looked into: the visible table, and the search for all of them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator

from signwright.containers.base import Container, Place, Reach, Run
from signwright.containers.cab import CabContainer
from signwright.containers.cfb_archive import CfbContainer
from signwright.containers.zip import ZipContainer
from signwright.errors import FormatError
from signwright.model.tables import table
from signwright.model.view import View

#: Archives in the middle of one file that are opened.
MAX_EMBEDDED = 256
#: Ranges of one archive that count; what its others explain is searched like the rest.
MAX_COVERED = 4096
#: Runs of one archive that count, and the shortest: nothing shorter holds what an archive is recognised by.
MAX_RUNS, SHORTEST_RUN = 1 << 16, 36
#: Archives are searched in pieces of this size where another one explains the bytes.
_WINDOW = 1 << 26


_ROWS: tuple[Container, ...] = (ZipContainer(), CabContainer(), CfbContainer())
CONTAINERS = table("containers", _ROWS, lambda row: row.kind)


def container_of(kind: str) -> Container:
    """The container, or `FormatError`."""
    if kind not in CONTAINERS:
        raise FormatError(f"no container {kind[:60]!r}", code="unknown-container")
    return CONTAINERS[kind]


def claimed(view: View) -> list[Place]:
    """What ``view`` is, or ends with, in the order of their marks: more than one place for a file that two programs
    read differently.
    """
    found = [one.claims(view) for one in CONTAINERS.values()]
    return sorted((place for place in found if place is not None), key=lambda place: place.mark)


def embedded(view: View, first: int, last: int) -> list[Place]:
    """Archives whose mark begins between ``first`` and ``last``, the outermost before those within it."""
    found = [place for one in CONTAINERS.values() for place in one.places(view, first, last)]
    return sorted(found, key=lambda place: (-place.end, place.mark))


class Coverage:
    """Which parts of a file of ``size`` bytes the archives opened so far explain."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._ranges: list[tuple[int, int]] = []
        self._runs: list[list[Run]] = []

    def add(self, ranges: Iterable[tuple[int, int]], runs: Iterable[Run] = ()) -> None:
        """What one archive explains; its ``runs`` do not overlap."""
        self._runs.append(sorted(runs, key=_start))
        merged: list[tuple[int, int]] = []
        for start, end in sorted([*self._ranges, *ranges]):
            if merged and start <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
            else:
                merged.append((start, end))
        self._ranges = merged

    def __contains__(self, offset: int) -> bool:
        at = bisect_right(self._ranges, (offset, self._size + 1)) - 1
        return at >= 0 and offset < self._ranges[at][1]

    def shows(self, reach: Reach, *, packed: bool) -> bool:
        """Whether ``reach`` lies within one member, whose own search meets it again. ``packed``: also where it lies in
        what a member is unpacked from.
        """
        for runs in self._runs:
            at = bisect_right(runs, reach.start, key=_start) - 1
            if at >= 0 and _holds(runs[at], reach) and (packed or not runs[at].packed):
                return True
        return False

    def explained(self) -> Iterator[tuple[int, int]]:
        """The parts that archives explain, in order and in pieces."""
        for start, end in self._ranges:
            for first in range(start, end, _WINDOW):
                yield first, min(first + _WINDOW, end)

    def rest(self) -> list[tuple[int, int]]:
        """The parts that no archive explains, in order."""
        starts = [0, *(end for _, end in self._ranges)]
        ends = [*(start for start, _ in self._ranges), self._size]
        return [(start, end) for start, end in zip(starts, ends, strict=True) if start < end]


def _start(run: Run) -> int:
    return run.start


def _holds(run: Run, reach: Reach) -> bool:
    return run.start <= reach.start and reach.head <= run.end and reach.end <= run.end + run.behind
