# SPDX-License-Identifier: Apache-2.0
"""Edits of zip archives: what stays keeps every byte, and other programs read the result."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from signwright.containers.zip import Member, ZipArchive
from signwright.errors import FormatError
from signwright.formats import zip_patch
from signwright.formats.zip_patch import Edit, ZipPlan, before_all, open_zip, read_directory, replacing, zip_plan
from signwright.formats.zip_records import NewMember, offset_of, placed, placed_wide, records
from signwright.model.patch import Patch, Patched, Splice
from signwright.model.view import BytesView
from tests.support.tools import require_tool
from tests.support.zip_builder import SHAPES, SOME, Zip, unpacked

NEW = NewMember("new.bin", b"new content" * 30)
PACKED = NewMember("ü/packed.txt", b"packed " * 500, deflate=True)
Choose = Callable[[ZipArchive, ZipPlan], Sequence[Edit]]


def applied(source: bytes, splices: Sequence[Splice]) -> bytes:
    grown = sum(len(s.insert) - s.remove for s in splices)
    patch = Patch("", len(source), "", len(source) + grown, tuple(splices))
    return Patched(BytesView(source), patch).read(0, patch.result_size)


def edited(
    source: bytes, choose: Choose, *, removed: Sequence[str] = (), moves: bool = True, zip64: bool = True
) -> bytes:
    """The plan goes through JSON, as it does between processes."""
    view = BytesView(source)
    archive = open_zip(view)
    gone = [member for member in archive.members if member.name in removed]
    plan = ZipPlan.model_validate_json(zip_plan(view, archive, gone).model_dump_json())
    directory = read_directory(view, plan) if moves else None
    return applied(source, zip_patch.zip_splices(plan, choose(archive, plan), directory=directory, zip64=zip64))


def behind(*new: NewMember) -> Choose:
    return lambda _, plan: [plan.behind_all(*new)]


def first(*new: NewMember) -> Choose:
    return lambda archive, _: [before_all(archive, *new)]


def named(archive: ZipArchive, name: str) -> Member:
    return next(member for member in archive.members if member.name == name)


def whole_members(content: bytes) -> dict[str, bytes]:
    """Everything of a member but its place: local header to descriptor, and its record without the offset."""
    found = {}
    for member in open_zip(BytesView(content)).members:
        record = content[member.entry : member.entry + member.entry_size]
        found[member.name] = content[member.header : member.end] + record[:42] + record[46:]
    return found


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("moves", [False, True])
def test_members_behind_all_leave_the_others_as_they_were(shape: str, moves: bool) -> None:
    source = SHAPES[shape].build()
    result = edited(source, behind(NEW, PACKED), moves=moves)
    members = list(SHAPES[shape].members)
    assert unpacked(result) == [*members, (NEW.name, NEW.content), (PACKED.name, PACKED.content)]
    before, after = whole_members(source), whole_members(result)
    assert {name: after[name] for name in before} == before
    start = open_zip(BytesView(source)).directory.start
    assert result.startswith(source[:start])
    assert result.endswith(SHAPES[shape].comment)


@pytest.mark.parametrize("shape", SHAPES)
def test_members_before_all_move_the_others_and_change_nothing_else(shape: str) -> None:
    source = SHAPES[shape].build()
    result = edited(source, first(NEW, PACKED))
    assert unpacked(result) == [(NEW.name, NEW.content), (PACKED.name, PACKED.content), *SHAPES[shape].members]
    before, after = whole_members(source), whole_members(result)
    assert {name: after[name] for name in before} == before
    assert result.startswith(SHAPES[shape].prefix)


@pytest.mark.parametrize("shape", [name for name in SHAPES if name != "empty"])
@pytest.mark.parametrize("name", [name for name, _ in SOME])
def test_a_member_is_removed_or_replaced_in_its_place(shape: str, name: str) -> None:
    source = SHAPES[shape].build()
    less = edited(source, lambda archive, _: [replacing(named(archive, name))], removed=[name])
    assert unpacked(less) == [row for row in SOME if row[0] != name]
    other = edited(source, lambda archive, _: [replacing(named(archive, name), NEW)], removed=[name])
    assert unpacked(other) == [(NEW.name, NEW.content) if row[0] == name else row for row in SOME]
    kept = {other: whole for other, whole in whole_members(source).items() if other != name}
    assert {key: whole for key, whole in whole_members(other).items() if key != NEW.name} == kept


def test_the_last_member_is_replaced_without_the_directory() -> None:
    result = edited(Zip().build(), lambda a, _: [replacing(a.members[-1], NEW)], removed=["empty"], moves=False)
    assert unpacked(result) == [*SOME[:-1], (NEW.name, NEW.content)]


@pytest.mark.parametrize("choose", [first(NEW), lambda a, _: [replacing(a.members[0])]])
def test_without_the_directory_nothing_that_stays_may_move(choose: Choose) -> None:
    with pytest.raises(FormatError) as refusal:
        edited(Zip().build(), choose, moves=False)
    assert refusal.value.code == "bad-state"


NAMES = st.text("abcdeü/._", min_size=1, max_size=12).filter(lambda name: not name.endswith("/"))
CONTENTS = st.lists(st.tuples(NAMES, st.binary(max_size=300)), max_size=8, unique_by=lambda row: row[0])
TWICE_EMPTY = b"PK\x05\x06"


@settings(max_examples=150, deadline=None)
@given(
    CONTENTS,
    st.data(),
    st.booleans(),
    st.booleans(),
    st.binary(max_size=40).filter(lambda comment: TWICE_EMPTY not in comment),
)
def test_any_edits_give_what_they_say(
    members: list[tuple[str, bytes]], data: st.DataObject, described: bool, wide: bool, comment: bytes
) -> None:
    zip_ = Zip(members=tuple(members), descriptors=described, wide=wide, comment=comment)
    source = zip_.build()
    kinds = data.draw(st.lists(st.sampled_from(["keep", "drop", "swap"]), min_size=len(members), max_size=len(members)))
    ends = data.draw(st.tuples(st.booleans(), st.booleans()))
    new = [NewMember(f"new-{n}", b"x" * (50 * n), deflate=n % 2 == 1) for n in range(len(members) + 2)]

    def choose(archive: ZipArchive, plan: ZipPlan) -> list[Edit]:
        edits = [before_all(archive, new[0])] if ends[0] else []
        for member, kind, other in zip(archive.members, kinds, new[1:], strict=False):
            if kind != "keep":
                edits.append(replacing(member, *([other] if kind == "swap" else [])))
        return [*edits, plan.behind_all(new[-1])] if ends[1] else edits

    result = edited(
        source, choose, removed=[row[0] for row, kind in zip(members, kinds, strict=True) if kind != "keep"]
    )
    wanted = [(new[0].name, new[0].content)] if ends[0] else []
    for row, kind, other in zip(members, kinds, new[1:], strict=False):
        wanted += {"keep": [row], "drop": [], "swap": [(other.name, other.content)]}[kind]
    assert unpacked(result) == [*wanted, (new[-1].name, new[-1].content)] if ends[1] else unpacked(result) == wanted
    assert result.endswith(comment)
    before, after = whole_members(source), whole_members(result)
    assert all(after[row[0]] == before[row[0]] for row, kind in zip(members, kinds, strict=True) if kind == "keep")


@pytest.mark.parametrize("shape", [name for name in SHAPES if name != "empty"])
def test_info_zip_tests_and_lists_the_result(shape: str, tmp_path: Path) -> None:
    unzip, zipinfo = require_tool("unzip"), require_tool("zipinfo", "unzip")
    (tmp_path / "a.zip").write_bytes(edited(SHAPES[shape].build(), first(NEW)))
    (tmp_path / "b.zip").write_bytes(edited(SHAPES[shape].build(), behind(PACKED), moves=False))
    for name in ("a.zip", "b.zip"):
        told = subprocess.run([unzip, "-t", name], cwd=tmp_path, capture_output=True, check=False, timeout=60)
        # 1 is a warning: bytes before an archive whose offsets do not count them.
        assert told.returncode == (1 if "not-counted" in shape else 0), told.stdout + told.stderr
        listed = subprocess.run([zipinfo, "-1", name], cwd=tmp_path, capture_output=True, check=False, timeout=60)
        assert len(listed.stdout.splitlines()) == len(SOME) + 1


def test_the_patch_is_no_larger_than_what_is_new_and_the_directory() -> None:
    source = Zip(members=tuple((f"member-{n}", b"x" * 1000) for n in range(400)), stored=True).build()
    view = BytesView(source)
    archive = open_zip(view)
    plan = zip_plan(view, archive)
    still = zip_patch.zip_splices(plan, [plan.behind_all(NEW)])
    assert sum(len(s.insert) for s in still) < len(NEW.content) + 256
    moved = zip_patch.zip_splices(plan, [before_all(archive, NEW)], directory=read_directory(view, plan))
    assert sum(len(s.insert) for s in moved) < len(NEW.content) + archive.directory.size + 256


def test_a_64_bit_archive_is_made_only_where_a_number_needs_it_and_may_be_forbidden() -> None:
    members = tuple((f"{n}", b"") for n in range(0xFFFE))
    source = Zip(members=members, stored=True).build()
    assert b"PK\x06\x06" not in source
    result = edited(source, behind(NEW), moves=False)
    assert b"PK\x06\x06" in result
    assert len(unpacked(result)) == 0xFFFF
    with pytest.raises(FormatError) as refusal:
        edited(source, behind(NEW), moves=False, zip64=False)
    assert refusal.value.code == "zip64"
    assert len(unpacked(edited(result, lambda a, _: [replacing(a.members[0])], removed=["0"]))) == 0xFFFE


def _record(extra: bytes = b"", *, size: int = 1, offset: int = 7) -> bytes:
    row = (b"PK\1\2", 20, 20, 0, 0, 0, 0, 0, 1, size, 1, len(extra), 2, 0, 0, 0, offset)
    return struct.pack("<4s6H3L5H2L", *row) + b"n" + extra + b"c!"


def test_an_offset_beyond_4_gib_goes_into_an_extra_field() -> None:
    plain = _record(struct.pack("<2H2s", 0x7075, 2, b"ok") + b"\0")
    assert placed(plain, 1 << 32) is None
    wide = placed_wide(plain, 1 << 32)
    assert offset_of(wide) == 1 << 32
    assert wide.endswith(b"n" + struct.pack("<2HQ", 1, 8, 1 << 32) + plain[47:])
    assert [record for _, record in records(wide, 0)] == [wide]
    sized = placed_wide(_record(struct.pack("<2HQ", 1, 8, 1 << 33), size=0xFFFFFFFF), 1 << 34)
    assert offset_of(sized) == 1 << 34
    assert struct.pack("<2H2Q", 1, 16, 1 << 33, 1 << 34) in sized
    again = placed(sized, 5)
    assert again is not None
    assert offset_of(again) == 5
    assert len(again) == len(sized)
    with pytest.raises(FormatError):
        placed_wide(_record(struct.pack("<2H", 0x7075, 0xFFF8) + bytes(0xFFF8)), 1 << 32)
    with pytest.raises(FormatError):
        offset_of(_record(offset=0xFFFFFFFF))


def test_end_records_that_contradict_each_other_are_refused() -> None:
    source = Zip(wide=True).build()
    for at, value in ((-22 + 10, b"\x09\x00"), (-42 + 8, b"\x01")):
        place = len(source) + at
        broken = source[:place] + value + source[place + len(value) :]
        view = BytesView(broken)
        with pytest.raises(FormatError) as refusal:
            zip_plan(view, open_zip(view))
        assert refusal.value.code == "zip-end"


@pytest.mark.parametrize(("at", "value"), [(-22 + 10, b"\x09\x00"), (-42 + 8, b"\x01")])
def test_a_plan_whose_end_records_contradict_each_other_is_refused(at: int, value: bytes) -> None:
    view = BytesView(Zip(wide=True).build())
    plan = zip_plan(view, open_zip(view)).model_dump(mode="json")
    tail = bytearray.fromhex(plan["tail"])
    tail[at : at + len(value) or None] = value
    with pytest.raises(ValidationError):
        ZipPlan.model_validate({**plan, "tail": tail.hex()})
    with pytest.raises(ValidationError):
        ZipPlan.model_validate({**plan, "base": 1})


@pytest.mark.parametrize(
    "change",
    [
        {"tail": "00" * 22},
        {"tail": "00" * 98},
        {"tail": "50"},
        {"directory": 1 << 40},
        {"last_header": 1 << 40},
        {"size": 22},
        {"base": -1},
        {"more": 1},
    ],
)
def test_a_plan_that_does_not_hold_is_refused(change: dict[str, object]) -> None:
    view = BytesView(Zip().build())
    plan = zip_plan(view, open_zip(view)).model_dump()
    with pytest.raises(ValidationError):
        ZipPlan.model_validate({**plan, **change})


@pytest.mark.parametrize(
    ("edit", "directory"),
    [
        (Edit(1 << 40, 0, 0, 0), None),
        (Edit(0, 0, 0, 0, (NEW,)), None),
        (Edit(0, 0, 0, 0, (NEW,)), b"short"),
        (Edit(0, 0, -1, 0, (NEW,)), True),
        (Edit(0, 0, 3, 0, (NEW,)), True),
        (Edit(0, 0, 0, 5, (NEW,)), True),
        (Edit(0, 0, 0, 0, (NEW,)), "other"),
    ],
)
def test_edits_and_directories_that_do_not_fit_the_plan_are_refused(edit: Edit, directory: object) -> None:
    view = BytesView(Zip().build())
    archive = open_zip(view)
    plan = zip_plan(view, archive)
    real = read_directory(view, plan)
    given_ = {True: real, "other": bytes(len(real)), None: None}.get(directory, directory)  # type: ignore[call-overload]
    moved = Edit(edit.at, edit.remove, edit.entry_at + plan.directory, edit.entry_remove, edit.members)
    with pytest.raises(FormatError) as refusal:
        zip_patch.zip_splices(plan, [moved], directory=given_)
    assert refusal.value.code == "bad-state"


def test_a_directory_that_is_too_large_to_be_rewritten_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zip_patch, "MAX_MOVED_DIRECTORY", 10)
    view = BytesView(Zip().build())
    with pytest.raises(FormatError) as refusal:
        read_directory(view, zip_plan(view, open_zip(view)))
    assert refusal.value.code == "too-large"


@pytest.mark.parametrize(
    "member", [NewMember("", b""), NewMember("x" * 0x10000, b""), NewMember("x", b"", extra=bytes(0x10000))]
)
def test_a_member_that_does_not_fit_is_refused(member: NewMember) -> None:
    with pytest.raises(FormatError) as refusal:
        member.records()
    assert refusal.value.code == "too-large"


def test_too_many_members_are_a_format_error() -> None:
    source = Zip(members=tuple((f"{n}", b"") for n in range(100_001)), stored=True).build()
    with pytest.raises(FormatError) as refusal:
        open_zip(BytesView(source))
    assert refusal.value.code.endswith("members")
