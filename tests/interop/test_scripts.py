# SPDX-License-Identifier: Apache-2.0
"""Signed PowerShell files, judged by osslsigncode, which shares no code with ours. Nothing here reads the others."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from signwright.errors import VerificationError
from signwright.model.view import BytesView
from tests.support import osslsigncode
from tests.support.script_vectors import CONVERTED, ENDINGS, FAMILIES, GOOD, sign
from tests.support.signed_files import identity
from tests.support.signed_files import sign as sign_as


def told(content: bytes, folder: Path, ending: str = "ps1") -> subprocess.CompletedProcess[bytes]:
    return osslsigncode.says(content, folder, ending=ending)


def is_accepted(content: bytes, folder: Path, ending: str = "ps1") -> bool:
    said = told(content, folder, ending)
    return said.returncode == 0 and b"Number of verified signatures: 1" in said.stdout


@pytest.mark.parametrize("name", sorted(GOOD["powershell"]))
@pytest.mark.parametrize("key_type", ["rsa3072", "p256"])
def test_every_kind_of_file_is_accepted(tmp_path: Path, name: str, key_type: str) -> None:
    source = GOOD["powershell"][name]
    signed = sign_as(FAMILIES["powershell"][0], source, identity(key_type), description="x", url="https://example.org/")
    assert is_accepted(signed, tmp_path, ENDINGS.get(name, "ps1")), told(signed, tmp_path).stdout


@pytest.mark.parametrize("name", sorted(CONVERTED["powershell"]))
def test_rewritten_text_is_accepted(tmp_path: Path, name: str) -> None:
    assert is_accepted(sign("powershell", CONVERTED["powershell"][name][0], convert=True), tmp_path)


@pytest.mark.parametrize("digest", ["sha256", "sha384", "sha512"])
def test_each_digest_is_accepted(tmp_path: Path, digest: str) -> None:
    assert is_accepted(sign("powershell", GOOD["powershell"]["utf8-mark"], digest=digest), tmp_path)


@pytest.mark.parametrize("name", ["plain", "utf16-mark"])
def test_a_replaced_signature_is_accepted_and_is_the_only_one(tmp_path: Path, name: str) -> None:
    once = sign("powershell", GOOD["powershell"][name])
    again = sign("powershell", once, existing="replace")
    assert is_accepted(again, tmp_path)
    assert again.count(b"B\0e\0g\0i\0n\0" if name == "utf16-mark" else b"Begin") == 1


@pytest.mark.parametrize("name", ["plain", "no-final-newline", "utf16-mark", "xml"])
def test_a_changed_character_is_refused(tmp_path: Path, name: str) -> None:
    signed = bytearray(sign("powershell", GOOD["powershell"][name]))
    signed[6] ^= 0x02
    assert told(bytes(signed), tmp_path, ENDINGS.get(name, "ps1")).returncode != 0


@pytest.mark.parametrize("name", sorted(set(GOOD["powershell"]) - {"one-character"}))  # too short for osslsigncode
def test_what_osslsigncode_signs_is_read_back(name: str) -> None:
    source = GOOD["powershell"][name]
    one, reader = FAMILIES["powershell"]
    signed = BytesView(osslsigncode.signed_by_it(source, "-h", "sha256", ending=ENDINGS.get(name, "ps1")))
    reading = reader.read(signed)
    assert len(reading.signatures) == 1
    assert reading.stripped_sha256 == reader.read(BytesView(source)).stripped_sha256
    assert (
        str(reading.signatures[0].content_digest)
        == one.prepare(BytesView(source), (), one.options()).operations[0].digest
    )
    assert sign_as(one, signed.read(0, signed.size), identity(), existing="replace")


@pytest.mark.parametrize("name", ["lf", "cr", "utf8-without-mark", "utf16-lf"])
def test_what_osslsigncode_would_sign_as_it_is_we_refuse_to_read(tmp_path: Path, name: str) -> None:
    """It digests such text without a word, and Windows may not agree: the reason why there is a policy."""
    source = CONVERTED["powershell"][name][0]
    content = osslsigncode.signed_by_it(source, "-h", "sha256", ending="ps1")
    assert told(content, tmp_path).returncode == 0
    with pytest.raises(VerificationError) as refusal:
        FAMILIES["powershell"][1].read(BytesView(content))
    assert refusal.value.code == "ambiguous-text"
