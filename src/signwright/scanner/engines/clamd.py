# SPDX-License-Identifier: Apache-2.0
"""ClamAV's daemon, spoken to as clamd(8) describes: FILDES over a Unix socket, INSTREAM over TCP.

clamd answers ``OK`` for files that it did not look at when they are larger than its limits, unless ``AlertExceedsMax
yes`` is set; `Clamd.prove` therefore offers a file beyond its hard limit of 2 GiB and refuses a daemon that calls it
clean.
"""

from __future__ import annotations

import os
import re
import socket
import struct
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from signwright.errors import ConfigurationError, LimitError, UnavailableError
from signwright.scanner.engines.base import EICAR, EngineInfo

_MAX_ANSWER = 4096
_CHUNK = 1 << 20
_OVERSIZE = (1 << 31) + 4096
#: Rule names that mean "not looked at", not "found".
_LIMITS = ("Heuristics.Limits.", "Heuristics.Encrypted.")
_VERSION = re.compile(r"ClamAV ([^/\s]+)(?:/(\d+)/(.+))?")


class Clamd:
    """``address``: ``unix:/path`` or ``tcp:HOST:PORT`` (loopback). ``seconds``: the longest silence that is waited for.

    ``max_age``: definitions older than this make every scan fail; None accepts any, for databases without a date.
    """

    name = "clamd"

    def __init__(
        self,
        address: str,
        *,
        seconds: float = 300.0,
        max_age: timedelta | None = timedelta(days=7),
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        kind, _, self._place = address.partition(":")
        if kind not in {"unix", "tcp"} or not self._place:
            raise ConfigurationError(f"not an address of clamd: {address!r}; wanted unix:PATH or tcp:HOST:PORT")
        if kind == "tcp" and self._place.rpartition(":")[0] not in {"127.0.0.1", "[::1]", "localhost"}:
            raise ConfigurationError(f"clamd at {address!r} is not on this machine; its protocol protects nothing")
        self._unix = kind == "unix"
        self._seconds = seconds
        self._max_age = max_age
        self._now = now

    def info(self) -> EngineInfo:
        answer = self._command(b"VERSION")
        match = _VERSION.fullmatch(answer)
        if match is None:
            raise UnavailableError(f"clamd names no version: {answer[:80]!r}", code="engine-unavailable")
        version, number, date = match.groups()
        made = _date(date)
        if self._max_age is not None and (made is None or self._now() - made > self._max_age):
            found = f"of {made:%Y-%m-%d}" if made else "without a date"
            raise UnavailableError(f"clamd's definitions are {found}, older than allowed", code="engine-stale")
        definitions = f"{number} {made:%Y-%m-%dT%H:%M:%SZ}" if made else "local database without a date"
        return EngineInfo(self.name, version, definitions)

    def prove(self) -> None:
        with tempfile.TemporaryFile() as file:
            file.write(EICAR)
            file.flush()
            if not self._scan(file.fileno()):
                raise ConfigurationError("clamd does not find the EICAR test file", code="engine-blind")
            os.ftruncate(file.fileno(), 0)
            os.ftruncate(file.fileno(), _OVERSIZE)
            try:
                self._scan(file.fileno())
            except (LimitError, UnavailableError):
                return
            raise ConfigurationError(
                f"clamd calls a file of {_OVERSIZE} bytes clean, which it cannot have read",
                code="engine-oversize",
                hint="set 'AlertExceedsMax yes' in clamd.conf",
            )

    @contextmanager
    def session(self, files: Sequence[int]) -> Iterator[_ClamdSession]:
        yield _ClamdSession(self, files)

    def scan_descriptor(self, descriptor: int) -> tuple[str, ...]:
        return self._scan(descriptor)

    def _scan(self, descriptor: int) -> tuple[str, ...]:
        answer = self._by_descriptor(descriptor) if self._unix else self._by_stream(descriptor)
        if self._unix and answer.startswith("UNKNOWN COMMAND"):
            answer = self._by_stream(descriptor)
        _, _, result = answer.rpartition(": ")
        if result == "OK":
            return ()
        if result.endswith(" FOUND"):
            rule = result.removesuffix(" FOUND")
            if rule.startswith(_LIMITS):
                raise LimitError(f"clamd did not look at everything: {rule}", code="engine-limit")
            return (rule,)
        raise UnavailableError(f"clamd did not scan: {answer[:200]!r}", code="engine-failed")

    def _by_descriptor(self, descriptor: int) -> str:
        os.lseek(descriptor, 0, os.SEEK_SET)
        with self._connected() as channel:
            channel.sendall(b"zFILDES\0")
            socket.send_fds(channel, [b"\0"], [descriptor])
            return _answer(channel)

    def _by_stream(self, descriptor: int) -> str:
        with self._connected() as channel:
            try:
                channel.sendall(b"zINSTREAM\0")
                offset = 0
                while block := os.pread(descriptor, _CHUNK, offset):
                    channel.sendall(struct.pack(">L", len(block)) + block)
                    offset += len(block)
                channel.sendall(struct.pack(">L", 0))
            except (BrokenPipeError, ConnectionResetError):
                pass  # it has had enough, and says so
            return _answer(channel)

    def _command(self, command: bytes) -> str:
        with self._connected() as channel:
            channel.sendall(b"z" + command + b"\0")
            return _answer(channel)

    @contextmanager
    def _connected(self) -> Iterator[socket.socket]:
        try:
            with self._connect() as channel:
                yield channel
        except OSError as problem:
            raise UnavailableError(f"clamd does not answer: {problem}", code="engine-unavailable") from problem

    def _connect(self) -> socket.socket:
        if not self._unix:
            host, _, port = self._place.rpartition(":")
            return socket.create_connection((host.strip("[]"), int(port)), timeout=self._seconds)
        channel = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        channel.settimeout(self._seconds)
        try:
            channel.connect(self._place)
        except BaseException:
            channel.close()
            raise
        return channel


class _ClamdSession:
    def __init__(self, clamd: Clamd, files: Sequence[int]) -> None:
        self._clamd = clamd
        self._files = files

    def scan(self, index: int) -> tuple[str, ...]:
        return self._clamd.scan_descriptor(self._files[index])


def _answer(channel: socket.socket) -> str:
    content = b""
    while not content.endswith(b"\0"):
        piece = channel.recv(_MAX_ANSWER)
        content += piece
        if not piece or len(content) > _MAX_ANSWER:
            raise UnavailableError(f"clamd broke off: {content[:80]!r}", code="engine-unavailable")
    return content.rstrip(b"\0").decode("utf-8", "replace").strip()


def _date(text: str | None) -> datetime | None:
    """The date of the definitions, which clamd writes like ``ctime``, in local time; a day more or less does not
    matter.
    """
    try:
        return datetime.strptime(text or "", "%a %b %d %H:%M:%S %Y").replace(tzinfo=UTC)
    except ValueError:
        return None
