# SPDX-License-Identifier: Apache-2.0
"""Errands for the gate: bytes in, bytes out, to addresses that stand in the courier's own settings."""

from __future__ import annotations

import asyncio
import re
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager

from signwright.errors import MalformedError, UnavailableError
from signwright.model.framing import Frame
from signwright.signer.channel import number_field, text_field
from signwright.signer.courier.gate import GateLink
from signwright.signer.courier.http import UNREACHABLE, HttpClient
from signwright.signer.courier.hub import Hub
from signwright.signer.courier.settings import CourierSettings
from signwright.timestamps.query import QUERY_TYPE, REPLY_TYPE
from signwright.transparency.note import MAX_NOTE
from signwright.transparency.witnessing import MAX_ANSWER

#: A token with a long chain and a CRL stays well below.
MAX_REPLY = 1 << 20
_MAX_PATHS = 256
_SHA256 = re.compile("[0-9a-f]{64}")


class Relay:
    """Questions to witnesses and timestamp authorities over HTTP. Raises `UnavailableError` and `MalformedError`."""

    def __init__(self, settings: CourierSettings, client: HttpClient) -> None:
        self._settings = settings
        self._client = client

    async def witness(self, frame: Frame) -> Frame:
        url = _address(self._settings.witnesses, text_field(frame.message, "witness"), "witness")
        headers = {"content-type": "text/plain; charset=utf-8"}
        seconds = self._settings.witness_seconds
        return await self._post(f"{url.rstrip('/')}/add-checkpoint", frame, headers, seconds=seconds, limit=MAX_ANSWER)

    async def latest(self, frame: Frame) -> Frame:
        """The latest checkpoint that a witness cosigned of the log whose origin has this SHA-256."""
        url = _address(self._settings.witnesses, text_field(frame.message, "witness"), "witness")
        origin = text_field(frame.message, "origin")
        if not _SHA256.fullmatch(origin):
            raise MalformedError("errand latest: wanted the SHA-256 of an origin", code="unknown-errand")
        seconds = self._settings.witness_seconds
        return await self._call(
            "GET", f"{url.rstrip('/')}/{origin}/checkpoint", b"", {}, seconds=seconds, limit=MAX_NOTE
        )

    async def timestamp(self, frame: Frame) -> Frame:
        name = text_field(frame.message, "authority")
        url = _address(self._settings.timestamp_authorities, name, "timestamp authority")
        headers = {"content-type": QUERY_TYPE, "accept": REPLY_TYPE}
        return await self._post(url, frame, headers, seconds=self._settings.timestamp_seconds, limit=MAX_REPLY)

    async def _post(self, url: str, frame: Frame, headers: dict[str, str], *, seconds: float, limit: int) -> Frame:
        if len(frame.parts) != 1:
            raise MalformedError("errand: wanted one part", code="unknown-errand")
        return await self._call("POST", url, frame.parts[0], headers, seconds=seconds, limit=limit)

    async def _call(
        self, method: str, url: str, content: bytes, headers: dict[str, str], *, seconds: float, limit: int
    ) -> Frame:
        """One call with one deadline for everything; redirects are not followed."""
        try:
            async with asyncio.timeout(seconds):
                answer = await self._client.call(
                    method, url, content=content, headers=headers, seconds=seconds, limit=limit
                )
        except TimeoutError as problem:
            raise UnavailableError(f"{url}: no answer within {seconds:.0f} s", code="errand-timeout") from problem
        except UnavailableError as problem:
            code = "errand-unreachable" if problem.code == UNREACHABLE else problem.code
            raise UnavailableError(f"{url}: {problem.message}", code=code) from problem
        return Frame({"ok": True, "message": "", "status": answer.status}, (answer.body,))


class GateErrands(Relay, ABC):
    """Every errand of a gate, by name. ``link``: gives the connection that is open now; where artifacts come from and
    the log goes to is the courier's. Raises `UnavailableError` and `MalformedError`.
    """

    def __init__(self, settings: CourierSettings, client: HttpClient, *, link: Callable[[], GateLink]) -> None:
        super().__init__(settings, client)
        self._link = link

    @abstractmethod
    def artifact(self, sha256: str) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """The blocks of an artifact."""

    @abstractmethod
    async def publish(self, paths: Sequence[str], contents: Sequence[bytes]) -> None:
        """Files of the log; their paths are the gate's."""

    async def run(self, frame: Frame) -> Frame | None:
        """The answer to an errand; None when the bytes themselves are the answer."""
        match frame.message.get("name"):
            case "fetch":
                await self._fetch(frame)
                return None
            case "witness":
                return await self.witness(frame)
            case "latest":
                return await self.latest(frame)
            case "timestamp":
                return await self.timestamp(frame)
            case "publish":
                await self.publish(_published_paths(frame), frame.parts)
                return Frame({"ok": True, "message": ""})
        raise MalformedError("errand: unknown name", code="unknown-errand")

    async def _fetch(self, frame: Frame) -> None:
        sha256, size = text_field(frame.message, "sha256"), number_field(frame.message, "size")
        async with self.artifact(sha256) as blocks:
            await self._link().send_blob(number_field(frame.message, "errand"), size, blocks)


class Errands(GateErrands):
    """Those of a courier with a network: artifacts from the hub, and the log to it."""

    def __init__(
        self, settings: CourierSettings, hub: Hub, client: HttpClient, *, link: Callable[[], GateLink]
    ) -> None:
        super().__init__(settings, client, link=link)
        self._hub = hub

    def artifact(self, sha256: str) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        return self._hub.artifact(sha256)

    async def publish(self, paths: Sequence[str], contents: Sequence[bytes]) -> None:
        await self._hub.publish(paths, contents)


def _published_paths(frame: Frame) -> list[str]:
    """Where each part of a ``publish`` belongs; raises `MalformedError`."""
    paths = frame.message.get("paths")
    if not isinstance(paths, list) or len(paths) != len(frame.parts) or len(paths) > _MAX_PATHS:
        raise MalformedError("errand publish: wanted a path for each part", code="unknown-errand")
    return [str(path) for path in paths]


def _address(addresses: Mapping[str, str], name: str, what: str) -> str:
    if name not in addresses:
        raise UnavailableError(f"{what} {name!r} has no address in the courier's settings", code="no-address")
    return addresses[name]
