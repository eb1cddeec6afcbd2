# SPDX-License-Identifier: Apache-2.0
"""The courier's HTTP calls against a server that says, byte for byte, what a test tells it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable

import pytest
import uvloop

from signwright.errors import SignwrightError, UnavailableError
from signwright.signer.courier.http import MAX_HEAD, MAX_WAITING, UNREACHABLE, Answer, HttpClient

OK = b"HTTP/1.1 200 OK\r\n"
EMPTY = OK + b"content-length: 0\r\n\r\n"
LOOPS = [asyncio.new_event_loop, uvloop.new_event_loop]


class Server:
    """Reads one call at a time and answers with the next of ``answers``; ``end``: hang up after so many calls."""

    def __init__(self, *answers: bytes, end: int | None = None) -> None:
        self.answers, self.end = list(answers), end
        self.heads: list[bytes] = []
        self.bodies: list[bytes] = []
        self.connections = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while self.answers:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next((line[16:] for line in head.split(b"\r\n") if line.startswith(b"content-length: ")), b"0")
                self.heads.append(head)
                self.bodies.append(await reader.readexactly(int(length)))
                writer.write(self.answers.pop(0))
                await writer.drain()
                if self.end is not None and len(self.heads) >= self.end:
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            return


def with_server(
    server: Server, work: Callable[[HttpClient, str], Awaitable[object]], *, loop: Callable[[], object] = LOOPS[1]
) -> object:
    handlers: set[asyncio.Task[None]] = set()

    async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handlers.add(asyncio.current_task())  # type: ignore[arg-type]
        try:
            await server.serve(reader, writer)
        except asyncio.CancelledError:
            return
        finally:
            writer.transport.abort() if server.end is None else writer.close()

    async def run() -> object:
        listener = await asyncio.start_server(served, "127.0.0.1", 0)
        port = listener.sockets[0].getsockname()[1]
        try:
            async with HttpClient(tls=ssl.create_default_context(), base=f"http://127.0.0.1:{port}") as client:
                return await work(client, f"127.0.0.1:{port}")
        finally:
            listener.close()
            for handler in handlers:
                handler.cancel()
            await asyncio.gather(*handlers)
            await listener.wait_closed()

    with asyncio.Runner(loop_factory=loop) as runner:  # type: ignore[arg-type]
        return runner.run(run())


async def post(client: HttpClient, content: bytes = b"", *, limit: int = 1 << 20, seconds: float = 10) -> Answer:
    return await client.call("POST", "/x?y=1", content=content, headers={"a": "b"}, seconds=seconds, limit=limit)


def refused(server: Server, *, limit: int = 1 << 20, seconds: float = 10) -> SignwrightError:
    with pytest.raises(UnavailableError) as problem:
        with_server(server, lambda client, _: post(client, b"ask", limit=limit, seconds=seconds))
    return problem.value


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize(
    "answer",
    [
        OK + b"content-length: 5\r\n\r\nhello",
        OK + b"transfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
        OK + b"connection: close\r\n\r\nhello",
        b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"content-length: 5\r\n\r\nhello",
    ],
)
def test_every_way_to_end_a_body_is_read(answer: bytes, loop: Callable[[], object]) -> None:
    server = Server(answer, end=1)
    assert with_server(server, lambda client, _: post(client, b"ask"), loop=loop) == Answer(200, b"hello")
    assert server.bodies == [b"ask"]


def test_call_is_written_as_asked() -> None:
    server = Server(EMPTY)
    host = with_server(server, lambda client, host: asyncio.gather(post(client, b"ask"), asyncio.sleep(0, host)))[1]  # type: ignore[index]
    lines = server.heads[0].decode().split("\r\n")
    assert lines[0] == "POST /x?y=1 HTTP/1.1"
    assert set(lines[1:-2]) == {f"host: {host}", "accept-encoding: identity", "content-length: 3", "a: b"}


def test_calls_one_after_the_other_share_a_connection() -> None:
    async def work(client: HttpClient, _: str) -> list[int]:
        return [(await post(client)).status for _ in range(3)]

    server = Server(EMPTY, b"HTTP/1.1 404 No\r\ncontent-length: 2\r\n\r\nno", EMPTY)
    assert with_server(server, work) == [200, 404, 200]
    assert server.connections == 1


@pytest.mark.parametrize(
    "first",
    [
        OK + b"connection: close\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n",
        EMPTY + EMPTY,
    ],
)
def test_connection_that_ends_or_says_too_much_is_not_used_again(first: bytes) -> None:
    async def work(client: HttpClient, _: str) -> list[object]:
        outcomes: list[object] = []
        for _ in range(2):
            try:
                outcomes.append((await post(client)).body)
            except UnavailableError as problem:
                outcomes.append(problem.code)
        return outcomes

    server = Server(first, OK + b"content-length: 3\r\n\r\nnew")
    assert with_server(server, work)[-1] == b"new"  # type: ignore[index]
    assert server.connections == 2


def test_connection_that_was_closed_meanwhile_is_replaced() -> None:
    async def work(client: HttpClient, _: str) -> list[int]:
        found = [(await post(client)).status]
        await asyncio.sleep(0.05)  # the end of the connection arrives
        return [*found, (await post(client)).status]

    server = Server(EMPTY, EMPTY, end=1)
    assert with_server(server, work) == [200, 200]
    assert server.connections == 2


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200",
        OK,
        OK + b"content-length: 5\r\n\r\nhell",
        OK + b"transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        OK + b"content-length: 5\r\ncontent-length: 6\r\n\r\nhello",
        OK + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\nhello",
        b"HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n",
        OK + b"a: " + b"x" * (2 * MAX_HEAD),
    ],
)
def test_answer_that_is_not_whole_http_is_no_answer(answer: bytes) -> None:
    assert refused(Server(answer, end=1)).code == UNREACHABLE


def test_body_beyond_the_limit_is_refused() -> None:
    assert refused(Server(OK + b"content-length: 5\r\n\r\nhello", end=1), limit=4).code == "answer-too-large"


def test_silence_ends_the_call() -> None:
    assert refused(Server(OK + b"content-length: 5\r\n\r\nhell"), seconds=0.05).code == UNREACHABLE


def test_nobody_there_is_an_error() -> None:
    async def run() -> None:
        async with HttpClient(tls=ssl.create_default_context(), base="http://127.0.0.1:9") as client:
            await post(client)

    with pytest.raises(UnavailableError) as problem:
        asyncio.run(run())
    assert problem.value.code == UNREACHABLE


@pytest.mark.parametrize("loop", LOOPS)
def test_large_bodies_go_both_ways_and_wait_for_a_slow_reader(loop: Callable[[], object]) -> None:
    size = 8 * MAX_WAITING

    async def work(client: HttpClient, _: str) -> int:
        got = 0
        content = b"q" * size
        async with client.stream("POST", "/x", content=content, headers={}, seconds=10) as (status, blocks):
            assert status == 200
            async for block in blocks:
                await asyncio.sleep(0.001)
                got += len(block)
        return got

    server = Server(OK + b"content-length: %d\r\n\r\n" % size + b"a" * size)
    assert with_server(server, work, loop=loop) == size
    assert server.bodies == [b"q" * size]


def test_answer_before_the_end_of_the_question_is_heard() -> None:
    """A server that refuses a large body says so and closes; the rest is not sent as if it were another call."""

    class Impatient(Server):
        async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.connections += 1
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 413 Large\r\ncontent-length: 0\r\n\r\n")
            await writer.drain()
            while await reader.read(1 << 16):
                pass

    async def work(client: HttpClient, _: str) -> list[int]:
        return [(await post(client, b"q" * (32 << 20))).status for _ in range(2)]

    server = Impatient()
    assert with_server(server, work) == [413, 413]


def test_error_of_whoever_reads_passes_as_it_is() -> None:
    async def work(client: HttpClient, _: str) -> None:
        async with client.stream("GET", "/x", headers={}, seconds=10):
            raise UnavailableError("the gate is gone", code="blob-refused")

    with pytest.raises(UnavailableError) as problem:
        with_server(Server(OK + b"content-length: 5\r\n\r\nhello"), work)
    assert problem.value.code == "blob-refused"


@pytest.mark.parametrize("url", ["ftp://a/", "http://", "http://a:99999/", "nothing"])
def test_other_addresses_are_refused(url: str) -> None:
    async def run() -> None:
        async with HttpClient(tls=ssl.create_default_context()) as client:
            await client.call("POST", url, headers={}, seconds=1, limit=1)

    with pytest.raises(UnavailableError):
        asyncio.run(run())


def test_login_and_other_letters_in_an_address_are_written_for_http() -> None:
    async def work(client: HttpClient, host: str) -> None:
        await client.call("POST", f"http://me:se%20cret@{host}/ü?q=ä", headers={}, seconds=10, limit=1)

    server = Server(EMPTY)
    with_server(server, work)
    assert b"authorization: Basic bWU6c2UgY3JldA==\r\n" in server.heads[0]
    assert server.heads[0].startswith(b"POST /%C3%BC?q=%C3%A4 HTTP/1.1\r\n")
