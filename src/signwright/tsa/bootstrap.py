# SPDX-License-Identifier: Apache-2.0
"""Puts the authority together: settings, key, serial numbers, socket, server."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import sys
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

import structlog
import uvicorn

from signwright.errors import ConfigurationError
from signwright.tsa.keys import load_issuer
from signwright.tsa.serials import Serials
from signwright.tsa.settings import Settings
from signwright.tsa.web import make_app


def serve(settings: Settings, ready_file: Path | None) -> None:
    """Stamp until SIGTERM or SIGINT; requests under way are finished.

    When the port accepts connections, ``ready http://HOST:PORT`` is printed and the address written to ``ready_file``.
    Raises `ConfigurationError` before the port is opened.
    """
    structlog.configure(
        processors=[structlog.processors.TimeStamper(fmt="iso", utc=True), structlog.processors.JSONRenderer()],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    issuer = load_issuer(settings, _now())
    with closing(Serials(settings.state_file, secrets.token_bytes)) as serials:
        app = make_app(issuer, next_serial=serials.next_serial, now=_now)
        config = uvicorn.Config(
            app, log_config=None, access_log=False, server_header=False, lifespan="off", timeout_graceful_shutdown=5
        )
        with closing(_listen(settings)) as listener:
            # uvicorn raises the signal again after it has shut down; with this handler below its own that is harmless.
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, _ignore)
            _Server(config, ready_file).run(sockets=[listener])


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, ready_file: Path | None) -> None:
        super().__init__(config)
        self._ready_file = ready_file

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if not self.started or not sockets:
            return
        host, port = sockets[0].getsockname()[:2]
        url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        if self._ready_file is not None:
            unfinished = self._ready_file.with_name(self._ready_file.name + ".new")
            unfinished.write_text(url + "\n", encoding="ascii")
            os.replace(unfinished, self._ready_file)
        print(f"ready {url}", flush=True)


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server((settings.host, settings.port), family=family, backlog=128)
    except OSError as problem:
        raise ConfigurationError(
            f"{settings.host}:{settings.port}: {problem.strerror}", code="cannot-listen"
        ) from problem


def _ignore(number: int, frame: FrameType | None) -> None:
    """A signal that the server has acted on."""


def _now() -> datetime:
    return datetime.now(UTC)
