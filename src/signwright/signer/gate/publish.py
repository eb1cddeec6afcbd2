# SPDX-License-Identifier: Apache-2.0
"""New tiles go out after each checkpoint. Nothing waits for them; what could not be sent is sent the next time."""

from __future__ import annotations

import asyncio

from signwright.errors import SignwrightError
from signwright.signer.gate.errands import Errands
from signwright.signer.gate.log import Log
from signwright.signer.gate.tiles import files_between

_FILES_PER_ERRAND = 64
_SECONDS = 60.0
_RETRY_SECONDS = 5.0
#: Checkpoints that follow each other faster are published together.
_PAUSE_SECONDS = 0.25


class Publisher:
    """``wake`` after each quorum. Begins at size 0: what the hub has already is overwritten by the same bytes."""

    def __init__(self, log: Log, errands: Errands) -> None:
        self._log = log
        self._errands = errands
        self._published = 0
        self._wake = asyncio.Event()

    def wake(self) -> None:
        self._wake.set()

    async def run(self) -> None:
        """Publish until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                await self.publish()
                await asyncio.sleep(_PAUSE_SECONDS)
            except SignwrightError:
                await asyncio.sleep(_RETRY_SECONDS)
                self._wake.set()

    async def publish(self) -> None:
        """Everything up to the newest cosigned checkpoint, tiles first; raises `UnavailableError`."""
        witnessed = self._log.witnessed
        if witnessed is None or witnessed.checkpoint.size <= self._published:
            return
        size = witnessed.checkpoint.size
        # A partial tile that has grown since is cut to the width that this checkpoint needs.
        paths = files_between(self._published, size)
        for first in range(0, len(paths), _FILES_PER_ERRAND):
            chosen = paths[first : first + _FILES_PER_ERRAND]
            contents = [self._log.files.read(path) for path in chosen]
            await self._errands.run("publish", {"paths": chosen}, contents, seconds=_SECONDS)
        await self._errands.run("publish", {"paths": ["checkpoint"]}, [witnessed.note], seconds=_SECONDS)
        self._published = size
