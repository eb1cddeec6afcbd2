# SPDX-License-Identifier: Apache-2.0
"""Archives that stand across the borders of other archives' members: some programs open them, no member shows them."""

from __future__ import annotations

import random
import struct
import zipfile
import zlib

import pytest

from signwright.scanner.engines.base import EICAR
from tests.support.cab_builder import MSZIP, STORED, Cab, Folder, cabinet
from tests.support.cfb_builder import Cfb
from tests.support.scanner import RunningScanner, rules_of, zipped

pytestmark = pytest.mark.e2e

NOISE = random.Random(7).randbytes(300_000)


def deflated(content: bytes) -> bytes:
    engine = zlib.compressobj(9, zlib.DEFLATED, -15)
    return engine.compress(content) + engine.flush()


def lying_zip(comment: int = 0) -> bytes:
    """Its local header has another method and other sizes than its directory, which most programs go by."""
    name, packed = b"eicar.com", deflated(EICAR)
    local = struct.pack("<4s5H3L2H", b"PK\3\4", 20, 0, 0, 0, 0x21, 0, 1, 1, len(name), 0) + name + packed
    sizes = (zlib.crc32(EICAR), len(packed), len(EICAR))
    central = struct.pack("<4s6H3L5H2L", b"PK\1\2", 20, 20, 0, 8, 0, 0x21, *sizes, len(name), 0, 0, 0, 0, 0, 0) + name
    return local + central + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, len(central), len(local), comment)


def cut_in_a_cabinet(packed: bytes) -> bytes:
    """``packed`` at the end of a stored cabinet, its end record in two files."""
    return cabinet(("a", b"A" * 64 + packed[:-20]), ("b", packed[-20:]), method=STORED)


def cut_in_an_installer(packed: bytes, behind: int = 5000) -> bytes:
    cut = len(packed) - 20
    return Cfb({"A": b"\xaa" * (512 * 12 - cut) + packed[:cut], "B": packed[cut:] + b"\xbb" * behind}).build()


def behind_the_end(content: bytes) -> int:
    return len(content) - content.rindex(b"PK\5\6") - 22


@pytest.mark.parametrize("cut", [cut_in_a_cabinet, cut_in_an_installer], ids=["cabinet", "installer"])
def test_a_zip_across_two_members_is_opened_or_unscannable(scanner: RunningScanner, cut) -> None:
    lie = cut(lying_zip(behind_the_end(cut(lying_zip()))))
    evidence = scanner.evidence(lie, "x")
    assert evidence.verdict == "unscannable"
    assert ("x", "unscannable: zip-local", "unpack") in rules_of(evidence)
    assert scanner.evidence(cut(zipped(("eicar.com", EICAR))), "x").verdict == "infected"


def test_a_lying_zip_in_one_block_of_a_cabinet_is_unscannable_in_its_file(scanner: RunningScanner) -> None:
    evidence = scanner.evidence(cabinet(("b.zip", lying_zip()), method=STORED), "x.cab")
    assert evidence.verdict == "unscannable"
    assert ("x.cab/b.zip", "unscannable: zip-local", "unpack") in rules_of(evidence)


def test_a_lying_zip_whose_directory_holds_a_block_header_is_unscannable(scanner: RunningScanner) -> None:
    """One file of the cabinet, and only with the header of its second block is it a zip."""
    name, packed = b"eicar.com", deflated(EICAR)
    local = struct.pack("<4s5H3L2H", b"PK\3\4", 20, 0, 0, 0, 0x21, 0, 1, 1, len(name), 0) + name + packed
    sizes = (zlib.crc32(EICAR), len(packed), len(EICAR))
    central = struct.pack("<4s6H3L5H2L", b"PK\1\2", 20, 20, 0, 8, 0, 0x21, *sizes, len(name), 0, 8, 0, 0, 0, 0) + name
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, len(central) + 8, len(local), 0)
    content = bytes((1 << 15) - len(local) - len(central)) + local + central + end
    evidence = scanner.evidence(cabinet(("a", content), method=STORED), "x.cab")
    assert evidence.verdict == "unscannable"


def spanned_cabinet(*, header_in_first: int = 152) -> bytes:
    """A stored zip of two members. A cabinet begins in the first, has the marker packed, and ends in the second."""
    second, between = b"b.bin", 30 + 5
    stored = b"x" * 100 + b"\0" * between + b"y" * 100
    files = struct.pack("<2I4H", len(stored), 0, 0, 0x21, 0, 0x20) + b"j.bin\0"
    files += struct.pack("<2I4H", len(EICAR), 0, 1, 0x21, 0, 0x20) + b"eicar.com\0"
    packed = b"CK" + deflated(EICAR)
    block = struct.pack("<I2H", 0, len(packed), len(EICAR)) + packed
    data = 36 + 16 + len(files)
    total = data + 8 + len(stored) + len(block)
    head = struct.pack("<4s5I2B5H", b"MSCF", 0, total, 0, 52, 0, 3, 1, 2, 2, 0, 1, 0)
    head += struct.pack("<I2H", data, 1, 0) + struct.pack("<I2H", data + 8 + len(stored), 1, 1) + files
    head += struct.pack("<I2H", 0, len(stored), len(stored))
    assert len(head) <= header_in_first
    members = (("a.bin", b"before" + head + b"x" * 100), (second.decode(), b"y" * 100 + block))
    return zipped(*members, method=zipfile.ZIP_STORED)


def test_a_cabinet_across_two_members_of_a_stored_zip_is_opened(scanner: RunningScanner) -> None:
    content = spanned_cabinet()
    evidence = scanner.evidence(content, "x.zip")
    assert ("x.zip/eicar.com", "eicar_test_file", "yara-x") in rules_of(evidence)
    broken = bytearray(content)
    broken[content.index(b"MSCF") + 24] = 9
    evidence = scanner.evidence(bytes(broken), "x.zip")
    assert evidence.verdict == "unscannable"
    assert ("x.zip", "unscannable: cab-version", "unpack") in rules_of(evidence)


INNER = {
    "zip": zipped(("noise", NOISE), ("small", b"s")),
    "cabinet": cabinet(("noise", NOISE), ("small", b"s")),
    "stored-zip": zipped(("noise", NOISE), ("small", b"s"), method=zipfile.ZIP_STORED),
    "stored-cabinet": cabinet(("noise", NOISE), ("small", b"s"), method=STORED),
    "small-zip": zipped(("small", b"s")),
}


@pytest.mark.parametrize("inner", INNER.values(), ids=INNER)
def test_archives_within_one_member_are_looked_at_there_and_nowhere_else(scanner: RunningScanner, inner: bytes) -> None:
    files = (("a", b"a" * 10_000), ("inner", inner), ("between", NOISE[:5000]), ("again", inner), ("z", b"z" * 9000))
    outer = [zipped(*files), zipped(*files, method=zipfile.ZIP_STORED)]
    outer += [cabinet(*files), cabinet(*files, method=STORED)]
    if len(inner) >= 4096:  # smaller streams share the mini stream and are searched like any other bytes
        outer.append(Cfb(dict(files)).build())
    inside = 1 if inner is INNER["small-zip"] else 2
    for number, content in enumerate(outer):
        evidence = scanner.evidence(content, str(number))
        assert (evidence.verdict, evidence.findings) == ("clean", ()), number
        assert evidence.members == 5 + 2 * inside, number


@pytest.mark.parametrize("method", [STORED, MSZIP], ids=["stored", "mszip"])
def test_a_zip_cut_by_the_blocks_of_its_file_is_judged_as_that_file(scanner: RunningScanner, method: int) -> None:
    folder = Folder(files=(("a", NOISE[:40_000]), ("b.zip", INNER["stored-zip"])), method=method)
    assert scanner.evidence(Cab(folders=(folder,)).build(), "x.cab").verdict == "clean"


def test_many_archives_in_a_stored_zip_are_no_reason_to_stop(scanner: RunningScanner) -> None:
    members = [(f"{number}.zip", INNER["small-zip"]) for number in range(300)]
    evidence = scanner.evidence(zipped(*members, method=zipfile.ZIP_STORED), "x.zip")
    assert (evidence.verdict, evidence.members) == ("clean", 600)


def test_many_end_records_that_share_a_directory_are_a_limit(scanner: RunningScanner) -> None:
    content = zipped(*[(str(number), b"") for number in range(2000)])
    directory = content.index(b"PK\1\2")
    for _ in range(1000):
        size = len(content) - directory
        content += struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 2000, 2000, size, directory, 0)
    evidence = scanner.evidence(zipped(("a", content), method=zipfile.ZIP_STORED), "x.zip")
    assert evidence.verdict == "unscannable"
    assert ("x.zip", "unscannable: archive-members", "unpack") in rules_of(evidence)
