# SPDX-License-Identifier: Apache-2.0
"""Content-addressed files: written to a partial file, synced, linked under their digest, never overwritten.

    objects/ab/cd/<sha256>     complete, read-only      partial/<name>     what has arrived of an upload

A partial file belongs to one upload; its length is how far that upload got. Blocking functions: call them in a thread.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import hmac
import os
import secrets
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from signwright.errors import MalformedError, NotFoundError, SignwrightError, UnavailableError

BLOCK = 1 << 20
#: Written but not yet synced, at most; so that the sync at the end is short.
SYNC_EVERY = 32 << 20
#: Hash states of interrupted uploads that are kept; others are hashed again from the partial file.
REMEMBERED = 64
#: Threads that hash; blocks too small for one are hashed where they are written.
HASHERS = 4
_HASHED_BESIDE = 64 << 10
#: Buffers that one call of the kernel takes (IOV_MAX).
_MOST_PIECES = 1024


@dataclass(slots=True)
class PartialFile:
    """An upload in progress: an open descriptor, the hash so far and how many bytes it covers."""

    name: str
    descriptor: int
    digest: Any
    offset: int
    unsynced: int = field(default=0)


class ArtifactStore:
    """``folder`` is ours alone and on one file system."""

    def __init__(self, folder: Path) -> None:
        self._objects = folder / "objects"
        self._partial = folder / "partial"
        self._remembered: OrderedDict[str, tuple[Any, int]] = OrderedDict()
        self._hashing = ThreadPoolExecutor(HASHERS, thread_name_prefix="hub-hash")
        for path in (self._objects, self._partial):
            path.mkdir(parents=True, exist_ok=True)

    def new_partial(self) -> str:
        """The name of a partial file that is yet to be made."""
        return secrets.token_hex(16)

    def received(self, name: str) -> int:
        """How many bytes of a partial file are there."""
        try:
            return (self._partial / name).stat().st_size
        except FileNotFoundError:
            return 0

    def open_partial(self, name: str) -> PartialFile:
        """Open or make a partial file, with the hash of what is there (from memory, or by reading it again)."""
        with _storage():
            descriptor = os.open(self._partial / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            size = os.fstat(descriptor).st_size
            digest, covered = self._remembered.pop(name, (hashlib.sha256(), 0))
            if covered > size:
                digest, covered = hashlib.sha256(), 0
            while covered < size:
                block = os.pread(descriptor, min(BLOCK, size - covered), covered)
                if not block:
                    raise UnavailableError("a partial file shrank", code="storage")
                digest.update(block)
                covered += len(block)
        except BaseException:
            os.close(descriptor)
            raise
        return PartialFile(name, descriptor, digest, covered)

    def append(self, partial: PartialFile, pieces: Sequence[bytes | bytearray]) -> None:
        """Write and hash one block beside each other. A block that does not fit on the disk leaves the file as it was.

        ``pieces``: the block's bytes in order, not changed by the caller any more.
        """
        size = sum(map(len, pieces))
        beside = self._hashing.submit(_hashed, partial.digest, pieces) if size >= _HASHED_BESIDE else None
        try:
            with _storage():
                _write(partial.descriptor, pieces, partial.offset)
        except SignwrightError:
            with contextlib.suppress(OSError):
                os.ftruncate(partial.descriptor, partial.offset)
            raise
        partial.digest = beside.result() if beside is not None else _hashed(partial.digest, pieces)
        partial.offset += size
        partial.unsynced += size

    def sync(self, partial: PartialFile) -> None:
        """What was written so far is on the disk."""
        partial.unsynced = 0
        with _storage():
            os.fdatasync(partial.descriptor)

    def leave(self, partial: PartialFile) -> None:
        """Close an unfinished upload and remember its hash, so that it can go on."""
        os.close(partial.descriptor)
        self._remembered[partial.name] = (partial.digest, partial.offset)
        while len(self._remembered) > REMEMBERED:
            self._remembered.popitem(last=False)

    def finish(self, partial: PartialFile, *, sha256: str) -> None:
        """Check the digest and publish the file under it; another content is removed and raises `MalformedError`."""
        path = self._partial / partial.name
        try:
            if not hmac.compare_digest(partial.digest.hexdigest(), sha256):
                path.unlink()
                raise MalformedError(
                    f"the bytes have SHA-256 {partial.digest.hexdigest()}; {sha256} was declared", code="wrong-content"
                )
            with _storage():
                os.fchmod(partial.descriptor, 0o400)
                os.fsync(partial.descriptor)
                self._publish(path, self.path_of(sha256))
        finally:
            os.close(partial.descriptor)

    def _publish(self, partial: Path, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            os.link(partial, target)
        partial.unlink()
        for folder in (target.parent, target.parent.parent, self._objects):
            _sync_folder(folder)

    def path_of(self, sha256: str) -> Path:
        """Where a content of this digest (hex) lies, if it is there."""
        return self._objects / sha256[:2] / sha256[2:4] / sha256

    def has(self, sha256: str) -> bool:
        return self.path_of(sha256).is_file()

    def open(self, sha256: str) -> int:
        """A read-only descriptor, which the caller closes; raises `NotFoundError`."""
        try:
            return os.open(self.path_of(sha256), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError as problem:
            raise NotFoundError(f"artifact sha256:{sha256} is not stored any more", code="artifact-gone") from problem

    def remove(self, sha256: str) -> None:
        self.path_of(sha256).unlink(missing_ok=True)

    def drop_partial(self, name: str) -> None:
        """Forget an unfinished upload."""
        self._remembered.pop(name, None)
        (self._partial / name).unlink(missing_ok=True)

    def partials(self) -> list[str]:
        return sorted(path.name for path in self._partial.iterdir())

    def close(self) -> None:
        """End the threads; nothing can be appended any more."""
        self._hashing.shutdown()


def _hashed(digest: Any, pieces: Sequence[bytes | bytearray]) -> Any:
    """A new state: the old one stays true when the bytes do not reach the disk."""
    digest = digest.copy()
    for piece in pieces:
        digest.update(piece)
    return digest


def _write(descriptor: int, pieces: Sequence[bytes | bytearray], offset: int) -> None:
    """All of it, from ``offset`` on."""
    views = [memoryview(piece) for piece in pieces if piece]
    while views:
        written = os.pwritev(descriptor, views[:_MOST_PIECES], offset)
        offset += written
        while views and written >= len(views[0]):
            written -= len(views.pop(0))
        if written:
            views[0] = views[0][written:]


class _storage(contextlib.AbstractContextManager[None]):  # noqa: N801 - reads as a statement
    """Disk errors as ours: ``storage-full`` where there is no room, ``storage`` otherwise."""

    def __exit__(self, kind: object, problem: BaseException | None, trace: object) -> None:
        if isinstance(problem, OSError):
            full = problem.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
            text = "no room is left for artifacts" if full else f"the artifact store failed: {problem.strerror}"
            raise UnavailableError(text, code="storage-full" if full else "storage") from problem


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
