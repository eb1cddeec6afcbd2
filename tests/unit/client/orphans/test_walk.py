# SPDX-License-Identifier: Apache-2.0
"""The walk over hostile files: everything comes out as an entry or by name, nothing ends it, memory stays small."""

from __future__ import annotations

import io
import tracemalloc
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signwright.client.orphans.found import Unread
from signwright.client.orphans.walk import Closed, Entry, Walk, WalkLimits, listed_paths
from signwright.containers.base import ArchiveLimits
from signwright.errors import LimitError, UsageError
from tests.support.orphans import write, zipped


def walked(*paths: Path, **limits: object) -> list[Entry | Closed | Unread]:
    return list(Walk(WalkLimits(**limits)).over(iter(paths)))  # type: ignore[arg-type]


def names(found: list[Entry | Closed | Unread], folder: Path) -> list[str]:
    return [row.path.removeprefix(f"{folder}/") for row in found]


def test_folders_come_depth_first_by_name_and_archives_after_themselves(tmp_path):
    write(tmp_path, {"b.zip": zipped({"x": b"x", "sub/y": b"y"}), "a": b"a"})
    write(tmp_path / "c" / "d", {"z": b""})
    found = walked(tmp_path)
    assert names(found, tmp_path) == ["a", "b.zip", "b.zip!/x", "b.zip!/sub/y", "c/d/z"]
    assert all(isinstance(row, Entry) for row in found)


def test_paths_that_are_gone_or_closed_to_us_are_named(tmp_path):
    found = walked(tmp_path / "gone", tmp_path)
    assert [(type(row), row.code) for row in found if isinstance(row, Unread)] == [(Unread, "cannot-read")]


def test_detached_raw_signatures_come_with_their_content_also_in_archives(tmp_path):
    write(tmp_path, {"fw": b"content", "fw.sig": b"value", "lone.sig": b"value"})
    write(tmp_path, {"a.zip": zipped({"fw.sig": b"value", "fw": b"packed"})})
    read = {}
    for row in Walk().over(iter([tmp_path])):
        if isinstance(row, Entry) and row.content is not None:
            read[row.path.removeprefix(f"{tmp_path}/")] = b"".join(row.content())
    assert read == {"fw.sig": b"content", "a.zip!/fw.sig": b"packed"}


def test_archives_in_the_middle_of_a_file_are_opened(tmp_path):
    noise = b"MZ" + bytes(1 << 17)
    inner = zipped({"z": b"z"})
    content = noise + zipped({"x": b"x"}) + noise + zipped({"y": b"y", "in.zip": inner}) + noise
    write(tmp_path, {"setup.exe": content})
    wanted = ["setup.exe", "setup.exe!/y", "setup.exe!/in.zip", "setup.exe!/in.zip!/z", "setup.exe!/x"]
    assert names(walked(tmp_path), tmp_path) == wanted


def test_file_full_of_archives_is_named(tmp_path):
    write(tmp_path, {"many": b"MZ" + (zipped({"x": b"x"}) * 300) + bytes(1 << 17)})
    (unread,) = [row for row in walked(tmp_path) if isinstance(row, Unread)]
    assert unread.code == "archive-members"


def test_too_many_files_end_the_walk(tmp_path):
    write(tmp_path, {"a.zip": zipped({str(n): b"" for n in range(20)})})
    with pytest.raises(LimitError, match="more than 10 files"):
        walked(tmp_path, files=10)


@pytest.mark.parametrize(
    ("limits", "code"),
    [
        ({"members": 2}, "archive-members"),
        ({"total": 100}, "archive-total"),
        ({"depth": 0}, "archive-depth"),
        ({"ratio": 2}, "archive-ratio"),
    ],
)
def test_limits_of_archives_are_kept(tmp_path, limits, code):
    write(tmp_path, {"a.zip": zipped({str(n): bytes(700_000) for n in range(3)})})
    assert [row.code for row in walked(tmp_path, archive=ArchiveLimits(**limits)) if isinstance(row, Unread)][:1] == [
        code
    ]


def test_memory_stays_small_whatever_a_member_holds(tmp_path):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        with archive.open("large", "w", force_zip64=True) as member:
            for _ in range(96):
                member.write(bytes(1 << 20))
    write(tmp_path, {"a.zip": packed.getvalue()})
    del packed
    tracemalloc.start()
    try:
        count = sum(1 for _ in Walk().over(iter([tmp_path])))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == 2
    assert peak < 24 << 20


@pytest.mark.parametrize("at", range(0, 118, 1))
def test_archive_that_is_cut_anywhere_is_an_entry_or_named(tmp_path, at):
    whole = zipped({"x": b"content"})
    write(tmp_path, {"a.zip": whole[: min(at, len(whole) - 1)]})
    found = walked(tmp_path)
    assert names(found, tmp_path)[0] == "a.zip"
    assert not any("!/" in row.path for row in found if isinstance(row, Entry))


@given(flips=st.lists(st.tuples(st.integers(0, 200), st.integers(0, 7)), min_size=1, max_size=4))
def test_archive_with_flipped_bits_never_ends_the_walk(tmp_path_factory, flips):
    content = bytearray(zipped({"x": b"content " * 9, "inner.zip": zipped({"y": b"y"})}))
    for at, bit in flips:
        content[at % len(content)] ^= 1 << bit
    folder = write(tmp_path_factory.mktemp("walk"), {"a.zip": bytes(content)})
    assert walked(folder)


def test_programs_that_only_look_like_archives_are_named_and_no_trouble(tmp_path):
    write(tmp_path, {"a.exe": b"MZ" + bytes(100) + zipped({"x": b"x"}) + b"tail" * 3})
    found = walked(tmp_path)
    assert [type(row) for row in found] == [Entry, Closed]


@given(st.binary(max_size=300))
def test_a_list_is_paths_or_refused(content):
    try:
        found = list(listed_paths(io.BytesIO(content)))
    except UsageError:
        assert b"\0" in content
    else:
        assert len(found) == sum(bool(line.rstrip(b"\r\n")) for line in io.BytesIO(content))
