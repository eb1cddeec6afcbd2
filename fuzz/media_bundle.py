# SPDX-License-Identifier: Apache-2.0
"""Bundles on a medium: what is read is what was signed, and nothing is read beyond its limits."""

from __future__ import annotations

import hashlib

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from signwright.errors import LimitError, MalformedError, VerificationError
from signwright.signer.courier.media.bundle import LIMITS, encode_bundle, read_blob, read_manifest, reader
from signwright.signer.courier.media.index import OutsideIndex
from signwright.statements.parse import parse_model
from signwright.statements.writing import public_text

#: Signs what is in the corpus; a mutated manifest is refused by its signature, and so read without one as well.
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


def one_input(data: bytes) -> None:
    position = 0

    def read(count: int) -> bytes:
        nonlocal position
        piece = data[position : position + count]
        position += len(piece)
        return piece

    exactly = reader(read)
    try:
        manifest = read_manifest(exactly, side="outside", key=public_text(KEY), total=1 << 20)
        blobs = []
        for row in manifest.rows:
            piece = bytearray()
            read_blob(exactly, row, piece.extend)
            blobs.append(bytes(piece))
    except (MalformedError, LimitError, VerificationError):
        _index(data)
        return
    for row, blob in zip(manifest.rows, blobs, strict=True):
        assert len(blob) <= LIMITS[row.role]
        assert hashlib.sha256(blob).hexdigest() == row.sha256
        if row.role == "index":
            _index(blob)
    again = b"".join(encode_bundle(manifest, KEY, ([blob] for blob in blobs)))
    assert len(again) == position


def _index(content: bytes) -> None:
    """What stands in a signed bundle may be anything too."""
    try:
        index = parse_model(OutsideIndex, content, limit=LIMITS["index"])
    except (MalformedError, LimitError):
        return
    named = list(index.named())
    assert all(len(sha256) == 64 for _, sha256 in named)
