# SPDX-License-Identifier: Apache-2.0
"""Change members of a zip archive (PKWARE APPNOTE 6.3.10) and keep every byte of the others.

For formats that sign inside a zip. A format works in two steps:

1. ``prepare`` opens the archive (`open_zip`), chooses its edits, and keeps a `ZipPlan` in ``Prepared.state``. Where an
   edit moves members that stay (anything but adding behind the last one), their offsets in the directory change: then
   the directory travels in ``Prepared.tables`` (`read_directory`), which has its own, larger limit than the state.
2. ``embed`` knows the new content and calls `zip_splices` with the plan, the edits and that directory, if any.

What stays is never written: local header, packed data, data descriptor, extra fields and gaps are copied by the patch,
and so are a prefix (self-extracting) and the archive's comment. Without a move only the new records and the end record
are written. With one, the directory is one splice, its records as they were but for their offsets: a splice of 4 bytes
for each record would be as large on the wire and could exceed the number of splices that a patch may have.

64-bit structures are kept where they are and made where a number no longer fits, unless the format forbids it.
Everything raises `FormatError`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import accumulate

from pydantic import Field, model_validator

from signwright.containers import zip as marks
from signwright.containers.base import ArchiveLimits
from signwright.containers.zip import Member, ZipArchive
from signwright.errors import FormatError, LimitError
from signwright.formats.zip_records import (
    END,
    END64,
    FULL16,
    FULL32,
    LOCATOR64,
    NEEDS_ZIP64,
    ChangedMember,
    NewMember,
    offset_of,
    placed,
    placed_wide,
    records,
)
from signwright.model.operation import Strict
from signwright.model.patch import Splice
from signwright.model.view import View

#: Bytes of a directory that can be rewritten.
MAX_MOVED_DIRECTORY = 8 << 20
_WIDE_TAIL = END64.size + LOCATOR64.size + END.size
_WIDE_MARKS = {0: marks.END64, END64.size: marks.LOCATOR64, END64.size + LOCATOR64.size: marks.END}


@dataclass(frozen=True, slots=True)
class Edit:
    """At one place: ``remove`` bytes at ``at`` are replaced by ``members``, and ``entry_remove`` bytes of the directory
    at ``entry_at`` by their records. All offsets are of the view; an edit removes one member or none. Of several at one
    place, those that only add come first, in the order in which they are given. ``data``: bytes in the place of those
    removed that are no member of their own but a part of one.
    """

    at: int
    remove: int
    entry_at: int
    entry_remove: int
    members: tuple[NewMember | ChangedMember, ...] = ()
    data: bytes = b""


def replacing(member: Member, *new: NewMember) -> Edit:
    """``new`` in the place of ``member``; without ``new`` it is removed. Bytes between members stay."""
    return Edit(member.header, member.end - member.header, member.entry, member.entry_size, new)


def before_all(archive: ZipArchive, *new: NewMember) -> Edit:
    """``new`` as the first members, also of the directory. Every other one moves."""
    return Edit(archive.start, 0, archive.directory.start, 0, new)


class ZipPlan(Strict):
    """What `zip_splices` must know of the archive, as plain data: it crosses processes and is checked again.

    ``size``: of the file; ``base``: bytes before the archive that its offsets do not count; ``directory``: where that
    starts; ``last_header``: of the last member that stays, -1 without one; ``tail``: hex of everything from the end of
    the directory to the archive's comment.
    """

    size: int = Field(ge=END.size)
    base: int = Field(ge=0)
    directory: int = Field(ge=0)
    last_header: int = Field(ge=-1)
    tail: str = Field(pattern=r"^([0-9a-f]{44}|[0-9a-f]{196})$")

    @model_validator(mode="after")
    def _fits(self) -> ZipPlan:
        tail, end = bytes.fromhex(self.tail), self.end
        wanted = {0: marks.END} if len(tail) == END.size else _WIDE_MARKS
        if any(not tail.startswith(mark, at) for at, mark in wanted.items()):
            raise ValueError("the tail is no end of an archive")
        if not self.base <= self.directory <= end or self.last_header >= self.directory:
            raise ValueError("offsets out of order")
        if len(tail) == _WIDE_TAIL:
            self._check_wide(tail)
        return self

    def _check_wide(self, tail: bytes) -> None:
        try:
            marks.check_wide_end(tail, self.end)
        except FormatError as problem:
            raise ValueError(problem.message) from problem
        if self.base:
            raise ValueError("bytes before a 64-bit archive that it does not count")

    @property
    def end(self) -> int:
        """Where the directory ends and its end record, or the 64-bit one, starts."""
        tail = bytes.fromhex(self.tail)
        return self.size - int.from_bytes(tail[-2:], "little") - len(tail)

    @property
    def count(self) -> int:
        tail = bytes.fromhex(self.tail)
        return int(END64.unpack_from(tail)[7] if len(tail) == _WIDE_TAIL else END.unpack(tail)[4])

    def behind_all(self, *new: NewMember) -> Edit:
        """``new`` as the last members: nothing moves but the directory."""
        return Edit(self.directory, 0, self.end, 0, new)


def open_zip(view: View, limits: ArchiveLimits | None = None) -> ZipArchive:
    """The archive whose end is the end of ``view``, checked as strictly as the scanner does."""
    try:
        return ZipArchive(view, limits)
    except LimitError as problem:
        raise FormatError(problem.message, code=problem.code) from problem


def zip_plan(view: View, archive: ZipArchive, removed: Collection[Member] = ()) -> ZipPlan:
    """``removed``: members that the edits will take out or replace."""
    found = archive.directory
    start = found.end if found.end64 is None else found.end64
    tail = view.read(start, found.end + END.size - start)
    gone = {member.entry for member in removed}
    last = max((m.header for m in archive.members if m.entry not in gone), default=-1)
    return ZipPlan(size=view.size, base=found.base, directory=found.start, last_header=last, tail=tail.hex())


def read_directory(view: View, plan: ZipPlan) -> bytes:
    """The directory, for ``Prepared.tables``: to be had where members that stay will move."""
    size = plan.end - plan.directory
    if size > MAX_MOVED_DIRECTORY:
        raise FormatError(
            f"a directory of {size} bytes, at most {MAX_MOVED_DIRECTORY} can be rewritten",
            offset=plan.directory,
            code="too-large",
        )
    return view.read(plan.directory, size)


def zip_splices(
    plan: ZipPlan, edits: Sequence[Edit], *, directory: bytes | None = None, zip64: bool = True
) -> tuple[Splice, ...]:
    """The splices of a patch over the file of ``plan``, in order.

    ``directory``: from `read_directory`; without it an edit that moves a member is refused (``bad-state``). ``zip64``:
    whether 64-bit structures may be made where there are none; else ``zip64`` is the code of the refusal.
    """
    work = _Work(plan, sorted(edits, key=lambda edit: (edit.at, edit.remove > 0)), zip64=zip64)
    if directory is None:
        records = [Splice(at, remove, new) for at, remove, new in work.directory_edits()]
        if work.moves:
            raise FormatError("zip: members move and the directory is not there", code="bad-state")
    else:
        records = [Splice(plan.directory, plan.end - plan.directory, work.rewritten(directory))]
    grown = sum(len(s.insert) - s.remove for s in records)
    tail = Splice(plan.end, len(plan.tail) // 2, work.tail(plan.end - plan.directory + grown))
    return (*(s for s in (*work.local_splices, *records) if s.remove or s.insert), tail)


class _Work:
    """The edits in the order of the member area, with what they write there."""

    def __init__(self, plan: ZipPlan, edits: Sequence[Edit], *, zip64: bool) -> None:
        self._plan, self._edits, self._zip64 = plan, edits, zip64
        self.local_splices: list[Splice] = []
        self._entries: list[list[bytes]] = []
        shift = 0
        for edit in edits:
            if not plan.base <= edit.at <= edit.at + edit.remove <= plan.directory:
                raise FormatError("zip: an edit outside of the archive's members", offset=edit.at, code="bad-state")
            position, locals_, entries = edit.at + shift + len(edit.data), [edit.data], []
            for member in edit.members:
                local, entry = member.records()
                entries.append(self._placed(entry, position - plan.base))
                locals_.append(local)
                position += len(local)
            self.local_splices.append(Splice(edit.at, edit.remove, b"".join(locals_)))
            self._entries.append(entries)
            shift = position - edit.at - edit.remove
        self._grown = shift

    @property
    def moves(self) -> bool:
        """Whether a member that stays does not stay where it is."""
        known = self.local_splices
        return any(len(s.insert) != s.remove and s.offset <= self._plan.last_header for s in known)

    def directory_edits(self) -> list[tuple[int, int, bytes]]:
        """Offset in the view, bytes to remove, records to insert."""
        pairs = zip(self._edits, self._entries, strict=True)
        rows = [(e.entry_at, e.entry_remove, b"".join(n)) for e, n in pairs if e.entry_remove or n]
        rows.sort(key=lambda row: (row[0], row[1] > 0))
        for at, remove, _ in rows:
            if not self._plan.directory <= at <= at + remove <= self._plan.end:
                raise FormatError("zip: an edit outside of the directory", offset=at, code="bad-state")
        return rows

    def rewritten(self, directory: bytes) -> bytes:
        """The directory with the edits and with the offsets of what moved."""
        plan, edits = self._plan, deque(self.directory_edits())
        if len(directory) != plan.end - plan.directory:
            raise FormatError("zip: the directory has another length than planned", code="bad-state")
        places = [s.offset for s in self.local_splices]
        shifts = [0, *accumulate(len(s.insert) - s.remove for s in self.local_splices)]
        out: list[bytes] = []
        removed_to = plan.directory
        for at, record in records(directory, plan.directory):
            while edits and edits[0][0] <= at:
                start, remove, new = edits.popleft()
                if start != at or (remove and remove != len(record)):
                    raise FormatError("zip: an edit in the middle of a record", offset=at, code="bad-state")
                out.append(new)
                removed_to = max(removed_to, at + remove)
            if at >= removed_to:
                offset = offset_of(record)
                shift = shifts[bisect_right(places, offset + plan.base)]
                out.append(self._placed(record, offset + shift) if shift else record)
        return b"".join((*out, *(new for _, _, new in edits)))

    def _placed(self, record: bytes, offset: int) -> bytes:
        """``record`` with another offset, in 64 bits where it had them or needs them."""
        moved = placed(record, offset)
        if moved is None:
            self._check_zip64_allowed(f"a member at offset {offset}")
            moved = placed_wide(record, offset)
        return moved

    def tail(self, size: int) -> bytes:
        """The end records for a directory of ``size`` bytes."""
        plan, old = self._plan, bytes.fromhex(self._plan.tail)
        count = plan.count + sum(len(e.members) - (e.entry_remove > 0) for e in self._edits)
        start = plan.directory + self._grown - plan.base
        values = (count, count, size, start)
        full = (FULL16, FULL16, FULL32, FULL32)
        row = list(END.unpack_from(old, len(old) - END.size))
        was_wide = len(old) == _WIDE_TAIL
        fits = all(value < most for value, most in zip(values, full, strict=True))
        kept = [was_wide and row[3 + n] == most for n, most in enumerate(full)]
        row[3:7] = [most if k or v >= most else v for v, most, k in zip(values, full, kept, strict=True)]
        narrow = END.pack(*row)
        if not was_wide and fits:
            return narrow
        if not was_wide:
            self._check_zip64_allowed(f"{count} members, directory of {size} bytes at {start}")
        versions = END64.unpack_from(old)[2:4] if was_wide else (NEEDS_ZIP64, NEEDS_ZIP64)
        wide = END64.pack(marks.END64, END64.size - 12, *versions, 0, 0, *values)
        return wide + LOCATOR64.pack(marks.LOCATOR64, 0, start + size, 1) + narrow

    def _check_zip64_allowed(self, what: str) -> None:
        if not self._zip64:
            raise FormatError(f"the signed archive would be a 64-bit zip, which is not allowed: {what}", code="zip64")
