# SPDX-License-Identifier: Apache-2.0
"""Somebody between client and hub, who passes every call on and changes the answers that a test wants changed."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

#: (method, path with query, body of the true answer) to the body that the client gets; None leaves it as it is.
Change = Callable[[str, str, bytes], bytes | None]
_HOP = frozenset({"connection", "transfer-encoding", "content-length", "keep-alive", "date", "server"})


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    target: tuple[str, int]
    change: Change

    def _pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", "0")))
        there = http.client.HTTPConnection(*self.target, timeout=60)
        try:
            there.request(self.command, self.path, body=body or None, headers=dict(self.headers.items()))
            answer = there.getresponse()
            content = answer.read()
            status, headers = answer.status, answer.getheaders()
        finally:
            there.close()
        changed = self.change(self.command, self.path, content)
        self.send_response(status)
        for name, value in headers:
            if name.lower() not in _HOP:
                self.send_header(name, value)
        self.send_header("content-length", str(len(content if changed is None else changed)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content if changed is None else changed)

    do_GET = do_POST = do_PUT = do_HEAD = _pass_on

    def log_message(self, *_: object) -> None:
        """Silent."""


@contextmanager
def in_the_middle(url: str, change: Change) -> Iterator[str]:
    """The address of a server that changes what the hub at ``url`` answers."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    names = {"target": (parts.hostname, parts.port), "change": staticmethod(change)}
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), names))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
