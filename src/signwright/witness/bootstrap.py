# SPDX-License-Identifier: Apache-2.0
"""Where the witness is put together: key file, state, socket, server."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import sys
from datetime import UTC, datetime
from pathlib import Path

import structlog
import uvicorn

from signwright.errors import ConfigurationError, MalformedError
from signwright.transparency.note import COSIGNATURE_V1
from signwright.transparency.signing import SignerKey
from signwright.witness.app import create_app
from signwright.witness.cosigner import Cosigner
from signwright.witness.settings import WitnessSettings
from signwright.witness.store import Store, create_store

_MAX_KEY_FILE = 1024


def create_state(settings: WitnessSettings) -> SignerKey:
    """Make the state, and the key file unless it is there. Returns the key; raises `ConfigurationError`."""
    path = Path(settings.key_file)
    if not path.exists():
        key = SignerKey(settings.name, COSIGNATURE_V1, secrets.token_bytes(32))
        _write_new(path, key.encode() + "\n")
    key = read_key(settings)
    create_store(Path(settings.database))
    return key


def read_key(settings: WitnessSettings) -> SignerKey:
    """The secret key; raises `ConfigurationError` when the file is missing, wrong, or readable by others."""
    path = Path(settings.key_file)
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read(_MAX_KEY_FILE)
        key = SignerKey.parse(content.decode("utf-8").removesuffix("\n"), algorithm=COSIGNATURE_V1)
    except (OSError, UnicodeDecodeError, MalformedError) as problem:
        reason = problem.strerror if isinstance(problem, OSError) else "not a signer key for cosignatures"
        raise ConfigurationError(f"witness key {path}: {reason}", code="bad-key-file") from None
    if os.name == "posix" and mode & 0o077:
        raise ConfigurationError(f"witness key {path}: mode {mode & 0o777:o}; wanted 600", code="bad-key-file")
    if key.name != settings.name:
        raise ConfigurationError(f"witness key {path}: of {key.name!r}; wanted {settings.name!r}", code="bad-key-file")
    return key


def serve(settings: WitnessSettings, *, ready_file: Path | None) -> None:
    """Run until SIGTERM or SIGINT. Once it listens, prints ``ready URL`` and writes the URL to ``ready_file``."""
    structlog.configure(
        processors=[structlog.processors.add_log_level, structlog.processors.JSONRenderer()],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    key = read_key(settings)
    store = Store(Path(settings.database))
    try:
        cosigner = Cosigner(key, store, logs=settings.logs, clock=lambda: datetime.now(UTC))
        listener = _listen(settings)
        config = uvicorn.Config(
            create_app(cosigner),
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="none",
            server_header=False,
            limit_concurrency=256,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=5,
        )
        # The server raises the signal that ended it once more when it has shut down; that is no error here.
        for ending in (signal.SIGTERM, signal.SIGINT):
            signal.signal(ending, lambda *_: None)
        _Server(config, url=_url(listener), ready_file=ready_file).run(sockets=[listener])
    finally:
        store.close()


class _Server(uvicorn.Server):
    """Says that it is ready when it accepts connections."""

    def __init__(self, config: uvicorn.Config, *, url: str, ready_file: Path | None) -> None:
        super().__init__(config)
        self._url = url
        self._ready_file = ready_file

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self._ready_file is not None:
            draft = self._ready_file.with_name(f"{self._ready_file.name}.new")
            draft.write_text(f"{self._url}\n", encoding="utf-8")
            draft.replace(self._ready_file)
        print(f"ready {self._url}", flush=True)


def _listen(settings: WitnessSettings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((settings.host, settings.port))
        listener.listen(256)
    except OSError as problem:
        listener.close()
        where = f"{settings.host}:{settings.port}"
        raise ConfigurationError(f"witness: cannot listen on {where}: {problem.strerror}", code="listen") from problem
    return listener


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _write_new(path: Path, text: str) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as problem:
        raise ConfigurationError(f"{path}: cannot be made: {problem.strerror}", code="bad-key-file") from problem
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
