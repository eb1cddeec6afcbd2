# SPDX-License-Identifier: Apache-2.0
"""The cabinet walker against cabinets of gcab and of our own making, and against broken and clever ones."""

from __future__ import annotations

import random
import struct
import subprocess
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuzz.cab_walk import one_input
from signwright.containers.base import ArchiveLimits
from signwright.containers.cab import CabArchive, CabContainer, CabFile
from signwright.errors import FormatError, LimitError
from signwright.model.view import BytesView
from tests.support.cab_builder import (
    BLOCK,
    LZX,
    MSZIP,
    QUANTUM,
    SHAPES,
    STORED,
    Cab,
    Folder,
    cabinet,
    checksum_by_the_book,
)
from tests.support.tools import require_tool

NOISE = random.Random(3).randbytes(100_000)
TEXT = b"".join(b"line %d\n" % number for number in range(20_000))
SMALL = (("a.txt", b"hello" * 100), ("folder\\ü.bin", bytes(range(256))))


def unpacked(content: bytes, limits: ArchiveLimits | None = None) -> list[tuple[str, bytes]]:
    archive = CabArchive(BytesView(content), limits)
    return [(member.name, b"".join(archive.read(member))) for member in archive.members]


def code_of(content: bytes, limits: ArchiveLimits | None = None) -> str:
    with pytest.raises((FormatError, LimitError)) as caught:
        unpacked(content, limits)
    assert isinstance(caught.value, FormatError | LimitError)
    return caught.value.code


def edited(content: bytes, offset: int, field: bytes) -> bytes:
    return content[:offset] + field + content[offset + len(field) :]


def folder_of(**changes: object) -> bytes:
    return Cab(folders=(Folder(**changes),)).build()  # type: ignore[arg-type]


@pytest.mark.parametrize("method", [STORED, MSZIP])
@pytest.mark.parametrize("files", [SMALL, (("long", TEXT), ("noise", NOISE), ("again", TEXT))], ids=["small", "long"])
def test_files_come_out_as_they_went_in(files: tuple[tuple[str, bytes], ...], method: int) -> None:
    assert unpacked(cabinet(*files, method=method)) == list(files)


@pytest.mark.parametrize("packing", [["-z"], []], ids=["mszip", "stored"])
def test_a_cabinet_of_gcab_is_read(tmp_path: Path, packing: list[str]) -> None:
    tool = require_tool("gcab")
    (tmp_path / "text").write_bytes(TEXT)
    (tmp_path / "noise").write_bytes(NOISE)
    subprocess.run([tool, "-c", "-n", *packing, "out.cab", "text", "noise"], cwd=tmp_path, check=True, timeout=60)
    assert unpacked((tmp_path / "out.cab").read_bytes()) == [("text", TEXT), ("noise", NOISE)]


def test_cabextract_reads_what_the_tests_build(tmp_path: Path) -> None:
    """The builder is a witness only as far as another reader agrees with it."""
    tool = require_tool("cabextract")
    for name, cab in SHAPES.items():
        if any(folder.method not in (STORED, MSZIP) for folder in cab.folders) or cab.previous or cab.following:
            continue
        content = cab.build()
        (tmp_path / "x.cab").write_bytes(content)
        done = subprocess.run([tool, "-q", "-d", name, "x.cab"], cwd=tmp_path, capture_output=True, check=False)
        assert done.returncode == 0, (name, done.stderr)
        for file, body in unpacked(content):
            assert (tmp_path / name / file).read_bytes() == body


def test_several_folders_of_different_packing_are_read() -> None:
    folders = (Folder(files=SMALL), Folder(files=(("c", TEXT),), method=STORED), Folder(files=(("d", NOISE),)))
    assert unpacked(Cab(folders=folders).build()) == [*SMALL, ("c", TEXT), ("d", NOISE)]


def test_files_can_be_read_in_any_order_and_twice() -> None:
    archive = CabArchive(BytesView(cabinet(("a", TEXT), ("b", NOISE), ("c", TEXT[::-1]))))
    for number in (2, 0, 1, 1, 2, 0):
        member = archive.members[number]
        assert b"".join(archive.read(member)) == {"a": TEXT, "b": NOISE, "c": TEXT[::-1]}[member.name]


@pytest.mark.parametrize("reserves", [(b"r" * 33, 0, 0), (b"", 7, 0), (b"", 0, 5), (b"x", 1, 255)])
def test_reserves_are_stepped_over(reserves: tuple[bytes, int, int]) -> None:
    assert unpacked(Cab(reserves=reserves).build()) == list(Folder().files)


@pytest.mark.parametrize(
    ("method", "code"), [(LZX, "cab-lzx"), (QUANTUM, "cab-quantum"), (4, "cab-method"), (0x10, "cab-method")]
)
def test_a_packing_that_is_not_unpacked_is_named(method: int, code: str) -> None:
    assert code_of(folder_of(method=method)) == code


def test_a_folder_that_cannot_be_unpacked_does_not_hide_the_others() -> None:
    archive = CabArchive(BytesView(Cab(folders=(Folder(method=LZX), Folder(files=(("c", TEXT),)))).build()))
    assert [member.name for member in archive.members] == ["a.txt", "b.bin", "c"]
    assert b"".join(archive.read(archive.members[2])) == TEXT


@pytest.mark.parametrize("where", [0xFFFD, 0xFFFE, 0xFFFF])
def test_a_file_that_goes_on_in_another_cabinet_is_named(where: int) -> None:
    cab = Cab(
        folders=(Folder(files=(("part", TEXT),), records=(("part", 1 << 20, 0, where),)),),
        previous=("1.cab", "1"),
        following=("3.cab", "3"),
    )
    assert code_of(cab.build()) == "cab-continued"


def test_what_stands_before_a_part_is_read_and_what_stands_behind_one_is_not() -> None:
    files = (("first", TEXT), ("part", NOISE))
    size = len(TEXT)
    last = Folder(files=files, records=(("first", size, 0, 1), ("part", 1 << 20, size, 0xFFFE)))
    begun = Folder(files=files, records=(("part", 1 << 20, 0, 0xFFFD), ("behind", 10, 1 << 20, 0)))
    archive = CabArchive(BytesView(Cab(folders=(begun, last), previous=("p", ""), following=("n", "")).build()))
    assert [(m.name, m.begins, m.ends) for m in archive.members] == [
        ("part", False, True), ("behind", False, True), ("first", True, True), ("part", True, False)
    ]  # fmt: skip
    assert b"".join(archive.read(archive.members[2])) == TEXT


def test_the_first_cabinet_of_a_set_gives_what_it_has() -> None:
    size = len(TEXT)
    only = Folder(
        files=(("first", TEXT), ("part", NOISE)), records=(("part", 1 << 20, size, 0xFFFE), ("first", 9, 0, 0))
    )
    archive = CabArchive(BytesView(Cab(folders=(only,), following=("n", "")).build()))
    assert [m.name for m in archive.members] == ["first", f"(folder 0, bytes 9 to {size})", "part"]
    assert b"".join(b"".join(archive.read(member)) for member in archive.members[:2]) == TEXT


def test_parts_far_behind_what_is_there_leave_no_piece_of_less_than_nothing() -> None:
    records = (("one", 1 << 20, 0, 0xFFFE), ("two", 1 << 20, 2 << 20, 0xFFFE))
    cab = Cab(folders=(Folder(files=(("x", b"abc"),), records=records),), following=("n", ""))
    assert all(member.size > 0 for member in CabArchive(BytesView(cab.build())).members)


def test_files_that_share_bytes_are_refused_also_where_the_folder_goes_on() -> None:
    """Each would be unpacked from the start of the folder again."""
    records = (("a", 3, 0, 0), ("b", 3, 2, 0), ("part", 1 << 20, 9, 0xFFFE))
    cab = Cab(folders=(Folder(files=(("x", b"abcdefghi"),), records=records),), following=("n", ""))
    assert code_of(cab.build()) == "cab-overlap"


def test_bytes_that_no_file_claims_come_out_too() -> None:
    content = folder_of(files=(("a", TEXT),), records=(("middle", 5, 3, 0),))
    assert unpacked(content) == [
        ("(folder 0, bytes 0 to 3)", TEXT[:3]),
        ("middle", TEXT[3:8]),
        (f"(folder 0, bytes 8 to {len(TEXT)})", TEXT[8:]),
    ]
    assert unpacked(folder_of(files=(("a", b"abc"),), records=())) == [("(folder 0, bytes 0 to 3)", b"abc")]


def test_files_that_share_all_their_bytes_are_read_once() -> None:
    content = folder_of(files=(("a", b"abc"),), records=(("one", 3, 0, 0), ("two", 3, 0, 0)))
    assert unpacked(content) == [("one", b"abc")]


@pytest.mark.parametrize(
    "records", [(("a", 3, 0, 0), ("b", 3, 2, 0)), (("a", 3, 0, 0), ("b", 2, 0, 0)), (("a", 6, 0, 0),)]
)
def test_files_that_share_some_bytes_or_end_behind_their_folder_are_refused(records: object) -> None:
    assert code_of(folder_of(files=(("x", b"abcde"),), records=records)) == "cab-overlap"


def test_a_file_in_a_folder_that_is_not_there_is_refused() -> None:
    assert code_of(folder_of(records=(("a", 1, 0, 1),))) == "cab-folder"


def test_folders_that_share_their_blocks_are_refused() -> None:
    content = bytearray(Cab(folders=(Folder(), Folder())).build())
    content[44:48] = content[36:40]
    assert code_of(bytes(content)) == "cab-overlap"


def test_a_folder_in_the_header_is_refused() -> None:
    assert code_of(edited(folder_of(method=STORED, checksums=False), 36, struct.pack("<I", 8))) in {
        "cab-block", "cab-overlap", "cab-truncated"
    }  # fmt: skip


@pytest.mark.parametrize("offset", [0xFFFFFFFF, 1 << 20])
def test_an_offset_beyond_the_end_is_refused(offset: int) -> None:
    assert code_of(edited(cabinet(*SMALL), 36, struct.pack("<I", offset))) == "cab-truncated"
    assert code_of(edited(cabinet(*SMALL), 16, struct.pack("<I", offset))) == "cab-truncated"


@pytest.mark.parametrize(
    ("cab", "code"),
    [
        (Cab(version=(1, 4)), "cab-version"),
        (Cab(flags=8), "cab-flags"),
        (Cab(size=100), "cab-truncated"),
        (Cab(size=1 << 30), "cab-truncated"),
        (Cab(behind=b"more"), "cab-truncated"),
        (Cab(previous=("p" * 300, "")), "cab-name"),
        (Cab(folders=(Folder(files=(("a\x1b[31m", b"x"),)),)), "cab-name"),
        (Cab(folders=(Folder(files=(("", b"x"),)),)), "cab-name"),
        (Cab(folders=(Folder(files=(("n" * 300, b"x"),)),)), "cab-name"),
        (Cab(folders=(Folder(files=(("long", TEXT),), block=BLOCK // 2),)), "cab-block"),
    ],
)
def test_a_broken_cabinet_is_refused_with_its_code(cab: Cab, code: str) -> None:
    assert code_of(cab.build()) == code


def block_of(content: bytes) -> int:
    """Offset of the first CFDATA of a cabinet without reserves."""
    return int.from_bytes(content[36:40], "little")


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        (0, b"\1\2\3\4", "cab-checksum"),
        (4, b"\0\0", "cab-block"),
        (4, b"\xff\xff", "cab-block"),
        (6, b"\xff\xff", "cab-block"),
        (8, b"XX", "cab-checksum"),
    ],
)
def test_a_broken_block_is_refused_with_its_code(field: int, value: bytes, code: str) -> None:
    content = cabinet(*SMALL)
    assert code_of(edited(content, block_of(content) + field, value)) == code


@pytest.mark.parametrize(
    ("packed", "code"), [(b"XX\3\0", "cab-packed"), (b"CK\3\0", "cab-size"), (b"CK\xff", "cab-packed")]
)
def test_a_block_that_does_not_unpack_is_refused(packed: bytes, code: str) -> None:
    content = folder_of(files=(("a", b"x" * 10),), checksums=False)
    at = block_of(content)
    head = struct.pack("<I2H", 0, len(packed), 10)
    size = struct.pack("<I", at + len(head) + len(packed))
    assert code_of(edited(content[:at] + head + packed, 8, size)) == code


@pytest.mark.parametrize(("trailing", "fine"), [(b"", True), (b"\0", True), (b"\0\0\0", True), (b"CK", False)])
def test_bytes_behind_a_packed_block_are_zero_or_refused(trailing: bytes, fine: bool) -> None:
    content = folder_of(files=(("a", b"x" * 10),), checksums=False)
    at = block_of(content)
    length = int.from_bytes(content[at + 4 : at + 6], "little") + len(trailing)
    longer = edited(content + trailing, at + 4, struct.pack("<H", length))
    longer = edited(longer, 8, struct.pack("<I", len(longer)))
    if fine:
        assert unpacked(longer) == [("a", b"x" * 10)]
    else:
        assert code_of(longer) == "cab-size"


def test_a_folder_that_broke_is_not_unpacked_again_for_every_file_behind() -> None:
    files = tuple((str(n), NOISE[500 * n : 500 * n + 500]) for n in range(200))
    content = bytearray(folder_of(files=files))
    content[-1000:] = bytes(1000)  # within the last block
    archive = CabArchive(BytesView(bytes(content)))
    codes = []
    for member in archive.members:
        try:
            assert b"".join(archive.read(member)) == dict(files)[member.name]
        except FormatError as problem:
            codes.append(problem.code)
    assert 0 < len(codes) < 200
    assert len(set(codes)) == 1


def test_limits_are_kept() -> None:
    assert code_of(cabinet(*SMALL), ArchiveLimits(members=1)) == "archive-members"
    assert code_of(cabinet(("a", TEXT)), ArchiveLimits(total=1000)) == "archive-total"
    assert code_of(cabinet(("bomb", bytes(8 << 20)))) == "archive-ratio"
    assert code_of(cabinet(("page", bytes(1 << 21))), ArchiveLimits(ratio=10)) == "archive-ratio"


def test_memory_stays_small_whatever_comes_out() -> None:
    view = BytesView(cabinet(("big", TEXT * 100)))
    archive = CabArchive(view)
    tracemalloc.start()
    assert sum(len(block) for block in archive.read(archive.members[0])) == len(TEXT) * 100
    assert tracemalloc.get_traced_memory()[1] < 2 << 20
    tracemalloc.stop()


def test_it_is_claimed_at_the_start_and_found_anywhere() -> None:
    one, cab = cabinet(*SMALL), CabContainer()
    claimed = cab.claims(BytesView(one + b"behind"))
    assert claimed is not None
    assert (claimed.mark, claimed.end) == (0, len(one))
    content = b"MZ" + NOISE + one + NOISE + one
    assert cab.claims(BytesView(content)) is None
    (first, second) = cab.places(BytesView(content), 0, len(content))
    assert (first.mark, first.end) == (2 + len(NOISE), 2 + len(NOISE) + len(one))
    assert second.end == len(content)
    archive = cab.open(BytesView(content), first, ArchiveLimits())
    assert archive.covered == ((first.mark, first.end),)
    assert [(m.name, b"".join(archive.read(m))) for m in archive.members] == list(SMALL)
    assert cab.places(BytesView(content), first.mark + 1, second.mark) == []


@pytest.mark.parametrize(
    "text", [b"MSCF", b"the mark is MSCF and that is all of it, nothing follows", b"MSCF" + bytes(60)]
)
def test_a_word_in_a_text_is_no_cabinet(text: bytes) -> None:
    assert CabContainer().places(BytesView(b"." + text), 0, len(text)) == []


def test_a_cut_cabinet_in_the_middle_is_still_found() -> None:
    content = b"." + cabinet(*SMALL)[:-5]
    (place,) = CabContainer().places(BytesView(content), 0, len(content))
    with pytest.raises(FormatError) as refusal:
        CabContainer().open(BytesView(content), place, ArchiveLimits())
    assert refusal.value.code == "cab-truncated"


def test_reserves_and_names_are_left_to_be_searched() -> None:
    cab = Cab(reserves=(b"h" * 50, 9, 3), previous=("previous", "disk")).build()
    covered = CabArchive(BytesView(cab), base=0).covered
    rest = b"".join(cab[a:b] for (_, a), (b, _) in zip(covered, [*covered[1:], (len(cab), 0)], strict=True))
    for part in (b"h" * 50, b"previous", b"r" * 9, b"ddd"):
        assert part in rest


@given(st.binary(max_size=67))
def test_the_checksum_is_that_of_the_specification(content: bytes) -> None:
    from signwright.containers.cab import _checksum

    assert _checksum(content) == checksum_by_the_book(content)


@given(st.lists(st.tuples(st.integers(0, 700), st.binary(min_size=1, max_size=9)), max_size=3))
@settings(max_examples=200)
def test_edited_cabinets_give_an_error_or_files(edits: list[tuple[int, bytes]]) -> None:
    content = SHAPES["two-folders"].build()
    for offset, piece in edits:
        content = edited(content, offset, piece)
    one_input(content)


@given(st.binary(max_size=300))
def test_any_bytes_give_an_error_or_files(content: bytes) -> None:
    one_input(content)
    one_input(b"MSCF" + content)


def test_every_truncation_is_refused() -> None:
    content = SHAPES["several-blocks"].but(reserves=(b"abc", 1, 1), following=("n", "d")).build()
    for length in range(0, len(content), 7):
        with pytest.raises(FormatError):
            CabArchive(BytesView(content[:length]))


def test_a_file_is_never_a_folder() -> None:
    assert not CabFile("a", 0, 0, 0).is_folder


def test_a_file_full_of_cabinets_is_a_limit() -> None:
    head = cabinet(("a", b"a"))
    with pytest.raises(LimitError):
        CabContainer().places(BytesView(head * 5000), 0, len(head) * 5000)


def test_runs_are_the_parts_of_blocks_that_are_of_one_file() -> None:
    files = (("a", NOISE[:40_000]), ("b", b""), ("c", NOISE[40_000:50_000]), ("d", NOISE[:60_000]))
    content = b"before" + cabinet(*files, method=STORED)
    archive = CabContainer().open(
        BytesView(content), CabContainer().places(BytesView(content), 0, 9)[0], ArchiveLimits()
    )
    runs = list(archive.runs())
    whole = {name: b"" for name, _ in files}
    left = {name: len(body) for name, body in files}
    for run in runs:
        name = next(name for name, body in files if left[name])
        whole[name] += content[run.start : run.end]
        left[name] -= run.end - run.start
        assert run.behind == left[name]
        assert not run.packed
    assert whole == dict(files)
    assert len(runs) == 6


def test_packed_runs_are_the_blocks_of_one_file() -> None:
    files = (("a", NOISE[: 3 * BLOCK]), ("b", NOISE[:BLOCK]), ("c", b"c" * 10), ("d", b"d" * 10))
    content = cabinet(*files)
    archive = CabArchive(BytesView(content))
    first, second = archive.runs()
    assert (first.packed, second.packed) == (True, True)
    assert first.end == second.start
    assert archive.covered[-1][0] < first.start < second.end < archive.covered[-1][1]
    assert list(CabArchive(BytesView(Cab(reserves=(b"", 0, 4)).build())).runs()) == []
