# SPDX-License-Identifier: Apache-2.0
"""Making a bundle from the media folder, and writing or reading it through a descriptor that came in at the door."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from signwright.errors import LimitError, MalformedError, UsageError
from signwright.signer.courier.media.bundle import LIMITS, MAX_ROWS, Manifest, Row, Side, encode_bundle, reader
from signwright.signer.courier.media.door import Tell
from signwright.signer.courier.media.index import OutsideIndex, VaultIndex, check_complete
from signwright.signer.courier.media.store import Landed, MediaStore, open_descriptor
from signwright.signer.courier.settings import MediaSettings


def packed(store: MediaStore, side: Side, index: OutsideIndex | VaultIndex, *, total: int) -> Manifest:
    """The manifest of a bundle with everything that ``index`` names, which is in ``store``; raises `LimitError`."""
    content = index.model_dump_json().encode()
    named = [("index", store.put(content)), *sorted(set(index.named()))]
    if len(named) > MAX_ROWS:
        raise LimitError(f"a bundle of {len(named)} blobs; at most {MAX_ROWS}", code="bundle-too-large")
    rows = tuple(Row(role=role, sha256=sha256, size=store.size(sha256)) for role, sha256 in named)  # type: ignore[arg-type]
    manifest = Manifest(side=side, serial=store.next_serial(), rows=rows)
    for row in rows:
        if row.size > LIMITS[row.role]:
            raise LimitError(f"a blob of role {row.role} with {row.size} bytes", code="bundle-too-large")
    if manifest.total > total:
        raise LimitError(f"a bundle of {manifest.total} bytes; at most {total}", code="bundle-too-large")
    check_complete(index, manifest)
    return manifest


def write_bundle(
    descriptor: int | None, store: MediaStore, manifest: Manifest, *, key: Ed25519PrivateKey, tell: Tell
) -> int:
    """Write to an empty file or a device, and wait for the disk; how many bytes. Raises `OSError`."""
    target = _checked(descriptor, empty=True)
    blobs: Iterable[Iterable[bytes]] = (store.blocks(row.sha256) for row in manifest.rows)
    done = 0
    with open_descriptor(os.dup(target), "wb") as file:
        for block in encode_bundle(manifest, key, blobs):
            file.write(block)
            done += len(block)
            tell("writing", min(done, manifest.total), manifest.total)
        file.flush()
        os.fsync(file.fileno())
    return done


def read_bundle(descriptor: int | None, store: MediaStore, media: MediaSettings, *, tell: Tell) -> Landed:
    """Everything on the medium, checked, in ``store``; raises what is wrong with it."""
    source = _checked(descriptor, empty=False)
    side: Side = "outside" if media.side == "vault" else "vault"
    with open_descriptor(os.dup(source), "rb") as file:

        def check_end() -> None:
            """A device is larger than what was written to it; a file is not."""
            if stat.S_ISREG(os.fstat(source).st_mode) and file.read(1):
                raise MalformedError("bytes behind the end of the bundle", code="bundle-trailing")

        return store.land(
            reader(file.read),
            side=side,
            key=media.other_key,
            total=media.total_bytes,
            watch=lambda done, of: tell("reading", done, of),
            check_end=check_end,
        )


def _checked(descriptor: int | None, *, empty: bool) -> int:
    if descriptor is None:
        raise UsageError("a descriptor of the medium's file is wanted", code="no-medium")
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) and not stat.S_ISBLK(found.st_mode):
        raise UsageError("neither a file nor a block device", code="no-medium")
    if empty and found.st_size and stat.S_ISREG(found.st_mode):
        raise UsageError("the file has content already; wanted a new one", code="not-empty")
    return descriptor
