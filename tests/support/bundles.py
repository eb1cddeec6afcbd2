# SPDX-License-Identifier: Apache-2.0
"""Bundles for a media courier, made by hand: sound ones, and ones that nobody should take."""

from __future__ import annotations

import hashlib
import itertools
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from signwright.signer.courier.media import index
from signwright.signer.courier.media.bundle import Manifest, Row, encode_bundle, reader
from signwright.signer.courier.media.store import Landed, MediaStore
from signwright.statements.writing import public_text

OUTSIDE = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
VAULT = Ed25519PrivateKey.from_private_bytes(bytes(range(32, 64)))
TOTAL = 1 << 30
_serials = itertools.count(time.time_ns())

#: (role, content).
Blob = tuple[str, bytes]


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def manifest_of(blobs: Sequence[Blob], *, side: str = "outside", **changes: Any) -> Manifest:
    rows = tuple(Row(role=role, sha256=sha256(content), size=len(content)) for role, content in blobs)  # type: ignore[arg-type]
    return Manifest.model_validate({"side": side, "serial": next(_serials), "rows": rows, **changes})


def bundle(
    blobs: Sequence[Blob], *, side: str = "outside", key: Ed25519PrivateKey | None = None, **changes: Any
) -> bytes:
    """A bundle with these blobs, whatever they are. ``key``: the side's own."""
    signer = key or (OUTSIDE if side == "outside" else VAULT)
    return b"".join(encode_bundle(manifest_of(blobs, side=side, **changes), signer, ([c] for _, c in blobs)))


def outside_bundle(made: index.OutsideIndex, contents: Sequence[bytes], **changes: Any) -> bytes:
    """One with an index, and every blob that it names."""
    return bundle([("index", made.model_dump_json().encode()), *named(made, contents)], **changes)


def named(made: index.OutsideIndex | index.VaultIndex, contents: Sequence[bytes]) -> list[Blob]:
    found = {sha256(content): content for content in contents}
    return [(role, found[digest]) for role, digest in sorted(set(made.named()))]


def job_of(
    request: bytes, *, approvals: Sequence[bytes] = (), evidence: Sequence[bytes] = (), files: Sequence[bytes] = ()
) -> index.Job:
    return index.Job(
        request=sha256(request),
        approvals=tuple(map(sha256, approvals)),
        evidence=tuple(map(sha256, evidence)),
        artifacts=tuple(map(sha256, files)),
    )


def sample() -> bytes:
    """A small sound bundle with a request, an approval and an artifact."""
    contents = [b'{"request":1}', b'{"approval":1}', b"program"]
    job = job_of(contents[0], approvals=[contents[1]], files=[contents[2]])
    made = index.OutsideIndex(jobs=(job,), open=(job.request,))
    return outside_bundle(made, contents, serial=1)


def read_of(content: bytes) -> Callable[[int], bytes]:
    """As a medium gives it: in pieces."""
    position = 0

    def read(count: int) -> bytes:
        nonlocal position
        piece = content[position : position + min(count, 7)]
        position += len(piece)
        return piece

    return reader(read)


def land(store: MediaStore, content: bytes, *, side: str = "outside", key: Ed25519PrivateKey = OUTSIDE) -> Landed:
    return store.land(
        read_of(content),
        side=side,  # type: ignore[arg-type]
        key=public_text(key),
        total=TOTAL,
        watch=lambda *_: None,
    )


def blobs_in(store: MediaStore) -> set[str]:
    return {path.name for path in (store.folder / "blobs").iterdir()}


def leftovers(store: MediaStore) -> list[Path]:
    return list((store.folder / "incoming").iterdir())
