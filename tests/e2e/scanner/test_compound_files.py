# SPDX-License-Identifier: Apache-2.0
"""Installers and other compound files before the scanner as a process."""

from __future__ import annotations

import pytest

from signwright.scanner.engines.base import EICAR
from tests.support.cab_builder import MSZIP, STORED, cabinet
from tests.support.cfb_builder import Cfb
from tests.support.msi_builder import SHAPES, sign, some_tree, wixl_installer
from tests.support.msi_vectors import BROKEN
from tests.support.scanner import RunningScanner, rules_of, zipped

pytestmark = pytest.mark.e2e

#: The bundled rule finds the marker in raw bytes as well: only the inner path shows that a member was opened.
RULE = ("eicar_test_file", "yara-x")


@pytest.mark.parametrize("method", [STORED, MSZIP], ids=["stored", "mszip"])
def test_a_program_in_a_cabinet_in_an_installer_is_found_with_its_path(scanner: RunningScanner, method: int) -> None:
    cab = cabinet(("dir\\eicar.com", EICAR), ("noise", bytes(range(256)) * 40), method=method)
    tree = {name: content for name, content in some_tree().items() if name != "product.cab"}
    for one in (Cfb(tree | {"䙀㬿": cab}), Cfb(tree | {"䙀㬿": cab}, version=4), Cfb(tree | {"䙀㬿": cab}, scatter=5)):
        evidence = scanner.evidence(one.build(), "a.msi")
        assert evidence.verdict == "infected"
        paths = [row[0] for row in rules_of(evidence) if row[1:] == RULE]
        assert any(path.startswith("a.msi/") and path.endswith("/dir\\eicar.com") for path in paths)


def test_an_archive_in_a_storage_of_a_patch_in_a_zip_is_found(scanner: RunningScanner) -> None:
    patch = SHAPES["patch"].but(tree={"storage": {"inner": zipped(("x/eicar.com", EICAR))}}).build()
    evidence = scanner.evidence(zipped(("b.msp", patch)), "a.zip")
    assert ("a.zip/b.msp/storage/inner/x/eicar.com", *RULE) in rules_of(evidence)


def test_clean_installers_are_clean_signed_or_not(scanner: RunningScanner) -> None:
    for content in (wixl_installer(), sign(wixl_installer()), sign(wixl_installer(), extended=True)):
        evidence = scanner.evidence(content, "a.msi")
        assert (evidence.verdict, evidence.findings) == ("clean", ())
        assert evidence.members > 15


@pytest.mark.parametrize("defect", ["streams-share-sectors", "row-out-of-reach", "directory-circle", "chain-too-short"])
def test_a_compound_file_that_contradicts_itself_is_unscannable(scanner: RunningScanner, defect: str) -> None:
    content, code = BROKEN[defect]
    evidence = scanner.evidence(content, "a.msi")
    assert evidence.verdict == "unscannable"
    assert any(code in row[1] for row in rules_of(evidence))


def test_an_archive_behind_or_between_the_streams_is_found(scanner: RunningScanner) -> None:
    packed = zipped(("eicar.com", EICAR))
    behind = scanner.evidence(wixl_installer() + packed, "a.msi")
    assert ("a.msi/eicar.com", *RULE) in rules_of(behind)
    gap = Cfb({"one": bytes(5000), "two": bytes(5000)}, gaps=2).build()
    at = gap.index(b"\xcc" * 1024)
    assert len(packed) <= 1024
    between = scanner.evidence(gap[:at] + packed.ljust(1024, b"\0") + gap[at + 1024 :], "a.msi")
    assert ("a.msi/eicar.com", *RULE) in rules_of(between)
