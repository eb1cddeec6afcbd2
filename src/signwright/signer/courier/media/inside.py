# SPDX-License-Identifier: Apache-2.0
"""Errands of a gate in a vault: what can be answered inside is; what cannot waits for a medium."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from signwright.errors import MalformedError, UnavailableError
from signwright.model.framing import Frame
from signwright.signer.channel import text_field
from signwright.signer.courier.errands import GateErrands
from signwright.signer.courier.gate import GateLink
from signwright.signer.courier.http import HttpClient
from signwright.signer.courier.media.questions import Questions, Said
from signwright.signer.courier.media.store import MediaStore
from signwright.signer.courier.settings import CourierSettings


class InsideErrands(GateErrands):
    """``busy``: errands that are being answered inside; ``stirred``: called when the gate asks something."""

    def __init__(
        self,
        settings: CourierSettings,
        client: HttpClient,
        *,
        store: MediaStore,
        questions: Questions,
        link: Callable[[], GateLink],
        stirred: Callable[[], None],
    ) -> None:
        super().__init__(settings, client, link=link)
        self._store, self._questions, self._stirred = store, questions, stirred
        self.busy = 0

    async def run(self, frame: Frame) -> Frame | None:
        """The answer to an errand; None when the bytes themselves are the answer."""
        name = frame.message.get("name")
        if name != "latest":  # asked every minute, by itself
            self._stirred()
        if name == "witness" and not self._is_inside(frame):
            return await super().run(frame)  # which may take days
        self.busy += 1
        try:
            return await super().run(frame)
        finally:
            self.busy -= 1

    def _is_inside(self, frame: Frame) -> bool:
        return text_field(frame.message, "witness") in self._settings.witnesses

    async def witness(self, frame: Frame) -> Frame:
        if self._is_inside(frame):
            return await super().witness(frame)
        if len(frame.parts) != 1:
            raise MalformedError("errand: wanted one part", code="unknown-errand")
        return _said(await self._questions.cosign(text_field(frame.message, "witness"), frame.parts[0]))

    async def latest(self, frame: Frame) -> Frame:
        if self._is_inside(frame):
            return await super().latest(frame)
        return _said(self._questions.latest(text_field(frame.message, "witness"), text_field(frame.message, "origin")))

    @asynccontextmanager
    async def artifact(self, sha256: str) -> AsyncIterator[AsyncIterator[bytes]]:
        if not self._store.has(sha256):
            raise UnavailableError(f"artifact {sha256[:16]}… is on no medium that came in", code="no-artifact")
        yield self._store.stream(sha256)

    async def publish(self, paths: Sequence[str], contents: Sequence[bytes]) -> None:
        for path, content in zip(paths, contents, strict=True):
            self._store.write_log(path, content)


def _said(said: Said) -> Frame:
    status, body = said
    return Frame({"ok": True, "message": "", "status": status}, (body,))
