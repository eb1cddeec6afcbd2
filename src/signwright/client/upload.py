# SPDX-License-Identifier: Apache-2.0
"""Uploads that go on where they broke off: ``HEAD`` says where, ``PUT`` sends the rest."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import BinaryIO

from signwright.client.hub import Hub
from signwright.errors import ConflictError, UnavailableError
from signwright.model.view import BLOCK

ATTEMPTS = 5
PAUSE = 0.5

#: Told how many bytes the hub has, and how many there are.
Progress = Callable[[int, int], None]


def upload(hub: Hub, file: BinaryIO, *, sha256: str, size: int, progress: Progress) -> None:
    """Send the file whose SHA-256 (hex) and size were taken before. Raises the hub's error or `UnavailableError`."""
    lost = 0
    while True:
        offset = hub.stored(sha256)
        progress(offset, size)
        if offset >= size and (size or lost):
            return
        try:
            done = _send(hub, file, sha256=sha256, size=size, offset=offset, progress=progress)
        except UnavailableError:
            lost += 1
            if lost == ATTEMPTS:
                raise
            time.sleep(PAUSE * lost)
            continue
        if done:
            progress(size, size)
            return
        lost += 1
        time.sleep(PAUSE / 5 * lost)  # another call of ours may still be ending
        if lost == ATTEMPTS:
            raise ConflictError(f"the hub does not take the rest of {sha256[:16]}…", code="upload-stuck")


def _send(hub: Hub, file: BinaryIO, *, sha256: str, size: int, offset: int, progress: Progress) -> bool:
    """One ``PUT`` of everything from ``offset`` on; False when the hub has another offset in mind."""
    content = _blocks(file, offset, size, progress)
    path = f"/v1/artifacts/sha256:{sha256}"
    answer = hub.connection.upload(path, content, sha256=sha256, offset=offset, length=size - offset)
    return answer.status in (200, 201) or (answer.status == 204 and answer.headers.get("upload-offset") == str(size))


def _blocks(file: BinaryIO, offset: int, size: int, progress: Progress) -> Iterator[bytes]:
    """Exactly what was promised, one block in memory at a time."""
    file.seek(offset)
    while offset < size:
        block = file.read(min(BLOCK, size - offset))
        if not block:
            raise ConflictError("the file became shorter while it was sent", code="file-changed")
        offset += len(block)
        yield block
        progress(offset, size)
