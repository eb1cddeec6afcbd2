# SPDX-License-Identifier: Apache-2.0
"""A small HTTP server in the place that another process has just left."""

from __future__ import annotations

import socketserver
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from signwright.errors import UnavailableError

_PATIENCE_SECONDS = 10.0


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A caller that hung up while it waited is nothing to print."""

    def server_bind(self) -> None:
        """Without the look-up of our own name, which may take long where there is no name server."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "liar", self.server_address[1]


class QuietHandler(BaseHTTPRequestHandler):
    """Keeps connections open and writes no log."""

    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is the base class's
        """Nothing: what counts is what the signer does."""

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("content-length", "0")))

    def answer(self, status: int, content: bytes = b"", *, kind: str = "application/json", close: bool = False) -> None:
        """``close``: the caller is not to come back on this connection, when somebody else has our place again."""
        self.send_response(status)
        if status != 204:
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(content)))
        if close:
            self.send_header("connection", "close")
        self.end_headers()
        self.wfile.write(content)


def listen(address: tuple[str, int], handler: type[QuietHandler]) -> ThreadingHTTPServer:
    """Take ``address`` as soon as it is free; raises `UnavailableError`."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            return _Server(address, handler)
        except OSError as problem:
            if time.monotonic() > deadline:
                raise UnavailableError(f"{address[0]}:{address[1]}: {problem.strerror}", code="listen") from problem
            time.sleep(0.05)


def address_of(url: str) -> tuple[str, int]:
    """Host and port; raises `UnavailableError` for a URL that names no port."""
    parts = urlsplit(url)
    if parts.hostname is None or parts.port is None:
        raise UnavailableError(f"{url}: no host and port", code="listen")
    return parts.hostname, parts.port
