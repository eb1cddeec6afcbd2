# SPDX-License-Identifier: Apache-2.0
"""Cabinets, alone and together with zip archives, before the scanner as a process."""

from __future__ import annotations

import io
import random
import zipfile

import pytest

from signwright.scanner.engines.base import EICAR
from tests.support.cab_builder import LZX, MSZIP, STORED, Cab, Folder, cabinet, signature_reserve
from tests.support.pe_builder import Pe
from tests.support.scanner import RunningScanner, rules_of, zipped

pytestmark = pytest.mark.e2e

NOISE = random.Random(7).randbytes(300_000)


@pytest.mark.parametrize("method", [STORED, MSZIP], ids=["stored", "mszip"])
def test_a_zip_in_a_cabinet_and_a_cabinet_in_a_zip_are_searched(scanner: RunningScanner, method: int) -> None:
    inner = zipped(("x/eicar.com", EICAR))
    one = scanner.evidence(cabinet(("noise", NOISE), ("b.zip", inner), method=method), "a.cab")
    assert one.verdict == "infected"
    assert ("a.cab/b.zip/x/eicar.com", "eicar_test_file", "yara-x") in rules_of(one)
    packed = cabinet(("noise", NOISE), ("dir\\eicar.com", EICAR), method=method)
    other = scanner.evidence(zipped(("ok.txt", b"fine"), ("b.cab", packed)), "a.zip")
    assert ("a.zip/b.cab/dir\\eicar.com", "eicar_test_file", "yara-x") in rules_of(other)
    assert (other.verdict, other.members) == ("infected", 4)


def test_clean_cabinets_are_clean(scanner: RunningScanner) -> None:
    content = cabinet(("b.zip", zipped(("c.cab", cabinet(("d", b"d"))))), ("noise", NOISE))
    evidence = scanner.evidence(content, "a.cab")
    assert (evidence.verdict, evidence.members, evidence.findings) == ("clean", 4, ())


def test_a_zip_that_reaches_over_blocks_of_a_cabinet_is_read_as_its_file(scanner: RunningScanner) -> None:
    """Cut by block headers it is no archive where it stands, though its end is that of the cabinet."""
    inner = zipped(("eicar.com", EICAR), ("noise", NOISE), method=zipfile.ZIP_STORED)
    evidence = scanner.evidence(cabinet(("b.zip", inner), method=STORED), "a.cab")
    assert ("a.cab/b.zip/eicar.com", "eicar_test_file", "yara-x") in rules_of(evidence)
    assert not [row for row in rules_of(evidence) if "unscannable" in row[1]]
    clean = scanner.evidence(cabinet(("b.zip", zipped(("noise", NOISE))), method=STORED), "a.cab")
    assert (clean.verdict, clean.members) == ("clean", 2)


@pytest.mark.parametrize("lead", [Pe().build(), b"", zipped(("a", b"a"))], ids=["program", "nothing", "zip"])
def test_a_cabinet_is_searched_wherever_it_stands(scanner: RunningScanner, lead: bytes) -> None:
    content = lead + NOISE + cabinet(("eicar.com", EICAR)) + NOISE
    evidence = scanner.evidence(content, "setup.exe")
    assert evidence.verdict == "infected"
    assert "setup.exe/eicar.com" in {row[0] for row in rules_of(evidence)}


def test_a_zip_behind_a_cabinet_and_a_cabinet_behind_a_zip_are_both_searched(scanner: RunningScanner) -> None:
    one, two = cabinet(("a", b"a")), zipped(("eicar.com", EICAR))
    assert scanner.evidence(one + two, "x").verdict == "infected"
    one, two = cabinet(("eicar.com", EICAR)), zipped(("a", b"a"))
    assert scanner.evidence(one + two, "x").verdict == "infected"
    assert scanner.evidence(two + bytes(70_000) + one, "x").verdict == "infected"


def test_a_cabinet_between_the_members_of_a_zip_is_searched(scanner: RunningScanner) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a", b"a")
        buffer.write(cabinet(("eicar.com", EICAR)))
        archive.start_dir = buffer.tell()
        archive.writestr("b", b"b")
    assert scanner.evidence(buffer.getvalue(), "x.zip").verdict == "infected"


def test_an_archive_in_the_reserve_of_a_cabinet_is_searched(scanner: RunningScanner) -> None:
    """A cabinet for one program, a zip for another."""
    content = Cab(reserves=(zipped(("eicar.com", EICAR)), 0, 0)).build()
    assert scanner.evidence(content, "x.cab").verdict == "infected"
    clean = scanner.evidence(Cab(reserves=(zipped(("a", b"a")), 0, 0)).build(), "x.cab")
    assert clean.verdict == "unscannable"  # a zip with something behind it, as some programs would open it


def test_a_signed_cabinet_is_searched_like_an_unsigned_one(scanner: RunningScanner) -> None:
    size = len(Cab(reserves=(bytes(20), 0, 0)).build())
    content = Cab(reserves=(signature_reserve(size, 8), 0, 0), behind=b"\x30\x06\2\1\1\2\1\1").build()
    assert scanner.evidence(content, "x.cab").verdict == "clean"


def test_what_cannot_be_unpacked_is_unscannable_with_its_path_and_reason(scanner: RunningScanner) -> None:
    folders = (Folder(files=(("new.dll", NOISE),), method=LZX), Folder(files=(("ok", b"ok"),)))
    evidence = scanner.evidence(zipped(("b.cab", Cab(folders=folders).build())), "a.zip")
    assert evidence.verdict == "unscannable"
    assert rules_of(evidence) == [("a.zip/b.cab/new.dll", "unscannable: cab-lzx", "unpack")]
    assert evidence.members == 3
    part = Folder(files=(("part", NOISE),), records=(("part", 1 << 20, 0, 0xFFFE),))
    first = scanner.evidence(Cab(folders=(part,), following=("2.cab", "")).build(), "1.cab")
    assert rules_of(first) == [("1.cab/part", "unscannable: cab-continued", "unpack")]


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (cabinet(("zeros", bytes(12 << 20))), "archive-ratio"),
        (cabinet(("big", NOISE * 80)), "archive-total"),
        (cabinet(("a", NOISE))[:-1], "cab-truncated"),
        (b"MSCF", "cab-truncated"),
        (b"MSCF" + NOISE, "cab-version"),
        (
            Cab(folders=(Folder(files=(("x", b"abc"),), records=(("a", 2, 0, 0), ("b", 2, 1, 0))),)).build(),
            "cab-overlap",
        ),
    ],
    ids=["bomb", "too-much", "cut", "mark-alone", "noise", "overlap"],
)
def test_a_hostile_cabinet_is_unscannable(scanner: RunningScanner, content: bytes, code: str) -> None:
    evidence = scanner.evidence(content, "x.cab")
    assert evidence.verdict == "unscannable"
    assert f"unscannable: {code}" in {row[1] for row in rules_of(evidence)}


def test_cabinets_and_zips_count_together_against_the_depth(scanner: RunningScanner) -> None:
    content = b"clean"
    for level in range(9):
        content = zipped(("z", content)) if level % 2 else cabinet(("c", content))
    evidence = scanner.evidence(content, "a")
    assert [row[1] for row in rules_of(evidence)] == ["unscannable: archive-depth"]
