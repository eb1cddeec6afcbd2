# SPDX-License-Identifier: Apache-2.0
"""An artifact in the gate: copied once, hashed on the way, in a file that has no name."""

from __future__ import annotations

import asyncio
import hashlib
import os
import tempfile
from dataclasses import dataclass
from typing import BinaryIO, cast

from signwright.errors import LimitError, UnavailableError, VerificationError

_BLOCK = 1 << 20


@dataclass(slots=True)
class Artifact:
    """``file``: unlinked, holds exactly ``size`` bytes with the hex digest ``sha256``. Close it with `close`."""

    file: BinaryIO
    sha256: str
    size: int

    def read_only(self) -> int:
        """A new descriptor that cannot write, for a worker; the caller closes it."""
        return os.open(f"/proc/self/fd/{self.file.fileno()}", os.O_RDONLY | os.O_CLOEXEC)

    def close(self) -> None:
        self.file.close()


class Expected:
    """An artifact that was asked for and has not come yet."""

    def __init__(self, sha256: str, size: int) -> None:
        self.sha256 = sha256
        self.size = size
        self.taken = False
        self.arrived: asyncio.Future[Artifact] = asyncio.get_running_loop().create_future()
        self._abandoned = False

    async def take(self, reader: asyncio.StreamReader, announced: object) -> None:
        """Copy the stream; raises `LimitError` for another size than asked and `VerificationError` for other bytes."""
        self.taken = True
        if announced != self.size:
            raise LimitError(f"artifact of {announced} bytes; {self.size} were asked for", code="artifact-size")
        file = cast(BinaryIO, await asyncio.to_thread(tempfile.TemporaryFile))
        try:
            artifact = await self._copy(reader, file)
        except BaseException:
            file.close()
            raise
        if self._abandoned or self.arrived.done():
            artifact.close()
        else:
            self.arrived.set_result(artifact)

    async def _copy(self, reader: asyncio.StreamReader, file: BinaryIO) -> Artifact:
        digest = hashlib.sha256()
        left = self.size

        def store(block: bytes) -> None:
            digest.update(block)
            file.write(block)

        while left:
            block = await reader.read(min(left, _BLOCK))
            if not block:
                raise UnavailableError(f"artifact: it ended {left} bytes early", code="artifact-incomplete")
            left -= len(block)
            if len(block) < _BLOCK // 16:
                store(block)
            else:
                await asyncio.to_thread(store, block)
        file.flush()
        if digest.hexdigest() != self.sha256:
            raise VerificationError(
                f"artifact: SHA-256 is {digest.hexdigest()}; {self.sha256} was requested", code="artifact-mismatch"
            )
        return Artifact(file, self.sha256, self.size)

    def fail(self, problem: Exception) -> None:
        if not self.arrived.done():
            self.arrived.set_exception(problem)

    def abandon(self) -> None:
        """Nobody waits any more; what still comes is thrown away."""
        self._abandoned = True
        if not self.arrived.done():
            self.arrived.cancel()
