# SPDX-License-Identifier: Apache-2.0
"""Where the courier is put together: key, HTTP clients, the loop."""

from __future__ import annotations

import asyncio
import os
import signal
import ssl
import sys
from collections.abc import Callable
from pathlib import Path

import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from httpx import create_ssl_context

from signwright.errors import ConfigurationError
from signwright.signer.courier.errands import Errands
from signwright.signer.courier.http import HttpClient
from signwright.signer.courier.hub import Hub
from signwright.signer.courier.media.bootstrap import serve_media
from signwright.signer.courier.rounds import Courier
from signwright.signer.courier.settings import CourierSettings
from signwright.statements.keyfile import load_seed


def load_key(path: str) -> Ed25519PrivateKey:
    """The transport key; raises `ConfigurationError` when the file is missing, wrong or open to others."""
    try:
        with open(path, encoding="utf-8") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read(1024)
    except (OSError, UnicodeDecodeError) as problem:
        raise ConfigurationError(f"courier key {path}: {type(problem).__name__}", code="bad-key-file") from problem
    if mode & 0o077:
        raise ConfigurationError(f"courier key {path}: mode {mode & 0o777:o}; wanted 600", code="bad-key-file")
    return load_seed(content)


async def serve(settings: CourierSettings, *, ready_file: Path | None) -> None:
    """Carry until SIGTERM or SIGINT. Prints ``ready`` when the gate is connected."""
    structlog.configure(
        processors=[structlog.processors.add_log_level, structlog.processors.JSONRenderer()],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)

    def say_ready() -> None:
        if ready_file is not None:
            draft = ready_file.with_name(f"{ready_file.name}.new")
            draft.write_text(f"{settings.gate}\n", encoding="utf-8")
            draft.replace(ready_file)
        print("ready", flush=True)

    if settings.media is not None:
        work = serve_media(settings, settings.media, load=load_key, ready=say_ready)
    else:
        work = _serve_online(settings, say_ready)
    running = asyncio.create_task(work)
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
    for task in (running, stopping):
        task.cancel()
    for outcome in await asyncio.gather(running, stopping, return_exceptions=True):
        if isinstance(outcome, Exception):
            raise outcome


async def _serve_online(settings: CourierSettings, ready: Callable[[], None]) -> None:
    key = load_key(settings.key_file)
    verify = ssl.create_default_context(cafile=settings.ca_file)
    async with (
        HttpClient(tls=verify, base=settings.hub) as to_hub,
        HttpClient(tls=create_ssl_context(trust_env=False)) as elsewhere,
    ):
        hub = Hub(to_hub, key)
        courier = Courier(settings, hub, errands=lambda link: Errands(settings, hub, elsewhere, link=link))
        await courier.run(on_ready=ready)
