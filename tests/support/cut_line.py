# SPDX-License-Identifier: Apache-2.0
"""A line to a server that is cut while something is sent: a small TCP relay on loopback."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Sequence
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit


class CutLine:
    """``cuts``: after how many bytes towards the server the first, second ... long connection is cut.

    Only connections that carry so much are; ``cut`` counts them, ``carried`` the bytes of all towards the server.
    """

    def __init__(self, url: str, *, cuts: Sequence[int]) -> None:
        parts = urlsplit(url)
        self._server = (parts.hostname or "127.0.0.1", parts.port or 80)
        self._left = list(cuts)
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self.cut = self.carried = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        self._begin(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for one in list(self._open):
            _hang_up(one)
        for thread in list(self._threads):
            thread.join(10)

    def _begin(self, work: object, *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._server)
                self._open |= {client, server}
                self._begin(self._carry, client, server, True)
                self._begin(self._carry, server, client, False)

    def _carry(self, source: socket.socket, target: socket.socket, counted: bool) -> None:
        sent = 0
        with contextlib.suppress(OSError):
            while block := source.recv(1 << 16):
                target.sendall(block)
                sent += len(block)
                if counted and self._is_cut(len(block), sent):
                    break
        _hang_up(source)
        _hang_up(target)

    def _is_cut(self, length: int, sent: int) -> bool:
        with self._lock:
            self.carried += length
            if self._left and sent >= self._left[0]:
                self._left.pop(0)
                self.cut += 1
                return True
            return False


def _hang_up(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()
