# SPDX-License-Identifier: Apache-2.0
"""NuGet packages, judged by programs that share no code with ours: OpenSSL for the signature, the standard library and
Info-ZIP for the archive. NuGet itself was not at hand (docs/formats/nuget.md).
"""

from __future__ import annotations

import base64
import io
import zipfile
from pathlib import Path

import pytest

from tests.support.nuget_builder import SHAPES, by_the_book, rsa, sign
from tests.support.pki import default_pki
from tests.support.signed_files import identity
from tests.support.tools import require_tool, run

OIDS = {"sha256": "2.16.840.1.101.3.4.2.1", "sha384": "2.16.840.1.101.3.4.2.2", "sha512": "2.16.840.1.101.3.4.2.3"}


def signed_text(content: bytes, folder: Path) -> bytes | None:
    """What OpenSSL finds signed in the package's signature, None when it refuses; ``-cades`` demands a certificate
    attribute that names the signer.
    """
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        (folder / "s.p7s").write_bytes(archive.read(".signature.p7s"))
    (folder / "root.pem").write_bytes(default_pki().root_pem)
    (folder / "text").unlink(missing_ok=True)
    command = (require_tool("openssl"), "cms", "-verify", "-cades", "-binary", "-inform", "DER", "-in", "s.p7s")
    told = run(*command, "-purpose", "any", "-CAfile", "root.pem", "-out", "text", cwd=folder)
    return (folder / "text").read_bytes() if told.returncode == 0 else None


@pytest.mark.parametrize("digest", OIDS)
@pytest.mark.parametrize("shape", SHAPES)
def test_openssl_accepts_the_signature_and_its_text_names_the_package(shape: str, digest: str, tmp_path: Path) -> None:
    once = sign(SHAPES[shape].build(), digest=digest)
    for content in (once, sign(once, identity("rsa3072"), existing="replace", digest=digest)):
        value = base64.b64encode(bytes.fromhex(by_the_book(content, digest))).decode()
        assert signed_text(content, tmp_path) == f"Version:1\n\n{OIDS[digest]}-Hash:{value}\n\n".encode()


def test_openssl_refuses_a_flipped_bit_of_the_signature(tmp_path: Path) -> None:
    content = sign(SHAPES["stored"].build())
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        envelope = archive.read(".signature.p7s")
    (tmp_path / "s.p7s").write_bytes(envelope.replace(b"Version:1", b"version:1"))
    (tmp_path / "root.pem").write_bytes(default_pki().root_pem)
    command = (require_tool("openssl"), "cms", "-verify", "-binary", "-inform", "DER", "-in", "s.p7s")
    assert run(*command, "-purpose", "any", "-CAfile", "root.pem", "-out", "text", cwd=tmp_path).returncode != 0


@pytest.mark.parametrize("shape", SHAPES)
def test_info_zip_tests_the_package_and_finds_the_signature_last_and_stored(shape: str, tmp_path: Path) -> None:
    (tmp_path / "a.nupkg").write_bytes(sign(SHAPES[shape].build(), rsa()))
    unzip, zipinfo = require_tool("unzip"), require_tool("zipinfo", "unzip")
    assert run(unzip, "-t", "a.nupkg", cwd=tmp_path).returncode == 0
    listed = run(zipinfo, "-l", "--h-t", "a.nupkg", cwd=tmp_path).stdout.decode(errors="replace").splitlines()
    assert listed[-1].endswith(".signature.p7s")
    assert " stor " in listed[-1]
