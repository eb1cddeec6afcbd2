# SPDX-License-Identifier: Apache-2.0
"""Signed installers, judged by relic: Go, of another family than osslsigncode; and by relic after it signed itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.msi_builder import LONG_URL, SHAPES, filled, sign, wixl_installer
from tests.support.msi_vectors import by_wixl
from tests.support.peers import relic_says
from tests.support.pki import Pki
from tests.support.signed_files import identity

pytestmark = pytest.mark.peer


def accepted(folder: Path, content: bytes, signatures: int = 1) -> bool:
    file = folder / "a.msi"
    file.write_bytes(content)
    told = relic_says(file)
    assert told.returncode == 0, told.stdout
    return told.stdout.count(": OK - ") == signatures


@pytest.mark.parametrize("extended", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_is_accepted(tmp_path: Path, shape: str, extended: bool) -> None:
    for url in (None, LONG_URL):
        assert accepted(tmp_path, sign(SHAPES[shape].build(), identity("rsa3072"), url=url, extended=extended))


@pytest.mark.parametrize("digest", ["sha256", "sha384", "sha512"])
def test_each_digest_of_a_package_of_wixl_is_accepted(tmp_path: Path, digest: str) -> None:
    once = sign(by_wixl(), digest=digest, description="x")
    assert accepted(tmp_path, once)
    assert accepted(tmp_path, sign(once, identity("rsa2048"), existing="replace", digest=digest, extended=True))


@pytest.mark.parametrize(("tables", "version"), [(109, 3), (110, 3), (236, 3), (2, 4)])
def test_files_of_many_tables_are_accepted(tmp_path: Path, tables: int, version: int) -> None:
    assert accepted(tmp_path, sign(filled(tables, version).build(), identity("rsa3072"), url=LONG_URL))


def test_what_is_wrong_is_refused(tmp_path: Path) -> None:
    content = bytearray(sign(wixl_installer()))
    file = tmp_path / "a.msi"
    file.write_bytes(content)
    assert relic_says(file, Pki("stranger").root).returncode == 1
    content[content.index(b"MSCF") + 40] ^= 1
    file.write_bytes(content)
    assert relic_says(file).returncode == 1
