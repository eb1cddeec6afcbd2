# SPDX-License-Identifier: Apache-2.0
"""The courier's HTTP/1.1 calls: few, small, to the same few servers, over connections that stay open.

Answers are parsed by httptools (llhttp, strict). Redirects, cookies, proxies of the environment and content encodings
are not for a relay: nothing of them is followed, kept, used or asked for.
"""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Self, cast
from urllib.parse import quote, unquote, urlsplit

import httptools

from signwright.errors import UnavailableError

#: An idle connection is not used any more after so long: servers close theirs after 5 s.
IDLE_SECONDS = 4.0
MOST_CONNECTIONS, MOST_IDLE = 128, 16
#: Bytes of an answer's head; bytes that wait to be taken before the sender has to wait.
MAX_HEAD, MAX_WAITING = 64 << 10, 1 << 20
_BLOCK = 256 << 10
#: Code of every error that means: no answer. Others, and errors of whoever reads a body, pass as they are.
UNREACHABLE = "unreachable"
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer of any status."""

    status: int
    body: bytes

    @property
    def is_success(self) -> bool:
        return self.status // 100 == 2


@dataclass(frozen=True, slots=True)
class _Address:
    """Where a URL leads. ``fields``: head lines that every call to it has."""

    host: str
    port: int
    tls: bool
    target: str
    fields: str


@lru_cache(maxsize=1024)
def _address(url: str) -> _Address:
    """Raises `UnavailableError` for what is no HTTP address."""
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").encode("idna").decode("ascii"), parts.port or _PORTS[parts.scheme]
    except (ValueError, KeyError) as problem:
        raise UnavailableError("not an address for HTTP", code=UNREACHABLE) from problem
    shown = f"[{host}]" if ":" in host else host
    if port != _PORTS[parts.scheme]:
        shown += f":{port}"
    fields = f"host: {shown}\r\naccept-encoding: identity\r\n"
    if parts.username is not None:
        login = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
        fields += f"authorization: Basic {base64.b64encode(login).decode()}\r\n"
    path = quote(parts.path or "/", safe="/%:@!$&'()*+,;=-._~")
    query = quote(parts.query, safe="/%:@!$&'()*+,;=-._~?")
    if not host:
        raise UnavailableError("not an address for HTTP", code=UNREACHABLE)
    return _Address(host, port, parts.scheme == "https", f"{path}?{query}" if query else path, fields)


class _Connection(asyncio.Protocol):
    """One connection with at most one call under way. ``problem``: why there will be no more of the answer."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._parser: httptools.HttpResponseParser | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._writable = True
        self._waiting = 0
        self._head = 0
        self._delimited = False
        self._keep = False
        self.idle_since = 0.0
        self.status = 0
        self.blocks: deque[bytes] = deque()
        self.complete = True
        self.problem = ""

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one without saying so

    def data_received(self, data: bytes) -> None:
        if self._parser is None:  # nobody asked
            self.close("it spoke out of turn")
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self.close("its answer is not HTTP")
        if not self.status:
            self._head += len(data)
            if self._head > MAX_HEAD:
                self.close("the head of its answer is too long")
        elif self._waiting > MAX_WAITING and self._transport is not None:
            self._transport.pause_reading()
        self._wake()

    def connection_lost(self, problem: Exception | None) -> None:
        if self._parser is not None and self.status and not (self._delimited or problem or self.problem):
            self.complete = True  # what has no length ends with the connection
        self._transport, self._keep = None, False
        self.problem = self.problem or "it hung up"
        self._wake()

    def pause_writing(self) -> None:
        self._writable = False

    def resume_writing(self) -> None:
        self._writable = True
        self._wake()

    # What the parser calls.

    def on_message_begin(self) -> None:
        if self.complete:
            self.close("it spoke out of turn")

    def on_header(self, name: bytes, _value: bytes) -> None:
        self._delimited = self._delimited or name.lower() in {b"content-length", b"transfer-encoding"}

    def on_headers_complete(self) -> None:
        assert self._parser is not None
        status = self._parser.get_status_code()
        if status >= 200:  # below are news on the way to the answer
            self.status, self._keep = status, self._parser.should_keep_alive()

    def on_body(self, block: bytes) -> None:
        self.blocks.append(block)
        self._waiting += len(block)

    def on_message_complete(self) -> None:
        self.complete = self.status > 0

    # What a call does.

    @property
    def reusable(self) -> bool:
        return self._transport is not None and self.complete and self._keep and not self._transport.is_closing()

    async def send(self, head: bytes, content: bytes, *, seconds: float) -> None:
        """Write a whole call, and wait until the answer begins or it is known that none will come."""
        self._parser, self.complete = httptools.HttpResponseParser(self), False
        self.status, self._head, self._waiting, self._delimited, self._keep = 0, 0, 0, False, False
        self.blocks.clear()
        if len(content) <= _BLOCK:
            self._write(head + content)
        else:
            self._write(head)
            view = memoryview(content)
            for at in range(0, len(content), _BLOCK):
                while not self._writable and not self.status and not self.problem:
                    await self._change(seconds)
                if self.status or self.problem:
                    # An answer before the end of the question: the rest of it would be taken for another call.
                    self._keep = False
                    break
                self._write(view[at : at + _BLOCK])
        while not self.status and not self.problem:
            await self._change(seconds)
        if not self.status:
            raise UnavailableError(self.problem, code=UNREACHABLE)

    async def receive(self, *, seconds: float) -> AsyncIterator[bytes]:
        """The body of the answer, in pieces as they come."""
        while True:
            while self.blocks:
                block = self.blocks.popleft()
                self._waiting -= len(block)
                yield block
            if self.complete:
                return
            if self.problem:
                raise UnavailableError(self.problem, code=UNREACHABLE)
            if self._transport is not None and not self._transport.is_reading():
                self._transport.resume_reading()
            await self._change(seconds)

    def rest(self, *, now: float) -> None:
        """The call is over."""
        self._parser, self.idle_since = None, now

    def close(self, problem: str = "the call was given up") -> None:
        self.problem, self._keep = self.problem or problem, False
        if self._transport is not None:
            self._transport.abort()

    def _write(self, content: bytes | memoryview) -> None:
        if self._transport is not None:
            self._transport.write(content)

    async def _change(self, seconds: float) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(seconds):
                await self._waiter
        except TimeoutError as problem:
            raise UnavailableError(f"nothing for {seconds:.0f} s", code=UNREACHABLE) from problem

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class HttpClient:
    """``base``: what a URL without a host is appended to; ``tls``: how servers are verified.

    Every method raises `UnavailableError` when there is no whole answer. ``seconds`` bounds each wait: for the
    connection, for the other side to take bytes or to send some. Leaving its context ends idle connections.
    """

    def __init__(self, *, tls: ssl.SSLContext, base: str = "") -> None:
        self._tls = tls
        self._base = base.rstrip("/")
        self._idle: defaultdict[tuple[str, int, bool], list[_Connection]] = defaultdict(list)
        self._open = asyncio.Semaphore(MOST_CONNECTIONS)

    async def call(
        self, method: str, url: str, *, content: bytes = b"", headers: Mapping[str, str], seconds: float, limit: int
    ) -> Answer:
        """The answer, with a body of at most ``limit`` bytes."""
        body = bytearray()
        async with self.stream(method, url, content=content, headers=headers, seconds=seconds) as (status, blocks):
            async for block in blocks:
                body += block
                if len(body) > limit:
                    raise UnavailableError(f"an answer of more than {limit} bytes", code="answer-too-large")
        return Answer(status, bytes(body))

    @asynccontextmanager
    async def stream(
        self, method: str, url: str, *, content: bytes = b"", headers: Mapping[str, str], seconds: float
    ) -> AsyncIterator[tuple[int, AsyncIterator[bytes]]]:
        """Status and body of the answer. A body that is not read to its end costs the connection."""
        address = _address(self._base + url if url.startswith("/") else url)
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        length = "" if method == "GET" else f"content-length: {len(content)}\r\n"
        head = f"{method} {address.target} HTTP/1.1\r\n{address.fields}{length}{lines}\r\n".encode("ascii")
        async with self._open:
            connection = self._rested(address) or await self._connect(address, seconds)
            try:
                await connection.send(head, content, seconds=seconds)
                yield connection.status, connection.receive(seconds=seconds)
            finally:
                self._put_back(address, connection)

    def _rested(self, address: _Address) -> _Connection | None:
        """A connection that is open and idle, the one that was used last."""
        idle, now = self._idle[address.host, address.port, address.tls], asyncio.get_running_loop().time()
        while idle:
            connection = idle.pop()
            if connection.reusable and now - connection.idle_since < IDLE_SECONDS:
                return connection
            connection.close()
        return None

    async def _connect(self, address: _Address, seconds: float) -> _Connection:
        tls = self._tls if address.tls else None
        try:
            async with asyncio.timeout(seconds):
                _, connection = await asyncio.get_running_loop().create_connection(
                    _Connection, address.host, address.port, ssl=tls, server_hostname=address.host if tls else None
                )
        except TimeoutError as problem:
            raise UnavailableError(f"no connection within {seconds:.0f} s", code=UNREACHABLE) from problem
        except OSError as problem:
            raise UnavailableError(problem.strerror or type(problem).__name__, code=UNREACHABLE) from problem
        return connection

    def _put_back(self, address: _Address, connection: _Connection) -> None:
        connection.rest(now=asyncio.get_running_loop().time())
        idle = self._idle[address.host, address.port, address.tls]
        if connection.reusable and len(idle) < MOST_IDLE:
            idle.append(connection)
        else:
            connection.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for idle in self._idle.values():
            while idle:
                idle.pop().close()
        await asyncio.sleep(0)  # the event loop closes what was hung up
