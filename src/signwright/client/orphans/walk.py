# SPDX-License-Identifier: Apache-2.0
"""Files, folders and zip archives, one after the other, in constant memory. Nothing is unpacked under its name.

Symbolic links are not followed: what they point at is looked at where it lies.
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from signwright.client.files import open_input
from signwright.client.orphans.found import Unread
from signwright.containers.base import ArchiveLimits, Budget
from signwright.containers.zip import MAX_EMBEDDED, Member, ZipArchive, embedded_ends, looks_like_zip
from signwright.errors import FormatError, LimitError, UsageError
from signwright.model.view import FileView, Head, View, blocks

#: How a path goes on inside an archive.
INSIDE = "!/"
RAW_SUFFIX = ".sig"
MAX_LINE = 32 << 10
_SPOOLED = 8 << 20
#: Packed files that are not looked into, by how they begin.
_OPAQUE: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\x1f\x8b", "gzip"),
    (0, b"BZh", "bzip2"),
    (0, b"\xfd7zXZ\0", "xz"),
    (0, b"\x28\xb5\x2f\xfd", "zstd"),
    (0, b"7z\xbc\xaf\x27\x1c", "7z"),
    (0, b"Rar!\x1a\x07", "rar"),
    (0, b"MSCF", "cabinet"),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "compound file"),
    (0, b"!<arch>\n", "ar"),
    (0, b"xar!", "xar"),
    (0, b"\xed\xab\xee\xdb", "rpm"),
    (257, b"ustar", "tar"),
)


@dataclass(frozen=True, slots=True)
class WalkLimits:
    """``files``: in all, members of archives too; ``archive``: what may come out of one file."""

    files: int = 2_000_000
    archive: ArchiveLimits = field(default_factory=ArchiveLimits)


@dataclass(frozen=True, slots=True)
class Entry:
    """``content``: blocks of the file of the same name without ``.sig``, None when there is no such file."""

    path: str
    view: View
    content: Callable[[], Iterator[bytes]] | None = None


@dataclass(frozen=True, slots=True)
class Closed:
    """A packed file of a ``kind`` that is not looked into."""

    path: str
    kind: str


@dataclass
class Walk:
    """Yields entries; what cannot be read comes out as `Unread` and does not end the walk.

    Raises `LimitError` (``too-many-files``) alone.
    """

    limits: WalkLimits = field(default_factory=WalkLimits)
    files: int = 0
    links: int = 0

    def over(self, paths: Iterator[Path]) -> Iterator[Entry | Closed | Unread]:
        for path in paths:
            yield from self._path(path)

    def _path(self, path: Path) -> Iterator[Entry | Closed | Unread]:
        try:
            mode = os.stat(path).st_mode
        except OSError as problem:
            yield Unread(shown(path), "cannot-read", problem.strerror or "cannot be read")
            return
        if stat.S_ISDIR(mode):
            yield from self._folder(path)
        else:
            yield from self._file(path)

    def _folder(self, folder: Path) -> Iterator[Entry | Closed | Unread]:
        """Depth first, by name."""
        pending = [folder]
        while pending:
            current = pending.pop()
            try:
                with os.scandir(current) as listed:
                    rows = sorted(listed, key=lambda row: row.name)
            except OSError as problem:
                yield Unread(shown(current), "cannot-read", problem.strerror or "cannot be read")
                continue
            for row in rows:
                if row.is_symlink():
                    self.links += 1
                elif row.is_file(follow_symlinks=False):
                    yield from self._file(Path(row.path))
            pending += [Path(row.path) for row in reversed(rows) if row.is_dir(follow_symlinks=False)]

    def _file(self, path: Path) -> Iterator[Entry | Closed | Unread]:
        self._count()
        try:
            with open_input(path) as file:
                view = FileView(file)
                content = _content_beside(path)
                budget = Budget(self.limits.archive, view.size)
                yield from self._view(Entry(shown(path), view, content), budget, depth=0)
        except UsageError as problem:
            yield Unread(shown(path), problem.code, problem.message)
        except OSError as problem:
            yield Unread(shown(path), "cannot-read", problem.strerror or "cannot be read")

    def _view(self, entry: Entry, budget: Budget, *, depth: int) -> Iterator[Entry | Closed | Unread]:
        yield entry
        kind = _opaque(entry.view)
        if kind is not None:
            yield Closed(entry.path, kind)
        else:
            yield from self._archives(entry, budget, depth=depth)

    def _archives(self, entry: Entry, budget: Budget, *, depth: int) -> Iterator[Entry | Closed | Unread]:
        """The archive that the file is or ends with, and those that stand before it or in the middle of anything."""
        start: int | None = entry.view.size
        if looks_like_zip(entry.view):
            start = yield from self._archive(entry, budget, depth=depth)
        try:
            ends = embedded_ends(entry.view, start) if start else []
        except LimitError as problem:
            yield Unread(entry.path, problem.code, problem.message)
            return
        opened = 0
        for end in ends:
            if start is not None and end <= start:
                opened += 1
                if opened > MAX_EMBEDDED:
                    yield Unread(entry.path, "archive-members", f"more than {MAX_EMBEDDED} archives in a file")
                    return
                inner = Entry(entry.path, Head(entry.view, end), None)
                start = yield from self._archive(inner, budget, depth=depth)

    def _archive(
        self, entry: Entry, budget: Budget, *, depth: int
    ) -> Generator[Entry | Closed | Unread, None, int | None]:
        """A program may hold what only looks like an archive: that it does not open is worth a word and no more.

        Returns where the archive starts, None for one that does not open.
        """
        try:
            if depth >= budget.limits.depth:
                raise LimitError(f"archives in more than {budget.limits.depth} archives", code="archive-depth")
            archive = ZipArchive(entry.view, budget.limits)
        except (FormatError, LimitError) as problem:
            if entry.view.read(0, 2) == b"MZ" and isinstance(problem, FormatError):
                yield Closed(entry.path, f"program with something like a zip ({problem.code})")
            else:
                yield Unread(entry.path, problem.code, problem.message)
            return None
        members = {member.name: member for member in archive.members}
        for member in archive.members:
            if not member.is_folder:
                yield from self._member(entry, archive, member, members=members, budget=budget, depth=depth)
        return archive.start

    def _member(
        self,
        outer: Entry,
        archive: ZipArchive,
        member: Member,
        *,
        members: dict[str, Member],
        budget: Budget,
        depth: int,
    ) -> Iterator[Entry | Closed | Unread]:
        self._count()
        path = outer.path + INSIDE + member.name
        beside = members.get(member.name.removesuffix(RAW_SUFFIX)) if member.name.endswith(RAW_SUFFIX) else None
        content = (lambda: _taken(archive.read(beside), budget)) if beside else None
        with tempfile.SpooledTemporaryFile(max_size=_SPOOLED) as spool:
            try:
                for block in _taken(archive.read(member), budget):
                    spool.write(block)
            except (FormatError, LimitError) as problem:
                yield Unread(path, problem.code, problem.message)
                return
            view = FileView(spool)  # type: ignore[arg-type]
            yield from self._view(Entry(path, view, content), budget, depth=depth + 1)

    def _count(self) -> None:
        self.files += 1
        if self.files > self.limits.files:
            raise LimitError(f"more than {self.limits.files} files", code="too-many-files")


def listed_paths(file: BinaryIO) -> Iterator[Path]:
    """Paths of a list, one on a line; empty lines are passed over. Raises `UsageError` for a line that is no path."""
    for number, line in enumerate(iter(lambda: file.readline(MAX_LINE + 2), b""), start=1):
        text = line.rstrip(b"\r\n")
        if len(text) > MAX_LINE or b"\0" in text:
            raise UsageError(f"line {number} of the list is no path", code="bad-list")
        if text:
            yield Path(os.fsdecode(text))


def shown(path: Path) -> str:
    """A path as text that can be written down, whatever bytes it is made of."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _taken(content: Iterator[bytes], budget: Budget) -> Iterator[bytes]:
    for block in content:
        budget.take(len(block))
        yield block


def _content_beside(path: Path) -> Callable[[], Iterator[bytes]] | None:
    if path.suffix != RAW_SUFFIX or not path.with_suffix("").is_file():
        return None

    def read() -> Iterator[bytes]:
        with open_input(path.with_suffix("")) as file:
            view = FileView(file)
            yield from blocks(view, 0, view.size)

    return read


def _opaque(view: View) -> str | None:
    start = view.read(0, min(view.size, 264))
    return next((kind for at, mark, kind in _OPAQUE if start[at : at + len(mark)] == mark), None)
