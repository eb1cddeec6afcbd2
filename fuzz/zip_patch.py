# SPDX-License-Identifier: Apache-2.0
"""Edits of any archive that opens: the result opens again, and what was not edited is as it was."""

from __future__ import annotations

from signwright.containers.base import ArchiveLimits
from signwright.errors import SignwrightError
from signwright.formats.zip_patch import before_all, open_zip, read_directory, replacing, zip_plan, zip_splices
from signwright.formats.zip_records import NewMember
from signwright.model.patch import Patch, Patched
from signwright.model.view import BytesView

LIMITS = ArchiveLimits(members=1000, total=4 << 20)
FIRST, LAST = NewMember("first", b"1" * 33), NewMember("last", b"2" * 44, deflate=True)


def one_input(data: bytes) -> None:
    view = BytesView(data)
    archive = open_zip(view, LIMITS)
    removed = archive.members[1:2]
    plan = zip_plan(view, archive, removed)
    edits = [before_all(archive, FIRST), *map(replacing, removed), plan.behind_all(LAST)]
    splices = zip_splices(plan, edits, directory=read_directory(view, plan))
    size = len(data) + sum(len(s.insert) - s.remove for s in splices)
    result = Patched(view, Patch("", len(data), "", size, splices))
    kept = [m for m in archive.members if m not in removed]
    try:
        again = open_zip(result, LIMITS).members
    except SignwrightError as problem:
        raise AssertionError("what was written does not open") from problem
    assert [m.name for m in again] == ["first", *(m.name for m in kept), "last"]
    for before, after in zip(kept, again[1:-1], strict=True):
        assert result.read(after.header, after.end - after.header) == data[before.header : before.end]
