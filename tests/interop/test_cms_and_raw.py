# SPDX-License-Identifier: Apache-2.0
"""OpenSSL accepts our detached CMS and raw signatures, and refuses them for other content."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from signwright.formats.cms import CmsFormat
from signwright.formats.raw import RawFormat
from tests.support.pki import default_pki
from tests.support.tools import require_tool
from tests.support.whole_files import sign_bytes

CONTENT = b"a release\n" * 1000


def openssl(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([require_tool("openssl"), *arguments], cwd=cwd, capture_output=True, check=False)


@pytest.mark.parametrize("key_type", ["rsa3072", "p256", "p384", "p521"])
@pytest.mark.parametrize("digest", ["sha256", "sha384", "sha512"])
def test_openssl_cms_verifies_ours(tmp_path: Path, key_type: str, digest: str) -> None:
    signer = default_pki().code_signing(key_type)
    (tmp_path / "f").write_bytes(CONTENT)
    (tmp_path / "f.p7s").write_bytes(sign_bytes(CmsFormat(), CONTENT, signer, digest=digest))
    (tmp_path / "root.pem").write_bytes(default_pki().root_pem)
    command = ("cms", "-verify", "-binary", "-inform", "DER", "-in", "f.p7s", "-purpose", "any", "-CAfile", "root.pem")
    accepted = openssl(*command, "-content", "f", "-out", "out", cwd=tmp_path)
    assert accepted.returncode == 0, accepted.stderr
    assert (tmp_path / "out").read_bytes() == CONTENT
    (tmp_path / "f").write_bytes(CONTENT + b"!")
    assert openssl(*command, "-content", "f", "-out", "out", cwd=tmp_path).returncode != 0


@pytest.mark.parametrize("key_type", ["rsa3072", "p256", "p384"])
@pytest.mark.parametrize("digest", ["sha256", "sha512"])
def test_openssl_dgst_verifies_ours(tmp_path: Path, key_type: str, digest: str) -> None:
    signer = default_pki().code_signing(key_type)
    (tmp_path / "f").write_bytes(CONTENT)
    (tmp_path / "f.sig").write_bytes(sign_bytes(RawFormat(), CONTENT, signer, digest=digest))
    public = load_der_public_key(signer.public_key).public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "key.pem").write_bytes(public)
    command = ("dgst", f"-{digest}", "-verify", "key.pem", "-signature", "f.sig", "f")
    assert openssl(*command, cwd=tmp_path).returncode == 0
    (tmp_path / "f").write_bytes(CONTENT + b"!")
    assert openssl(*command, cwd=tmp_path).returncode != 0
