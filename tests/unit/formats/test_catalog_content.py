# SPDX-License-Identifier: Apache-2.0
"""Catalogs that are made from files: what is in them, and that the same files give the same bytes."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

import pytest

from signwright.envelopes import der
from signwright.envelopes.base import check_seen
from signwright.envelopes.templates import TEMPLATES
from signwright.errors import FormatError
from signwright.formats.catalog import CatalogFormat, CatalogOptions
from signwright.formats.catalog_content import CatalogFile, catalog_file, make_catalog, windows_version
from signwright.formats.pe import PeFormat, PeOptions
from signwright.model.view import BytesView
from signwright.readers.catalog import CatalogReader
from tests.support.catalog_builder import sign
from tests.support.pe_builder import PE32, PE32_PLUS, Pe
from tests.support.pe_builder import sign as sign_pe

WHEN = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
FILES = [
    catalog_file("a.inf", BytesView(b"[Version]\r\n")),
    catalog_file("b.sys", BytesView(sign_pe(PE32_PLUS.build()))),
]
#: SHA-256 of a member as MakeCat wrote it for a script: the digest as its name, kind, ``File``, indirect data.
BY_MAKECAT = "0485e79ae486e4350f7e3c5d6d3670373a588cd7248e307eac15b797fbe08b57"


def made(files: list[CatalogFile] | None = None, **changes: object) -> bytes:
    usual: dict[str, object] = {"systems": ["10_X64"], "hardware_ids": [r"Root\B", r"PCI\A"], "moment": WHEN}
    return make_catalog(FILES if files is None else files, **{**usual, **changes})  # type: ignore[arg-type]


def test_a_member_has_the_bytes_that_makecat_writes() -> None:
    digest = bytes.fromhex("3b8b000e04c38f910ff3a79f56d38423be8d90a65ea0a1d1cd02250758f8f0b8")
    content = made([CatalogFile("unsigned.js", digest, is_program=False)], systems=[], hardware_ids=[])
    start = content.index(der.octet_string(digest)) - 3
    assert hashlib.sha256(content[start : start + 205]).hexdigest() == BY_MAKECAT


def test_programs_are_known_by_their_image_and_other_files_by_their_bytes() -> None:
    plain, program = FILES
    assert (plain.digest, plain.is_program) == (hashlib.sha256(b"[Version]\r\n").digest(), False)
    unsigned = PeFormat().prepare(BytesView(PE32_PLUS.build()), (), PeOptions()).operations[0]
    assert (program.digest, program.is_program) == (unsigned.content_digest.value, True)


@pytest.mark.parametrize("size", range(9))
def test_the_digest_of_a_program_is_the_same_before_and_after_it_was_signed(size: int) -> None:
    """MakeCat pads as well: its digest of a program of 96150 bytes is that of 96152."""
    content = Pe(overlay=b"x" * size).build()
    before, after = (catalog_file("a.exe", BytesView(one)) for one in (content, sign_pe(content)))
    assert before == after


def test_a_made_catalog_is_one_that_the_keyholder_takes_and_can_be_read() -> None:
    prepared = CatalogFormat().prepare(BytesView(made()), (), CatalogOptions())
    check_seen(TEMPLATES["authenticode-catalog"], prepared.operations[0], prepared.contents[0])
    assert prepared.facts == {
        "catalog_version": 2,
        "members": 2,
        "sha1_members": 0,
        "files": "a.inf, b.sys",
        "os": "_v100_X64",
        "os_attributes": "2:10.0",
        "hardware_ids": r"pci\a, root\b",
        "signed_before": False,
    }
    (found,) = CatalogReader().read(BytesView(sign(made()))).signatures
    assert {found.notes["member 1"], found.notes["member 2"]} == {
        f"sha256:{one.digest.hex()} {one.name}" for one in FILES
    }


def test_the_same_arguments_give_the_same_bytes_in_any_order() -> None:
    assert made() == made(FILES[::-1], hardware_ids=[r"pci\a", r"ROOT\b"])
    assert len({made(), made(FILES[:1]), made(systems=["10_ARM64"]), made(moment=WHEN.replace(year=2027))}) == 4


def test_two_files_with_one_content_are_one_member() -> None:
    twice = [CatalogFile(name, b"\1" * 32, is_program=False) for name in ("b.txt", "a.txt")]
    facts = CatalogFormat().prepare(BytesView(made(twice)), (), CatalogOptions()).facts
    assert (facts["members"], facts["files"]) == (1, "a.txt")


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"MSCF" + bytes(40), "cabinet"),
        (sign_pe(PE32.build()) + bytes(8), "bytes behind"),
        (PE32.build()[:100], "the file ends"),
    ],
    ids=["cabinet", "behind-table", "cut-program"],
)
def test_a_file_whose_digest_is_in_doubt_is_refused(content: bytes, what: str) -> None:
    with pytest.raises(FormatError, match=what):
        catalog_file("a", BytesView(content))


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("10_x64", ("_v100_X64", "2:10.0")),
        ("10_ARM64", ("_v100_ARM64", "2:10.0")),
        ("_v100_X64_22H2", ("_v100_X64_22H2", "2:10.0")),
        ("Server_v100_X64_RS5", ("Server_v100_X64_RS5", "2:10.0")),
        ("_v63_X64", ("_v63_X64", "2:6.3")),
        ("8X64", ("8X64", "2:6.2")),
        ("Server2008R2X64", ("Server2008R2X64", "2:6.1")),
    ],
)
def test_a_windows_version_is_named_as_in_catalogs(name: str, known: tuple[str, str]) -> None:
    assert windows_version(name) == known


@pytest.mark.parametrize("name", ["", "11", "10", "_v100 X64", "_v100_X64,_v63", "VistaX64", "_v100_X64\n"])
def test_an_unknown_windows_version_is_refused(name: str) -> None:
    with pytest.raises(FormatError) as refusal:
        windows_version(name)
    assert refusal.value.code == "unknown-os"


@pytest.mark.parametrize(
    "changes",
    [
        {"files": []},
        {"hardware_ids": ["x"] * 10_001},
        {"hardware_ids": ["a\nb"]},
        {"hardware_ids": [""]},
        {"files": [CatalogFile("a" * 261, b"\1" * 32, is_program=False)]},
        {"moment": WHEN.replace(year=2050)},
    ],
    ids=["no-files", "too-many-ids", "line-in-id", "empty-id", "long-name", "after-2049"],
)
def test_a_catalog_that_could_not_be_signed_is_not_made(changes: dict[str, object]) -> None:
    with pytest.raises(FormatError):
        made(**changes)  # type: ignore[arg-type]
