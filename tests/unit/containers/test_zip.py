# SPDX-License-Identifier: Apache-2.0
"""The zip walker against archives of the standard library and of Info-ZIP, and against broken and clever ones."""

from __future__ import annotations

import io
import random
import struct
import subprocess
import tracemalloc
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuzz.zip_walk import one_input
from signwright.containers.base import ArchiveLimits, Budget
from signwright.containers.zip import ZipArchive, ZipContainer, embedded_ends, looks_like_zip
from signwright.errors import FormatError, LimitError, SignwrightError
from signwright.model.view import BytesView, Head
from tests.support.tools import require_tool
from tests.support.zip_builder import Zip, widened

SMALL = [("a.txt", b"hello" * 100), ("folder/", b""), ("folder/ü.bin", bytes(range(256)))]


def made(members: list[tuple[str, bytes]], method: int = zipfile.ZIP_DEFLATED, comment: bytes = b"") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in members:
            archive.writestr(name, content)
        archive.comment = comment
    return buffer.getvalue()


class Unseekable(io.RawIOBase):
    """Makes `zipfile` write data descriptors."""

    def __init__(self) -> None:
        self.content = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, block) -> int:  # type: ignore[no-untyped-def, override]
        self.content += bytes(block)
        return len(block)


def unpacked(content: bytes, limits: ArchiveLimits | None = None) -> list[tuple[str, bytes]]:
    archive = ZipArchive(BytesView(content), limits)
    return [(member.name, b"".join(archive.read(member))) for member in archive.members]


def code_of(content: bytes, limits: ArchiveLimits | None = None) -> str:
    with pytest.raises((FormatError, LimitError)) as caught:
        unpacked(content, limits)
    assert isinstance(caught.value, SignwrightError)
    return caught.value.code


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])
@pytest.mark.parametrize("comment", [b"", b"a comment"])
def test_members_come_out_as_they_went_in(method: int, comment: bytes) -> None:
    content = made(SMALL, method, comment)
    assert looks_like_zip(BytesView(content))
    assert unpacked(content) == SMALL


@pytest.mark.parametrize("force_zip64", [False, True])
def test_data_descriptors_and_zip64_are_read(force_zip64: bool) -> None:
    out = Unseekable()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in SMALL:
            with archive.open(name, "w", force_zip64=force_zip64) as member:
                member.write(content)
    assert unpacked(bytes(out.content)) == SMALL


def test_a_zip64_end_record_is_read() -> None:
    members = [(f"{number}", b"") for number in range(0x10000 + 3)]
    content = made(members, zipfile.ZIP_STORED)
    assert [m.name for m in ZipArchive(BytesView(content)).members] == [name for name, _ in members]
    assert code_of(content, ArchiveLimits(members=70)) == "archive-members"


def other_wide_end(content: bytes, at: int, value: bytes) -> bytes:
    at += len(content)
    return content[:at] + value + content[at + len(value) :]


@pytest.mark.parametrize(
    ("at", "value"),
    [(-42 + 8, b"\x01"), (-42 + 4, b"\x01"), (-22 + 8, b"\x01\0\x01\0"), (-22 + 12, bytes(4)), (-22 + 16, bytes(4))],
    ids=["locator-elsewhere", "other-volume", "counts", "size", "offset"],
)
def test_end_records_that_contradict_each_other_are_refused(at: int, value: bytes) -> None:
    assert code_of(other_wide_end(Zip(wide=True).build(), at, value)) == "zip-end"


def test_the_64_bit_end_record_is_the_one_that_java_finds() -> None:
    """Java counts from the start of the file, where another archive's record could stand, and others do not."""
    wide = Zip(wide=True)
    assert unpacked(wide.but(prefix=b"MZ stub").build()) == unpacked(wide.build())
    assert code_of(wide.but(prefix=b"MZ stub", counted=False).build()) == "zip-end"
    other = widened(made([("other", b"x")]))[:-42]
    content = other + wide.build()
    at = len(content) - 42 + 8
    assert code_of(content[:at] + struct.pack("<Q", len(other) - 56) + content[at + 8 :]) == "zip-end"


def without_count(content: bytes) -> bytes:
    at = content.rindex(b"PK\x05\x06")
    return content[: at + 8] + bytes(4) + content[at + 12 :]


def test_a_directory_is_looked_at_whatever_number_of_records_it_has() -> None:
    """Other readers go by its size, or by its offset."""
    content = without_count(made([("a", b"x" * 1000)]))
    assert code_of(content) == "zip-directory"
    noise = random.Random(1).randbytes(2000)
    for hidden in (noise + content + b"\n", made(SMALL, comment=content + b"\n")):
        view = BytesView(hidden)
        assert looks_like_zip(view)
        places = ZipContainer().places(view, 0, view.size)
        ends = [place.end for place in places]
        assert len(hidden) - 1 in ends
        assert code_of(hidden[: len(hidden) - 1]).startswith("zip-")
    end = content.rindex(b"PK\x05\x06")
    by_offset = noise + content[:end] + b"gap" + content[end : end + 16]
    by_offset += struct.pack("<LH", len(noise) + content.index(b"PK\x01\x02"), 0)
    assert [place.end for place in ZipContainer().places(BytesView(by_offset), 0, len(by_offset))] == [len(by_offset)]


def test_an_end_record_that_leads_to_no_directory_is_no_place() -> None:
    noise = random.Random(2).randbytes(2000)
    for end in (made([]), struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 3, 3, 99, 7, 0)):
        view = BytesView(noise + end + b"more")
        assert ZipContainer().places(view, 0, view.size) == []


def test_an_archive_of_info_zip_is_read(tmp_path: Path) -> None:
    tool = require_tool("zip", "zip")
    (tmp_path / "one").write_bytes(b"1" * 5000)
    subprocess.run([tool, "-q", "out.zip", "one"], cwd=tmp_path, check=True)
    subprocess.run([tool, "-q", "-e", "-P", "password", "secret.zip", "one"], cwd=tmp_path, check=True)
    assert unpacked((tmp_path / "out.zip").read_bytes()) == [("one", b"1" * 5000)]
    assert code_of((tmp_path / "secret.zip").read_bytes()) == "zip-encrypted"


def test_what_stands_before_an_archive_is_skipped() -> None:
    assert unpacked(b"#!/bin/sh\nexit\n" + made(SMALL)) == SMALL


def test_an_empty_archive_has_no_members() -> None:
    assert unpacked(made([])) == []


def test_a_bad_ratio_is_refused_for_a_member_and_overall() -> None:
    assert code_of(made([("bomb", bytes(8 << 20))])) == "archive-ratio"
    assert unpacked(made([("page", bytes(1 << 19))])) == [("page", bytes(1 << 19))]
    budget = Budget(ArchiveLimits(), packed=1000)
    budget.take(100_000)
    with pytest.raises(LimitError) as caught:
        budget.take(2 << 20)
    assert caught.value.code == "archive-ratio"


def test_the_total_is_limited() -> None:
    content = made([("big", random.Random(1).randbytes(300_000))])
    assert code_of(content, ArchiveLimits(total=200_000)) == "archive-total"
    budget = Budget(ArchiveLimits(total=1000), packed=1000)
    with pytest.raises(LimitError):
        budget.take(1001)


def test_a_declared_size_that_lies_is_found_while_reading() -> None:
    content = bytearray(made([("a", b"x" * 1000)]))
    for at, field in ((content.index(b"PK\x03\x04"), 22), (content.index(b"PK\x01\x02"), 24)):
        content[at + field : at + field + 4] = struct.pack("<L", 999)
    assert code_of(bytes(content)) == "zip-size"


def test_overlapping_members_are_refused() -> None:
    """The "better zip bomb": two directory entries for one local header."""
    content = made([("a", b"x" * 1000)])
    directory = content.index(b"PK\x01\x02")
    end = content.index(b"PK\x05\x06")
    entry = content[directory:end]
    record = bytearray(content[end:])
    record[8:12] = struct.pack("<2H", 2, 2)
    record[12:16] = struct.pack("<L", 2 * len(entry))
    assert code_of(content[:directory] + entry + entry + bytes(record)) == "zip-overlap"


def without_directory_entry(content: bytes, number: int) -> bytes:
    end = content.index(b"PK\x05\x06")
    starts = [at for at in range(end) if content.startswith(b"PK\x01\x02", at)]
    bounds = [*starts, end]
    entry = content[bounds[number] : bounds[number + 1]]
    record = bytearray(content[end:])
    record[8:12] = struct.pack("<2H", len(starts) - 1, len(starts) - 1)
    record[12:16] = struct.pack("<L", end - starts[0] - len(entry))
    return content[: bounds[number]] + content[bounds[number + 1] : end] + bytes(record)


@pytest.mark.parametrize("number", [0, 1])
def test_a_member_that_the_directory_does_not_list_is_refused(number: int) -> None:
    content = without_directory_entry(made([("first", b"1"), ("second", b"2")], zipfile.ZIP_STORED), number)
    assert code_of(content) == "zip-hidden"


def test_a_second_end_record_in_the_comment_is_refused() -> None:
    inner = made([("other", b"x")])
    assert code_of(made(SMALL, comment=inner[inner.index(b"PK\x05\x06") :])) == "zip-end"


def test_an_end_record_in_the_comment_that_does_not_fit_the_file_is_refused_as_well() -> None:
    inner = made([("other", b"x")])
    assert code_of(made(SMALL, comment=inner[inner.index(b"PK\x05\x06") :] + b"more")) == "ambiguous-end"


@pytest.mark.parametrize(
    ("where", "field", "value"),
    [(b"PK\x03\x04", 30, b"b"), (b"PK\x03\x04", 8, b"\x00"), (b"PK\x03\x04", 14, b"\xff"), (b"PK\x03\x04", 6, b"\x01")],
)
def test_a_local_header_that_contradicts_the_directory_is_refused(where: bytes, field: int, value: bytes) -> None:
    content = bytearray(made([("a", b"x" * 1000)]))
    at = content.index(where) + field
    content[at : at + 1] = value
    assert code_of(bytes(content)) == "zip-local"


@pytest.mark.parametrize("name", ["\u202egpj.exe", "a\x1bb", "a\nb", "zero\u200bwidth"])
def test_names_that_fool_a_reader_are_refused(name: str) -> None:
    assert code_of(made([(name, b"x")])) == "zip-name"


def test_an_unknown_packing_method_is_refused() -> None:
    assert code_of(made([("a", b"x" * 1000)], zipfile.ZIP_LZMA)) == "zip-method"


def test_a_wrong_checksum_is_found() -> None:
    content = bytearray(made([("a", b"x" * 1000)], zipfile.ZIP_STORED))
    content[content.index(b"xxx")] ^= 1
    assert code_of(bytes(content)) == "zip-checksum"


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])
def test_every_truncation_is_an_error(method: int) -> None:
    content = made(SMALL, method)
    for length in range(len(content)):
        assert code_of(content[:length]).startswith("zip-")


def test_a_flipped_bit_never_changes_what_comes_out_silently() -> None:
    content = made(SMALL)
    names = {name for name, _ in SMALL}
    for at in range(len(content)):
        for bit in range(8):
            flipped = bytearray(content)
            flipped[at] ^= 1 << bit
            try:
                found = unpacked(bytes(flipped))
            except (FormatError, LimitError):
                continue
            # Times, attributes and versions are not read. Names are covered by no checksum, but stand twice.
            assert [c for _, c in found] == [c for _, c in SMALL]
            assert {name for name, _ in found} == names


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=400))
def test_any_bytes_give_an_error_or_members(content: bytes) -> None:
    one_input(content)
    one_input(b"PK\x03\x04" + content + b"PK\x05\x06" + bytes(18))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 700), st.binary(min_size=1, max_size=6)), max_size=4))
def test_edited_archives_give_an_error_or_members(edits: list[tuple[int, bytes]]) -> None:
    content = bytearray(made(SMALL))
    for at, piece in edits:
        content[at : at + len(piece)] = piece
    one_input(bytes(content))


def test_memory_does_not_grow_with_a_member() -> None:
    block = random.Random(2).randbytes(1 << 20)
    content = made([("big", block * 24)], zipfile.ZIP_DEFLATED)
    archive = ZipArchive(BytesView(content))
    tracemalloc.start()
    try:
        total = sum(len(piece) for piece in archive.read(archive.members[0]))
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()
    assert total == 24 << 20


def test_what_only_mentions_an_end_record_is_no_zip():
    """Programs that read zips hold its four bytes."""
    for content in (b"MZ" + bytes(500) + b"PK\x05\x06" + bytes(500), b"MZ" + bytes(500) + b"PK\x05\x06", b"PK" * 40):
        assert not looks_like_zip(BytesView(content))


@given(st.binary(max_size=40), st.integers(0, 3))
def test_end_of_an_archive_is_found_wherever_it_stands(before, blocks):
    """Also where a block of the search cuts its four bytes in two."""
    one = made([("a", b"content")], zipfile.ZIP_STORED)
    head = before + bytes((blocks << 18) - len(before) - len(one) + 20 if blocks else 0) + one
    content = head + bytes(1 << 17)
    view = BytesView(content)
    assert embedded_ends(view, view.size) == [len(head)]
    assert [m.name for m in ZipArchive(Head(view, len(head))).members] == ["a"]
    assert ZipArchive(Head(view, len(head))).start == len(head) - len(one)
    assert embedded_ends(view, len(head) - 1) == []


def test_file_full_of_ends_is_refused():
    content = b"PK\x05\x06" * ((1 << 20) + 2)
    with pytest.raises(LimitError, match="end records"):
        embedded_ends(BytesView(content), len(content))


@given(st.binary(min_size=1, max_size=300), st.binary(max_size=40))
def test_what_a_lenient_reader_opens_looks_like_a_zip(behind, before):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a", b"content")
    content = before + buffer.getvalue() + behind
    try:
        opened = bool(zipfile.ZipFile(io.BytesIO(content)).namelist())
    except zipfile.BadZipFile:
        opened = False
    assert looks_like_zip(BytesView(content)) or not opened
