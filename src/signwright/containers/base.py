# SPDX-License-Identifier: Apache-2.0
"""The contract of a container: a kind of file that others look into, such as zip or cabinet.

The scanner asks every kind in `signwright.containers.registry.CONTAINERS` two things: whether a file is of that kind
(``claims``), and where such archives stand in the parts of a file that no opened archive has explained (``places``).
Each place is opened in a sandbox (``open``); the members come out one after the other as blocks and are looked at as
files of their own. To add a kind: one module with these three methods, one row in the registry.

Everything here is pure and runs in constant memory; limits are checked before anything is allocated. Errors are
`FormatError` for what is not as it should be and `LimitError` (``archive-...``) for what is well formed and too much.
What cannot be unpacked raises: a member that is not looked at makes the scanner's verdict ``unscannable``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from signwright.errors import LimitError
from signwright.model.view import View

#: Below this a bad ratio does no harm: a page of zeros packs a thousand to one.
RATIO_FLOOR = 1 << 20


@dataclass(frozen=True, slots=True)
class ArchiveLimits:
    """``members`` of one archive; ``total``: unpacked bytes over everything; ``ratio``: unpacked to packed;
    ``depth`` of nesting.
    """

    members: int = 100_000
    total: int = 20 << 30
    ratio: int = 100
    depth: int = 8


@dataclass(slots=True)
class Budget:
    """Unpacked bytes so far. One for all archives of an artifact whose own size is ``packed``. Raises `LimitError`."""

    limits: ArchiveLimits
    packed: int
    unpacked: int = 0

    def take(self, count: int) -> None:
        self.unpacked += count
        if self.unpacked > self.limits.total:
            raise LimitError(f"more than {self.limits.total} bytes unpacked", code="archive-total")
        check_ratio(self.unpacked, self.packed, self.limits.ratio)


def check_ratio(unpacked: int, packed: int, ratio: int) -> None:
    """Raise `LimitError` (``archive-ratio``) when more than ``RATIO_FLOOR`` bytes came out of too few."""
    if unpacked > RATIO_FLOOR and unpacked > packed * ratio:
        raise LimitError(f"{unpacked} bytes unpacked out of {packed}, more than {ratio} to 1", code="archive-ratio")


@dataclass(frozen=True, slots=True)
class Place:
    """Where an archive may stand in a file. ``mark``: offset of the bytes it was recognised by; ``end``: offset behind
    its last byte.
    """

    kind: str
    mark: int
    end: int


@dataclass(frozen=True, slots=True)
class Run:
    """Bytes of a file from ``start`` to ``end`` that are one member's alone, in their order. ``behind``: how many bytes
    of the member follow elsewhere; ``packed``: they are not the member's bytes but what these are unpacked from.
    """

    start: int
    end: int
    behind: int = 0
    packed: bool = False


@dataclass(frozen=True, slots=True)
class Reach:
    """What a reader looks at that opens an archive in the middle of a file: from ``start`` to ``end``, and the bytes up
    to ``head`` decide that it does.
    """

    start: int
    head: int
    end: int


@dataclass(slots=True)
class Tally:
    """How many more records are looked at in one file. Raises `LimitError` (``archive-members``)."""

    left: int = 4_000_000

    @classmethod
    def of(cls, size: int) -> Tally:
        """For a file of ``size`` bytes: some times what fits into it, so that the work stays in proportion."""
        return cls(min(1000 + size // 16, 4_000_000))

    def take(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise LimitError("too many records of archives within archives", code="archive-members")


class Member(Protocol):
    """One file in an archive. ``name``: printable text, for people, with whatever separators the archive has;
    ``is_folder``: there is nothing to read.
    """

    @property
    def name(self) -> str: ...
    @property
    def is_folder(self) -> bool: ...


class Archive(Protocol):
    """An archive whose structure was checked.

    ``members``: in the order in which they should be read. ``covered``: ranges ``(start, end)`` of the view, in order,
    that are this archive's own structure and packed data: everything else in the view is searched for further
    archives. Leaving a range out costs time and never hides anything. ``runs``: where in them the members' bytes stand,
    of all members that `read` gives or raises for; what begins in one of them and goes on in another member's is no
    part of either. Leaving one out costs time as well.
    """

    @property
    def members(self) -> Sequence[Any]: ...

    @property
    def covered(self) -> Sequence[tuple[int, int]]: ...

    def runs(self) -> Iterable[Run]: ...

    def read(self, member: Any) -> Iterator[bytes]:
        """The unpacked bytes in blocks of at most 256 KiB. Raises `FormatError` or `LimitError`, also in the middle."""
        ...


class Container(Protocol):
    """One kind of archive. ``kind``: its name, as in `Place`."""

    @property
    def kind(self) -> str: ...

    def claims(self, view: View) -> Place | None:
        """The archive that the whole file is, or ends with, as a program would open it that was given this file; None
        when it is none. What is claimed is always opened; where it does not open the file is unscannable, unless its
        mark stands in another archive and either leads nowhere or is seen again, whole, in one member of that archive.
        """
        ...

    def places(self, view: View, first: int, last: int) -> list[Place]:
        """Archives whose mark begins between ``first`` and ``last``, wherever in a file they stand: only those that
        some reader would follow. Empty for a kind that is never opened in the middle of a file. Raises `LimitError`
        (``archive-members``) for a file that is full of marks.
        """
        ...

    def reach(self, view: View, place: Place, tally: Tally) -> Reach | None:
        """What a lenient reader looks at that follows ``place``; None for what leads to nothing that could be read.
        Takes from ``tally`` for each record on the way.
        """
        ...

    def open(self, view: View, place: Place, limits: ArchiveLimits) -> Archive:
        """Check the structure of the archive at ``place`` of ``view``. Raises `FormatError` and `LimitError`."""
        ...
