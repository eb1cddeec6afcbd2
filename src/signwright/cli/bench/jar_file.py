# SPDX-License-Identifier: Apache-2.0
"""JARs of any size, and a key store that jarsigner reads."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, load_pem_private_key, pkcs12

from signwright.cli.bench.pe_file import MIB, KeyFiles

#: Of a store whose key signs nothing that anybody trusts.
PASSWORD = "changeit"
_MANIFEST = b"Manifest-Version: 1.0\r\nCreated-By: bench\r\n\r\n"


def make_jar(path: Path, size: int) -> None:
    """A manifest and one stored member: random bytes, repeated after 1 MiB."""
    block = os.urandom(MIB)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("META-INF/MANIFEST.MF", _MANIFEST)
        with archive.open("data.bin", "w", force_zip64=False) as member:
            for at in range(0, size, MIB):
                member.write(block[: size - at])


def small_jar(files: int, size: int) -> bytes:
    """A manifest and ``files`` deflated members of ``size`` bytes each, whose content was never seen before."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("META-INF/MANIFEST.MF", _MANIFEST)
        for number in range(files):
            archive.writestr(f"com/example/File{number}.class", os.urandom(size // 2) + bytes(size - size // 2))
    return out.getvalue()


def make_key_store(files: KeyFiles, path: Path) -> None:
    """PKCS #12 with the key and its certificate under the alias ``bench``."""
    key = load_pem_private_key(files.key.read_bytes(), None)
    assert isinstance(key, rsa.RSAPrivateKey)
    certificate = x509.load_pem_x509_certificate(files.certificate.read_bytes())
    encryption = BestAvailableEncryption(PASSWORD.encode())
    path.write_bytes(pkcs12.serialize_key_and_certificates(b"bench", key, certificate, None, encryption))
