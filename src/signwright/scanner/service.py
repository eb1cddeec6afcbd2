# SPDX-License-Identifier: Apache-2.0
"""The scanner's Unix socket: one artifact a connection.

The asker sends one byte with the artifact's descriptor (SCM_RIGHTS), then a frame ``{"scan": {"name", "sha256",
"size"}}``. The scanner sends ``{"progress": {"scanned", "members"}}`` every two seconds while it works and at the
end either
``{"verdict": "clean" | "infected" | "unscannable"}`` with the signed statement as part 0, or ``{"error": {"code",
"message"}}``.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from signwright.errors import AuthenticationError, ConfigurationError, MalformedError, SignwrightError
from signwright.model.framing import Frame, encode_frame, read_frame, reader
from signwright.model.text import check_text
from signwright.scanner.scan import Progress, Scanner, Subject

HEARTBEAT_SECONDS = 2.0
_ASK_SECONDS = 10.0
_BACKLOG = 64

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Service:
    """``now``: the clock of the verdicts; ``users``: user ids that may ask; ``parallel``: scans at a time."""

    scanner: Scanner
    key: Ed25519PrivateKey
    now: Callable[[], datetime]
    users: frozenset[int]
    parallel: int

    def serve(self, listener: socket.socket, stopping: threading.Event) -> None:
        """Accept until ``stopping``; then finish nothing: an asker whose scan is cut off has no verdict."""
        slots = threading.BoundedSemaphore(self.parallel)
        listener.settimeout(0.2)
        while not stopping.is_set():
            try:
                channel, _ = listener.accept()
            except TimeoutError:
                continue
            threading.Thread(target=self._converse, args=(channel, slots), daemon=True).start()

    def _converse(self, channel: socket.socket, slots: threading.BoundedSemaphore) -> None:
        with channel, contextlib.suppress(OSError, EOFError):
            try:
                self._check_peer(channel)
                with _asked(channel) as (subject, artifact):
                    message, parts = self._answer(channel, slots, subject, artifact)
            except SignwrightError as problem:
                log.info("scan refused", code=problem.code)
                message, parts = {"error": {"code": problem.code, "message": problem.message}}, ()
            channel.sendall(encode_frame(message, parts))

    def _check_peer(self, channel: socket.socket) -> None:
        size = struct.calcsize("3i")
        _, user, _ = struct.unpack("3i", channel.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
        if user not in self.users:
            raise AuthenticationError(f"user {user} may not ask this scanner")

    def _answer(
        self, channel: socket.socket, slots: threading.BoundedSemaphore, subject: Subject, artifact: int
    ) -> tuple[dict[str, object], tuple[bytes, ...]]:
        progress = Progress()
        with _heartbeat(channel, progress), slots:
            verdict = self.scanner.scan(artifact, subject, progress)
        envelope = verdict.signed(subject.name, subject.sha256, key=self.key, created=self.now())
        log.info("scanned", sha256=subject.sha256, verdict=verdict.verdict, members=verdict.members)
        return {"verdict": verdict.verdict}, (envelope.encode(),)


@contextlib.contextmanager
def _asked(channel: socket.socket) -> Iterator[tuple[Subject, int]]:
    """The asker's subject and descriptor, which is closed at the end."""
    channel.settimeout(_ASK_SECONDS)
    _, descriptors, _, _ = socket.recv_fds(channel, 1, 4)
    try:
        if len(descriptors) != 1:
            raise MalformedError("exactly one descriptor is wanted", code="bad-descriptor")
        frame = read_frame(reader(channel))
        channel.settimeout(None)
        yield _subject(frame), descriptors[0]
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def _subject(frame: Frame) -> Subject:
    match frame.message:
        case {"scan": {"name": str(name), "sha256": str(sha256), "size": int(size)}} if 0 < len(name) <= 1024:
            if len(sha256) == 64 and set(sha256) <= set("0123456789abcdef") and type(size) is int and size >= 0:
                return Subject(check_text(name, "name"), sha256, size)
    raise MalformedError('wanted {"scan": {"name", "sha256", "size"}}', code="bad-request")


@contextlib.contextmanager
def _heartbeat(channel: socket.socket, progress: Progress) -> Iterator[None]:
    """Send progress while the block runs. Nobody else writes to ``channel`` meanwhile."""
    over = threading.Event()

    def beat() -> None:
        with contextlib.suppress(OSError):
            while not over.wait(HEARTBEAT_SECONDS):
                row = {"scanned": progress.scanned, "members": progress.members}
                channel.sendall(encode_frame({"progress": row}))

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _free(path: Path) -> None:
    """Remove a socket file that a killed scanner left; raises `ConfigurationError` when a living one answers on it."""
    if not path.is_socket():
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as channel:
        try:
            channel.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
    raise ConfigurationError(f"another scanner answers on {path}", code="bad-socket")


def listen(path: Path) -> socket.socket:
    """A listening Unix socket at ``path``, mode 0660. A socket file that nobody answers on is replaced.

    Raises `ConfigurationError`.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _free(path)
        before = os.umask(0o117)
        try:
            listener.bind(str(path))
        finally:
            os.umask(before)
        listener.listen(_BACKLOG)
    except OSError as problem:
        listener.close()
        raise ConfigurationError(f"cannot listen on {path}: {problem}", code="bad-socket") from problem
    except BaseException:
        listener.close()
        raise
    return listener
