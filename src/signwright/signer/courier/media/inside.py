# SPDX-License-Identifier: Apache-2.0
"""Errands of a gate in a vault: what can be answered inside is; what cannot waits for a medium."""

from __future__ import annotations

from collections.abc import Callable

from signwright.errors import MalformedError, UnavailableError
from signwright.model.framing import Frame
from signwright.signer.channel import number_field, text_field
from signwright.signer.courier.errands import Relay, published_paths
from signwright.signer.courier.gate import GateLink
from signwright.signer.courier.http import HttpClient
from signwright.signer.courier.media.questions import Questions, Said
from signwright.signer.courier.media.store import MediaStore
from signwright.signer.courier.settings import CourierSettings


class InsideErrands(Relay):
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
        super().__init__(settings, client)
        self._store, self._questions, self._link, self._stirred = store, questions, link, stirred
        self.busy = 0

    async def run(self, frame: Frame) -> Frame | None:
        """The answer to an errand; None when the bytes themselves are the answer."""
        name = frame.message.get("name")
        if name == "witness" and text_field(frame.message, "witness") not in self._settings.witnesses:
            self._stirred()
            return await self._carried(frame)
        if name != "latest":  # asked every minute, by itself
            self._stirred()
        self.busy += 1
        try:
            return await self._answered(name, frame)
        finally:
            self.busy -= 1

    async def _answered(self, name: object, frame: Frame) -> Frame | None:
        match name:
            case "fetch":
                await self._fetch(frame)
                return None
            case "publish":
                for path, content in zip(published_paths(frame), frame.parts, strict=True):
                    self._store.write_log(path, content)
                return Frame({"ok": True, "message": ""})
            case "witness":
                return await self.witness(frame)
            case "latest":
                witness = text_field(frame.message, "witness")
                if witness in self._settings.witnesses:
                    return await self.latest(frame)
                return _said(self._questions.latest(witness, text_field(frame.message, "origin")))
            case "timestamp":
                return await self.timestamp(frame)
        raise MalformedError("errand: unknown name", code="unknown-errand")

    async def _carried(self, frame: Frame) -> Frame:
        if len(frame.parts) != 1:
            raise MalformedError("errand: wanted one part", code="unknown-errand")
        return _said(await self._questions.cosign(text_field(frame.message, "witness"), frame.parts[0]))

    async def _fetch(self, frame: Frame) -> None:
        sha256, size = text_field(frame.message, "sha256"), number_field(frame.message, "size")
        if not self._store.has(sha256):
            raise UnavailableError(f"artifact {sha256[:16]}… is on no medium that came in", code="no-artifact")
        await self._link().send_blob(number_field(frame.message, "errand"), size, self._store.stream(sha256))


def _said(said: Said) -> Frame:
    status, body = said
    return Frame({"ok": True, "message": "", "status": status}, (body,))
