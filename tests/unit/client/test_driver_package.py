# SPDX-License-Identifier: Apache-2.0
"""Driver packages on disk: what an INF says, which files go along, and what is refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signwright.client.driver import read_package
from signwright.client.inf import read_inf
from signwright.errors import UsageError
from tests.support.driver_package import INF, make_package

MINIMAL = "[Version]\nCatalogFile=a.cat\n"
CODECS = ["utf-16", "utf-8-sig", "ascii"]


@pytest.mark.parametrize("codec", CODECS)
def test_an_inf_names_its_catalog_hardware_ids_and_windows_versions(codec: str) -> None:
    said = read_inf(INF.encode(codec))
    assert said.catalog == "Example.cat"
    assert said.hardware_ids == (r"Root\EXAMPLE", r"PCI\VEN_1234&DEV_5678", r"ACPI\EXAM0001")
    assert said.systems == ("_v100_X64", "_v100_ARM64")


def test_an_inf_without_devices_says_no_more_than_its_catalog() -> None:
    said = read_inf(MINIMAL.encode())
    assert (said.catalog, said.hardware_ids, said.systems) == ("a.cat", (), ())


def test_a_models_section_is_found_by_any_spelling() -> None:
    text = MINIMAL + '[MANUFACTURER]\n"Us"=Ours,NTAMD64\n[ours.ntamd64]\nx=i,a\\b,, c\\d ;no\n[OURS.NTamd64]\ny=i,e\\f'
    assert read_inf(text.encode()).hardware_ids == ("a\\b", "c\\d", "e\\f")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[Version]\nSignature=x\n",
        "[Version]\nCatalogFile=a.cat\nCatalogFile.NTamd64=b.cat\n",
        "[Version]\nCatalogFile=..\\a.cat\n",
        "[Version]\nCatalogFile=a.txt\n",
        "[Version\nCatalogFile=a.cat\n",
        "CatalogFile=a.cat\n",
        "[Version]\nCatalogFile=%a%\n",
    ],
    ids=["empty", "no-catalog", "two", "folder", "other-ending", "open-section", "no-section", "unknown-token"],
)
def test_an_inf_that_does_not_name_one_catalog_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as refusal:
        read_inf(text.encode())
    assert refusal.value.code == "bad-inf"


@pytest.mark.parametrize(
    "manufacturer",
    ["Us=Ours", "Us=Ours,NT", "Us=Ours,NTia64", "Us=Ours,NTamd64,NT"],
    ids=["undecorated", "any", "itanium", "some"],
)
def test_windows_versions_are_those_of_decorations_that_are_known_or_none(manufacturer: str) -> None:
    models = "".join(f"[Ours{deco}]\nx=i,a\\b\n" for deco in ("", ".NT", ".NTia64", ".NTamd64"))
    said = read_inf(f"{MINIMAL}[Manufacturer]\n{manufacturer}\n{models}".encode())
    assert (said.hardware_ids, said.systems) == (("a\\b",), ())


def test_a_hardware_id_whose_text_is_not_known_is_refused() -> None:
    text = MINIMAL + "[Manufacturer]\nUs=Ours,NTamd64\n[Ours.NTamd64]\nx=i,%id%\n"
    with pytest.raises(UsageError) as refusal:
        read_inf(text.encode())
    assert refusal.value.hint == "--hardware-id ID"


@pytest.mark.parametrize(
    "content",
    [MINIMAL.encode("utf-16-le"), b"\xff\xfe[\0V", b"\xef\xbb\xbf\xff", b";" * (5 << 20)],
    ids=["no-mark", "cut", "not-utf-8", "large"],
)
def test_an_inf_that_is_no_text_is_refused(content: bytes) -> None:
    with pytest.raises(UsageError) as refusal:
        read_inf(content)
    assert refusal.value.code == "bad-inf"


@given(content=st.binary(max_size=300), text=st.text(max_size=200))
def test_any_bytes_are_read_or_refused(content: bytes, text: str) -> None:
    for each in (content, text.encode("utf-16", "surrogatepass"), (MINIMAL + text).encode("utf-8", "surrogatepass")):
        try:
            read_inf(each)
        except UsageError:
            continue


def test_a_package_is_its_files_without_older_catalog_and_receipts(tmp_path: Path) -> None:
    folder = make_package(tmp_path / "p")
    for name in ("EXAMPLE.CAT", "example.sys.swreceipt"):
        (folder / name).write_bytes(b"old")
    package = read_package(folder, systems=(), hardware_ids=())
    names = ["example.inf", "example.pdb", "example.sys", "tools/readme.txt", "tools/setup.exe"]
    assert [str(file) for file in package.files] == names
    assert [str(file) for file in package.drivers] == ["example.sys"]
    assert (package.name, package.catalog) == ("example", "Example.cat")


def test_flags_count_instead_of_the_inf(tmp_path: Path) -> None:
    package = read_package(make_package(tmp_path / "p"), systems=("10_X86",), hardware_ids=("a\\b",))
    assert (package.systems, package.hardware_ids) == (("10_X86",), ("a\\b",))


def _link(folder: Path) -> None:
    (folder / "link.txt").symlink_to(folder / "example.inf")


def _folder_link(folder: Path) -> None:
    (folder / "link").symlink_to(folder.parent, target_is_directory=True)


def _pipe(folder: Path) -> None:
    os.mkfifo(folder / "pipe")


def _second_inf(folder: Path) -> None:
    (folder / "b.inf").write_bytes(b"")


def _no_inf(folder: Path) -> None:
    (folder / "example.inf").unlink()


def _inner_inf(folder: Path) -> None:
    (folder / "example.inf").rename(folder / "tools" / "example.inf")


def _other_catalog(folder: Path) -> None:
    (folder / "other.cat").write_bytes(b"")


def _one_name(folder: Path) -> None:
    (folder / "EXAMPLE.sys").write_bytes(b"")


def _backslash(folder: Path) -> None:
    (folder / "..\\evil.dll").write_bytes(b"")


def _not_utf8(folder: Path) -> None:
    Path(os.fsdecode(os.fsencode(folder / "x") + b"\xff")).write_bytes(b"")


def _no_system(folder: Path) -> None:
    (folder / "example.inf").write_bytes(b"[Version]\nCatalogFile=a.cat\n")


@pytest.mark.parametrize(
    "change",
    [
        _link,
        _folder_link,
        _pipe,
        _second_inf,
        _no_inf,
        _inner_inf,
        _other_catalog,
        _one_name,
        _no_system,
        _backslash,
        _not_utf8,
    ],
    ids=lambda change: change.__name__.strip("_"),
)
def test_what_is_no_driver_package_is_refused(tmp_path: Path, change: object) -> None:
    folder = make_package(tmp_path / "p")
    change(folder)  # type: ignore[operator]
    with pytest.raises(UsageError):
        read_package(folder, systems=(), hardware_ids=())
