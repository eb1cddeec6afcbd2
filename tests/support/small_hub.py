# SPDX-License-Identifier: Apache-2.0
"""A small real HTTP server that answers as a test tells it: for the client's behaviour on a bad network."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Call:
    """One call as it came in; ``headers``: lower-case names."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Reply:
    """``drop``: close the connection without a word."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b"{}"
    drop: bool = False
    #: Read at most so many bytes of the body, then drop.
    read: int | None = None


@dataclass
class SmallHub:
    url: str
    calls: list[Call]


@contextmanager
def small_hub(answer: Callable[[Call, int], Reply]) -> Iterator[SmallHub]:
    """``answer``: (call, how many came before) → reply. For a reply with ``read`` it sees an empty body first."""
    calls: list[Call] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            call = Call(self.command, self.path, headers, b"")
            reply = answer(call, len(calls))
            length = int(headers.get("content-length", "0"))
            call.body = self.rfile.read(length if reply.read is None else reply.read)
            calls.append(call)
            if reply.drop or reply.read is not None:
                self.close_connection = True
                return
            self.send_response(reply.status)
            for name, value in {"content-length": str(len(reply.body)), **reply.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(reply.body)

        do_GET = do_POST = do_PUT = do_HEAD = _serve

        def log_message(self, *args: object) -> None:
            """Silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield SmallHub(f"http://127.0.0.1:{server.server_address[1]}", calls)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
