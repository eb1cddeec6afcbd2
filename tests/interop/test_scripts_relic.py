# SPDX-License-Identifier: Apache-2.0
"""Signed PowerShell files, judged by relic: Go, of another family than osslsigncode."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.peers import relic_says
from tests.support.pki import Pki
from tests.support.script_vectors import CONVERTED, ENDINGS, FAMILIES, GOOD
from tests.support.signed_files import identity, sign

pytestmark = pytest.mark.peer

POWERSHELL = FAMILIES["powershell"][0]


def accepted(folder: Path, content: bytes, ending: str = "ps1") -> bool:
    file = folder / f"a.{ending}"
    file.write_bytes(content)
    told = relic_says(file)
    assert told.returncode == 0, told.stdout
    return told.stdout.count(": OK - ") == 1


@pytest.mark.parametrize("name", sorted(GOOD["powershell"]))
@pytest.mark.parametrize("key_type", ["rsa3072", "p256"])
def test_every_kind_of_file_is_accepted(tmp_path: Path, name: str, key_type: str) -> None:
    signed = sign(POWERSHELL, GOOD["powershell"][name], identity(key_type), description="x", url="https://example.org/")
    assert accepted(tmp_path, signed, ENDINGS.get(name, "ps1"))


@pytest.mark.parametrize("name", sorted(CONVERTED["powershell"]))
def test_rewritten_text_is_accepted(tmp_path: Path, name: str) -> None:
    source = CONVERTED["powershell"][name][0]
    assert accepted(tmp_path, sign(POWERSHELL, source, identity("rsa2048"), convert=True))


@pytest.mark.parametrize("digest", ["sha256", "sha384", "sha512"])
def test_each_digest_and_a_replaced_signature_are_accepted(tmp_path: Path, digest: str) -> None:
    once = sign(POWERSHELL, GOOD["powershell"]["utf16-mark"], identity("rsa2048"), digest=digest)
    assert accepted(tmp_path, once)
    assert accepted(tmp_path, sign(POWERSHELL, once, identity(), existing="replace", digest=digest))


def test_what_is_wrong_is_refused(tmp_path: Path) -> None:
    content = sign(POWERSHELL, GOOD["powershell"]["plain"], identity("rsa2048"))
    file = tmp_path / "a.ps1"
    file.write_bytes(content.replace(b"Hello", b"Hallo"))
    told = relic_says(file)
    assert told.returncode == 1
    assert "digest mismatch" in told.stdout
    file.write_bytes(content)
    assert relic_says(file, Pki("stranger").root).returncode == 1
