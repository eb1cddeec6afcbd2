# SPDX-License-Identifier: Apache-2.0
"""`signwright remove`: no file when one has a problem, each atomically, by content, and every problem at once."""

from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path

import pytest

from signwright.cli.main import run
from signwright.client import removal
from signwright.formats.registry import FORMATS
from signwright.model.view import BytesView
from signwright.readers.registry import READERS
from tests.support.format_samples import SAMPLES
from tests.support.pe_builder import PE32, Pe, sign
from tests.support.signed_files import identity
from tests.support.signed_files import sign as sign_as

INSIDE = sorted(name for name, one in FORMATS.items() if not one.detached_suffix and one.purpose)
SOURCE = Pe(overlay=b"12345678").build()


@pytest.fixture
def signed(tmp_path: Path) -> Path:
    file = tmp_path / "setup.exe"
    file.write_bytes(sign(SOURCE))
    return file


@pytest.mark.parametrize("name", INSIDE)
def test_every_format_gives_back_the_content_and_has_nothing_to_remove_twice(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    one, source = FORMATS[name], SAMPLES[name]()
    file, out = (tmp_path / one.file_names[0].replace("*", stem) for stem in ("signed", "unsigned"))
    file.write_bytes(sign_as(one, source, identity("rsa2048")))
    assert run(["remove", str(file), "-o", str(out)]) == 0
    assert capsys.readouterr().out == f"{out}\n"
    read = READERS[name].read
    unsigned = read(BytesView(out.read_bytes()), None)
    assert unsigned.signatures == ()
    assert unsigned.stripped_sha256 == read(BytesView(source), None).stripped_sha256
    assert run(["remove", str(out), "--in-place"]) == 9
    assert f"error: {out}: " in capsys.readouterr().err
    sign_as(one, out.read_bytes(), identity("rsa2048"))


def test_in_place_keeps_permission_bits_and_tells_of_the_receipt(
    signed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    signed.chmod(0o750)
    receipt = signed.with_name("setup.exe.swreceipt")
    receipt.write_bytes(b"{}")
    assert run(["remove", "--in-place", str(signed)]) == 0
    said = capsys.readouterr()
    assert "setup.exe.swreceipt is about the signed file" in said.err
    assert stat.S_IMODE(signed.stat().st_mode) == 0o750
    assert sorted(path.name for path in signed.parent.iterdir()) == ["setup.exe", "setup.exe.swreceipt"]
    assert READERS["pe"].read(BytesView(signed.read_bytes()), None).signatures == ()


def test_several_files_go_into_a_folder(signed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = signed.with_name("tool.dll")
    other.write_bytes(sign(PE32.build()))
    folder = signed.parent / "out"
    folder.mkdir()
    assert run(["remove", str(signed), str(other), "-o", str(folder), "--output", "json"]) == 0
    rows = json.loads(capsys.readouterr().out)["files"]
    assert [Path(row["output"]) for row in rows] == [folder / "setup.exe", folder / "tool.dll"]
    assert {row["format"] for row in rows} == {"pe"}
    assert all(Path(row["output"]).stat().st_size == row["size"] for row in rows)


def test_every_problem_is_told_and_nothing_is_written(signed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain, noise = signed.with_name("plain.exe"), signed.with_name("noise.bin")
    plain.write_bytes(SOURCE)
    noise.write_bytes(b"\1\2\0" * 50)
    absent, before = signed.with_name("absent.exe"), signed.read_bytes()
    names = [str(path) for path in (plain, signed, noise, absent)]
    assert run(["remove", *names, "--in-place", "--output", "json"]) == 9
    said = capsys.readouterr()
    assert [line.split(": ")[2] for line in said.err.splitlines() if ": error: " in line] == [names[0], *names[2:]]
    assert "nothing was written" in said.err
    answer = json.loads(said.out)
    assert [row["code"] for row in answer["problems"]] == ["not-signed", "unknown-content", "cannot-read"]
    assert answer["error"]["code"] == "not-signed"
    assert signed.read_bytes() == before


@pytest.fixture
def three(signed: Path) -> list[Path]:
    files = [signed, signed.with_name("a.exe"), signed.with_name("b.exe")]
    for file in files[1:]:
        file.write_bytes(signed.read_bytes())
    return files


def failing(monkeypatch: pytest.MonkeyPatch, name: str, times: int) -> None:
    """A disk that does ``name`` for some times, and then no more."""
    real, calls = getattr(os, name), []

    def call(*arguments: object) -> object:
        if not (name == "fsync" and stat.S_ISDIR(os.fstat(arguments[0]).st_mode)):  # type: ignore[arg-type]
            calls.append(arguments)
        if len(calls) > times:
            raise OSError(errno.EIO, "Input/output error")
        return real(*arguments)

    monkeypatch.setattr(f"signwright.client.files.os.{name}", call)


@pytest.mark.parametrize("times", [0, 1, 2])
def test_disk_that_takes_no_more_leaves_every_file_as_it_was(
    three: list[Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], times: int
) -> None:
    before = three[0].read_bytes()
    failing(monkeypatch, "fsync", times)
    assert run(["remove", *map(str, three), "--in-place"]) != 0
    said = capsys.readouterr().err
    assert f"{three[times]}: Input/output error; nothing was written" in said
    assert [file.read_bytes() == before for file in three] == [True] * 3
    assert sorted(path.name for path in three[0].parent.iterdir()) == ["a.exe", "b.exe", "setup.exe"]


@pytest.mark.parametrize("times", [0, 1, 2])
def test_disk_that_fails_between_two_files_is_told_with_those_that_were_written(
    three: list[Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], times: int
) -> None:
    before = three[0].read_bytes()
    failing(monkeypatch, "replace", times)
    assert run(["remove", *map(str, three), "--in-place"]) != 0
    said = capsys.readouterr().err
    told = f"written before that, whole: {', '.join(map(str, three[:times]))}\n" if times else "nothing was written\n"
    assert f"{three[times]}: Input/output error; {told}" in said
    assert [file.read_bytes() == before for file in three] == [number >= times for number in range(3)]
    assert sorted(path.name for path in three[0].parent.iterdir()) == ["a.exe", "b.exe", "setup.exe"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ((), 2, "where should the unsigned files go"),
        (("-o", "x.exe", "--in-place"), 2, "two things"),
        (("-o", "nowhere/x.exe"), 2, "no such folder"),
        (("-o", "setup.exe"), 2, "--in-place"),
        (("-o", "link.exe"), 2, "symbolic link"),
        (("-o", "x.exe", "--format", "nothing"), 2, "no format 'nothing'"),
        (("-o", "x.exe", "--format", "cms"), 9, "a file of its own"),
    ],
)
def test_wrong_wishes_are_refused(
    signed: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    code: int,
    said: str,
) -> None:
    monkeypatch.chdir(signed.parent)
    signed.with_name("link.exe").symlink_to("elsewhere")
    assert run(["remove", signed.name, *arguments]) == code
    assert said in capsys.readouterr().err
    assert sorted(path.name for path in signed.parent.iterdir()) == ["link.exe", "setup.exe"]


def test_two_files_of_one_name_do_not_share_an_output(signed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = signed.parent / "out"
    folder.mkdir()
    again = signed.parent / "again" / signed.name
    again.parent.mkdir()
    again.write_bytes(signed.read_bytes())
    assert run(["remove", str(signed), str(again), "-o", str(folder)]) == 2
    assert "same output" in capsys.readouterr().err
    assert list(folder.iterdir()) == []


def test_signature_that_does_not_hold_can_be_removed(signed: Path) -> None:
    content = bytearray(signed.read_bytes())
    content[0x450] ^= 1
    signed.write_bytes(content)
    assert run(["remove", str(signed), "--in-place"]) == 0
    assert signed.read_bytes()[0x450] == content[0x450]


@pytest.mark.parametrize("lie", ["keeps-the-signature", "changes-the-content"])
def test_writer_that_removes_wrongly_is_caught_by_the_reader(
    signed: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], lie: str
) -> None:
    one, before = FORMATS["pe"], signed.read_bytes()

    class Lying:
        def __getattr__(self, name: str) -> object:
            return getattr(one, name)

        def remove(self, view: object) -> object:
            from signwright.model.patch import Patch, Splice

            if lie == "keeps-the-signature":
                return Patch("", len(before), "", len(before), ())
            right = one.remove(view)  # type: ignore[arg-type]
            bent = Splice(0x450, 1, bytes([before[0x450] ^ 1]))
            return Patch("", len(before), "", right.result_size, (*right.splices[:2], bent, *right.splices[2:]))

    monkeypatch.setattr(removal, "FORMATS", {"pe": Lying()})
    assert run(["remove", str(signed), "--in-place"]) == 8
    wanted = "still be there" if lie == "keeps-the-signature" else "not stay the same"
    assert wanted in capsys.readouterr().err
    assert signed.read_bytes() == before


def test_signature_is_found_by_the_format_that_made_it_whatever_the_name_says(tmp_path: Path) -> None:
    for name in INSIDE:
        file = tmp_path / f"{name}.dat"
        file.write_bytes(sign_as(FORMATS[name], SAMPLES[name](), identity("rsa2048")))
        assert run(["remove", str(file), "--in-place"]) == 0
