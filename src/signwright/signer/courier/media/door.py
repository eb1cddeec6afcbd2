# SPDX-License-Identifier: Apache-2.0
"""The media courier's own socket: whoever stands at the machine hands in a medium, or takes one.

The command line opens the file and passes its descriptor (``SCM_RIGHTS``, unix(7)): what is on a medium is read by the
courier's user, which holds no key that signs and, in a vault, has no network. One call at a time; each is one byte with
or without a descriptor, a frame ``{"verb": …}``, then frames ``progress`` and one frame ``done``.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import stat
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import structlog

from signwright.errors import ConfigurationError, SignwrightError, UsageError
from signwright.model.framing import encode_frame, read_frame
from signwright.signer.channel import text_field
from signwright.signer.users import peer_user

_log = structlog.get_logger("signwright.courier")

#: A peer that says nothing is hung up on.
_WORD_SECONDS = 10.0
_PROGRESS_SECONDS = 0.2

#: Says how far a call is: (what, done, of how many); zero of zero where nobody knows.
Tell = Callable[[str, int, int], None]
#: Does a verb with the descriptor that came along, or None; its members go into the last frame.
Verb = Callable[[int | None, Tell], Awaitable[dict[str, object]]]


class Door:
    """``verbs``: by name. Heard are root and this very user."""

    def __init__(self, path: Path, verbs: Mapping[str, Verb]) -> None:
        self._path = path
        self._verbs = verbs

    async def run(self, *, on_ready: Callable[[], None] = lambda: None) -> None:
        """Serve until cancelled; raises `ConfigurationError` when there can be no socket."""
        listener = _bound(self._path)
        try:
            on_ready()
            while True:
                connection = await _accepted(listener)
                try:
                    await self._serve(connection)
                except (SignwrightError, OSError, EOFError) as problem:
                    _log.warning("media", reason=str(problem))
                finally:
                    connection.close()
        finally:
            listener.close()
            self._path.unlink(missing_ok=True)

    async def _serve(self, connection: socket.socket) -> None:
        if peer_user(connection) not in {0, os.getuid()}:
            return
        descriptor, verb = await asyncio.to_thread(_asked, connection)
        try:
            tell = _Teller(connection)
            try:
                answer = {"ok": True, **await self._verb(verb)(descriptor, tell)}
            except SignwrightError as problem:
                answer = {"ok": False, "kind": type(problem).__name__, "code": problem.code}
                answer |= {"message": problem.message, "hint": problem.hint}
            except OSError as problem:
                answer = {"ok": False, "kind": "UsageError", "code": "medium"}
                answer |= {"message": f"the medium: {problem.strerror}"}
            await asyncio.to_thread(connection.sendall, encode_frame({"type": "done", **answer}))
        finally:
            if descriptor is not None:
                with contextlib.suppress(OSError):
                    os.close(descriptor)

    def _verb(self, name: str) -> Verb:
        if name not in self._verbs:
            raise UsageError(f"the courier knows no verb {name[:40]!r}", code="unknown-verb")
        return self._verbs[name]


class _Teller:
    """Frames about progress, now and then; may be called from any thread. A peer that went away is not told."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._said = (float("-inf"), "")

    def __call__(self, what: str, done: int, of: int) -> None:
        now = time.monotonic()
        if what == self._said[1] and now - self._said[0] < _PROGRESS_SECONDS and done < of:
            return
        self._said = now, what
        with contextlib.suppress(OSError):
            self._connection.sendall(encode_frame({"type": "progress", "what": what, "done": done, "of": of}))


def _asked(connection: socket.socket) -> tuple[int | None, str]:
    """The descriptor and the verb of a call; raises `OSError`, `EOFError` and `MalformedError`."""
    connection.settimeout(_WORD_SECONDS)
    first, descriptors, _, _ = socket.recv_fds(connection, 1, 4)
    for extra in descriptors[1:]:
        os.close(extra)
    try:
        if not first:
            raise EOFError("it hung up")
        return (descriptors[0] if descriptors else None), text_field(read_frame(_exactly(connection)).message, "verb")
    except BaseException:
        for descriptor in descriptors[:1]:
            os.close(descriptor)
        raise


def _exactly(connection: socket.socket) -> Callable[[int], bytes]:
    def exactly(count: int) -> bytes:
        piece = bytearray()
        while len(piece) < min(count, 1 << 16):  # a verb is short
            block = connection.recv(count - len(piece))
            if not block:
                raise EOFError("it hung up")
            piece += block
        return bytes(piece)

    return exactly


async def _accepted(listener: socket.socket) -> socket.socket:
    connection, _ = await asyncio.get_running_loop().sock_accept(listener)
    connection.setblocking(True)
    return connection


def _bound(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        if path.exists() and not stat.S_ISSOCK(path.stat().st_mode):
            raise ConfigurationError(f"media socket {path}: something else is there", code="listen")
        path.unlink(missing_ok=True)
        listener.bind(str(path))
        listener.listen(4)
        listener.setblocking(False)
    except (OSError, ConfigurationError) as problem:
        listener.close()
        raise ConfigurationError(f"media socket {path}: {problem}", code="listen") from problem
    finally:
        os.umask(before)
    return listener
