# SPDX-License-Identifier: Apache-2.0
"""Files on the client's disk: hashed in one pass, replaced whole or not at all, never through a symbolic link."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from signwright.errors import LimitError, SignwrightError, UsageError
from signwright.model.view import BLOCK


def hash_file(file: BinaryIO) -> tuple[str, int]:
    """(hex SHA-256, bytes) of an open file, from its start."""
    file.seek(0)
    digest, size = hashlib.sha256(), 0
    while block := file.read(BLOCK):
        digest.update(block)
        size += len(block)
    return digest.hexdigest(), size


def read_small(path: Path, limit: int) -> bytes:
    """The whole file. Raises `OSError`, and `LimitError` beyond ``limit`` bytes, of which no more are read."""
    with path.open("rb") as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise LimitError(f"more than {limit} bytes")
    return content


def open_input(path: Path) -> BinaryIO:
    """Open a file to be signed; raises `UsageError` for what is no readable file."""
    # A pipe is opened without waiting for who writes into it, and refused.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
    try:
        descriptor = os.open(path, flags)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise UsageError(f"{path}: not a file", code="not-a-file")
        file = os.fdopen(descriptor, "rb")
    except OSError as problem:
        raise UsageError(f"{path}: {problem.strerror}", code="cannot-read") from problem
    return file


def check_output(path: Path) -> None:
    """Raises `UsageError` for an output that we would not write: a symbolic link, a folder, a missing folder."""
    if path.is_symlink():
        raise UsageError(f"{path}: a symbolic link; the output must be a file of its own", code="symlink")
    if path.is_dir():
        raise UsageError(f"{path}: a folder", code="is-a-folder", hint="name the file, or give several inputs")
    if path.exists() and not path.is_file():
        raise UsageError(f"{path}: not a file", code="not-a-file")
    if not path.parent.is_dir():
        raise UsageError(f"{path.parent}: no such folder", code="no-output-folder", hint="create it first")


@dataclass(slots=True)
class Draft:
    """A file being written beside ``target``; it takes its place with `publish` and is gone otherwise."""

    target: Path
    path: Path
    file: BinaryIO

    def settle(self, *, mode: int | None = None) -> None:
        """All of `publish` that may take room or be refused, short of taking the target's place."""
        self.file.flush()
        os.fsync(self.file.fileno())
        check_output(self.target)
        if mode is None:
            mode = self.target.stat().st_mode & 0o777 if self.target.exists() else 0o666 & ~_umask()
        with contextlib.suppress(OSError):  # file systems without permission bits
            os.chmod(self.path, mode)

    def publish(self, *, mode: int | None = None) -> None:
        """Make it durable and put it in its place. ``mode``: permission bits; else the target's or the umask's."""
        self.settle(mode=mode)
        self.file.close()
        os.replace(self.path, self.target)
        _sync_folder(self.target.parent)


@contextlib.contextmanager
def draft(target: Path) -> Iterator[Draft]:
    """A `Draft` for ``target``; nothing half-written is ever left. Raises `SignwrightError` (disk full)."""
    check_output(target)
    try:
        descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".new")
    except OSError as problem:
        raise UsageError(f"{target.parent}: {problem.strerror}", code="cannot-write") from problem
    with os.fdopen(descriptor, "w+b") as file:
        try:
            yield Draft(target, Path(name), file)
        except OSError as problem:
            raise SignwrightError(
                f"{target}: {problem.strerror}; nothing was written", code="cannot-write"
            ) from problem
        finally:
            with contextlib.suppress(OSError, ValueError):
                file.close()
            with contextlib.suppress(OSError):
                os.unlink(name)


def replace_file(target: Path, content: bytes, *, mode: int | None = None) -> None:
    """Write ``content`` to ``target`` atomically."""
    with draft(target) as new:
        new.file.write(content)
        new.publish(mode=mode)


def write_private(target: Path, content: bytes) -> None:
    """Write a secret: mode 0600 from the first byte on."""
    replace_file(target, content, mode=0o600)


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _sync_folder(folder: Path) -> None:
    """Make the new name durable where the platform can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
