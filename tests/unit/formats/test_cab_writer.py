# SPDX-License-Identifier: Apache-2.0
"""Cabinets that are written here: unpacked by our own scanner's code, byte for byte what went in."""

from __future__ import annotations

import io
import random
import struct
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signwright.errors import FormatError
from signwright.formats.cab import CabFormat, CabOptions
from signwright.formats.cab_writer import BLOCK, MAX_BLOCKS, Packed, write_cabinet
from signwright.model.view import BytesView
from signwright.readers.cab import CabReader
from tests.support.tools import require_tool

WHEN = datetime(2026, 11, 21, 12, 34, 56, tzinfo=UTC)
NOISE = random.Random(1).randbytes(3 * BLOCK + 1)


def written(files: dict[str, bytes], moment: datetime = WHEN) -> bytes:
    out = io.BytesIO()
    write_cabinet(out, [Packed(name, BytesView(content)) for name, content in files.items()], moment=moment)
    return out.getvalue()


def unpacked(cabinet: bytes, folder: Path) -> dict[str, bytes]:
    (folder / "a.cab").write_bytes(cabinet)
    command = [require_tool("cabextract"), "-q", "-d", "out", "a.cab"]
    done = subprocess.run(command, cwd=folder, capture_output=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert b"checksum" not in done.stderr
    return {
        path.relative_to(folder / "out").as_posix(): path.read_bytes()
        for path in (folder / "out").rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize(
    "files",
    [
        {"a.txt": b"hello"},
        {"a.txt": b""},
        {"d\\a.txt": b"x" * BLOCK, "d\\e\\b.bin": NOISE, "c": b""},
        {"a": NOISE[:BLOCK], "b": NOISE[: BLOCK - 1], "c": NOISE[: BLOCK + 1]},
        {"repeated": NOISE[:20_000] * 9},
        {"grün.txt": b"umlaut"},
    ],
    ids=["one", "empty", "folders", "borders", "window", "name"],
)
def test_what_was_packed_is_unpacked_by_others(tmp_path: Path, files: dict[str, bytes]) -> None:
    wanted = {name.replace("\\", "/"): content for name, content in files.items()}
    assert unpacked(written(files), tmp_path) == wanted


def test_names_and_dates_are_shown_by_others(tmp_path: Path) -> None:
    (tmp_path / "a.cab").write_bytes(written({"d\\a.txt": b"hello"}))
    told = subprocess.run(
        [require_tool("gcab"), "-l", "a.cab"], cwd=tmp_path, capture_output=True, check=False, timeout=60
    )
    assert told.stdout.split()[:4] == [b"d\\a.txt", b"5", b"2026-11-21", b"12:34:56"]


@given(contents=st.lists(st.binary(max_size=3000), min_size=1, max_size=5))
@settings(max_examples=50, deadline=None)
def test_a_written_cabinet_can_be_signed_and_is_read(contents: list[bytes]) -> None:
    cabinet = written({f"{number}.bin": content for number, content in enumerate(contents)})
    assert CabReader().read(BytesView(cabinet)).signatures == ()
    facts = (
        CabFormat().prepare(BytesView(cabinet), (), CabOptions()).facts if any(contents) else {"files": len(contents)}
    )
    assert facts["files"] == len(contents)
    assert struct.unpack_from("<I", cabinet, 8) == (len(cabinet),)


def test_the_same_files_give_the_same_bytes() -> None:
    assert written({"a": NOISE}) == written({"a": NOISE})


@pytest.mark.parametrize(
    ("files", "moment", "code"),
    [
        ({}, WHEN, "bad-names"),
        ({"a": b"", "A": b""}, WHEN, "bad-names"),
        ({"": b""}, WHEN, "bad-names"),
        ({"a\0b": b""}, WHEN, "bad-names"),
        ({"a" * 256: b""}, WHEN, "bad-names"),
        ({"a": b""}, datetime(1979, 12, 31, tzinfo=UTC), "bad-date"),
        ({"a": b""}, datetime(2108, 1, 1, tzinfo=UTC), "bad-date"),
    ],
    ids=["none", "one-name", "no-name", "zero", "long", "early", "late"],
)
def test_what_a_cabinet_has_no_place_for_is_refused(files: dict[str, bytes], moment: datetime, code: str) -> None:
    with pytest.raises(FormatError) as refusal:
        written(files, moment)
    assert refusal.value.code == code


def test_more_than_a_folder_takes_is_refused_unread() -> None:
    class Large(BytesView):
        def __init__(self) -> None:
            self.size = MAX_BLOCKS * BLOCK + 1

    with pytest.raises(FormatError) as refusal:
        write_cabinet(io.BytesIO(), [Packed("a", Large())], moment=WHEN)
    assert refusal.value.code == "too-large"
