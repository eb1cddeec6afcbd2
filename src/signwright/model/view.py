# SPDX-License-Identifier: Apache-2.0
"""Random access to an artifact's bytes, without saying where they are."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from typing import BinaryIO, Protocol

from signwright.errors import FormatError

BLOCK = 1 << 20


class View(Protocol):
    """Read-only bytes of known ``size``. ``read`` may be called from several threads."""

    @property
    def size(self) -> int: ...

    def read(self, offset: int, length: int) -> bytes:
        """Exactly ``length`` bytes at ``offset``; raises `FormatError` when the artifact ends before."""
        ...


class BytesView:
    """A view of bytes in memory."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self.size = len(content)

    def read(self, offset: int, length: int) -> bytes:
        check_range(offset, length, self.size)
        return self._content[offset : offset + length]


class FileView:
    """A view of an open, seekable binary file. The size is taken once; a file that shrinks later raises
    `FormatError`.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._lock = threading.Lock()
        self.size = file.seek(0, 2)

    def read(self, offset: int, length: int) -> bytes:
        check_range(offset, length, self.size)
        with self._lock:
            self._file.seek(offset)
            content = self._file.read(length)
        if len(content) != length:
            raise FormatError("the file became shorter while it was read", offset=offset + len(content))
        return content


class Window:
    """``size`` bytes of another view from ``start`` on: a file that stands unpacked in another. Raises `FormatError`
    where they are not all inside.
    """

    def __init__(self, view: View, start: int, size: int) -> None:
        check_range(start, size, view.size)
        self._view, self._start = view, start
        self.size = size

    def read(self, offset: int, length: int) -> bytes:
        check_range(offset, length, self.size)
        return self._view.read(self._start + offset, length)


class Head(Window):
    """The first ``size`` bytes of another view."""

    def __init__(self, view: View, size: int) -> None:
        super().__init__(view, 0, size)


def check_range(offset: int, length: int, size: int) -> None:
    """Raise `FormatError` unless ``offset`` and ``length`` lie inside ``size``."""
    if offset < 0 or length < 0 or offset + length > size:
        raise FormatError(f"{length} bytes wanted, the artifact ends at {size}", offset=max(offset, 0))


def sha256_of(view: View) -> str:
    """Lower-case hex SHA-256 of all its bytes, read once."""
    digest = hashlib.sha256()
    for block in blocks(view, 0, view.size):
        digest.update(block)
    return digest.hexdigest()


def blocks(view: View, offset: int, length: int, block: int = BLOCK) -> Iterator[bytes]:
    """The bytes of a range in blocks of at most ``block``."""
    end = offset + length
    while offset < end:
        step = min(block, end - offset)
        yield view.read(offset, step)
        offset += step
