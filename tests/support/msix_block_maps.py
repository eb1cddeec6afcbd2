# SPDX-License-Identifier: Apache-2.0
"""A package with files of many blocks, of none, and of names with escapes, and its block map."""

from __future__ import annotations

import base64
import hashlib
import io
import zipfile

from tests.support.msix_builder import BLOCK, Msix

#: Three blocks, the second of which does not pack.
LARGE = bytes(range(256)) * 256 + hashlib.shake_256(b"noise").digest(BLOCK) + b"rest of it"
LOGO = "Assets/Logo%20of%20it.png"
FILES = (("app.exe", LARGE), (LOGO, b"\x89PNG" + bytes(500)), ("R%26D%25.txt", b"a"), ("0", b""))
PACKAGE = Msix(files=FILES, file_hashes=True)
#: The start tag of the first file.
HEAD = f'<File Name="app.exe" Size="{len(LARGE)}" LfhSize="37">'


def block_map_of(package: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(package)) as archive:
        return archive.read("AppxBlockMap.xml")


def hash_of(content: bytes) -> str:
    """As a block map of SHA-256 has it."""
    return base64.b64encode(hashlib.sha256(content).digest()).decode()
