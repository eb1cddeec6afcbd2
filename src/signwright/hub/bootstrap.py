# SPDX-License-Identifier: Apache-2.0
"""Where the hub is put together, started and stopped."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import socket
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import structlog
import uvicorn
from sqlalchemy import Engine

from signwright.errors import ConfigurationError, SignwrightError
from signwright.hub.adapters.artifacts import ArtifactStore
from signwright.hub.adapters.database.database import Database, migrate, open_engine
from signwright.hub.adapters.database.keeping import (
    add_keepers_word,
    add_policy,
    keepers_words_of,
    newest_policies,
    stored_sessions,
)
from signwright.hub.adapters.database.records import Notices
from signwright.hub.adapters.scanner_socket import ScannerSocket
from signwright.hub.background import Background
from signwright.hub.policies import open_bundle, read_folder
from signwright.hub.service import Hub, PolicyInForce, WaitingPolicy
from signwright.hub.settings import HubSettings
from signwright.hub.standing import Standing, opened_word
from signwright.hub.wakeups import Wakeups
from signwright.hub.web.app import create_app
from signwright.hub.web.auth import Keyring, Nonces
from signwright.policy.succession import policy_leaf

log = structlog.get_logger()

GRACE_SECONDS = 10


def system_clock() -> datetime:
    """The one place where the hub looks at the time of day."""
    return datetime.now(UTC)


def assemble(settings: HubSettings, *, clock: Callable[[], datetime] = system_clock) -> Hub:
    """Open or make everything a hub stores, and take the newest policy into force; blocking."""
    data = Path(settings.data_dir)
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    engine = open_engine(settings.database)
    migrate(engine)
    database = Database(engine, clock=lambda: int(clock().timestamp()))
    try:
        current, waiting = _newest_policies(settings, engine, database, now=clock())
        hub = Hub(
            settings=settings,
            database=database,
            store=ArtifactStore(data / "artifacts"),
            scanner=ScannerSocket(Path(settings.scanner_socket) if settings.scanner_socket else None),
            keyring=Keyring(lambda: hub.policy, courier_key=settings.courier_key, revoked=lambda: hub.revoked),
            wakeups=Wakeups(),
            current=current,
            waiting=waiting,
            clock=clock,
            log_folder=data / "log",
        )
        _take_up_words(hub, engine)
        _reopen_sessions(hub, engine)
    except BaseException:
        database.close()
        raise
    return hub


def _newest_policies(
    settings: HubSettings, engine: Engine, database: Database, *, now: datetime
) -> tuple[PolicyInForce, WaitingPolicy | None]:
    """The stored policy or the folder's, whichever has the higher version, and one that waits.

    Each is verified against the pinned root.
    """
    pinned = settings.policy_root_sha256
    with engine.connect() as connection:
        stored, waits = newest_policies(connection)
    known = PolicyInForce(*open_bundle(stored, pinned_root_sha256=pinned)) if stored is not None else None
    waiting = None
    if waits is not None:
        since = datetime.fromtimestamp(waits[1], UTC)
        waiting = WaitingPolicy(*open_bundle(waits[0], pinned_root_sha256=pinned), since)
    try:
        policy, bundle = read_folder(Path(settings.policy_dir), pinned_root_sha256=pinned)
    except SignwrightError as problem:
        if known is None:
            raise ConfigurationError(f"no policy to start with: {problem.message}", code="no-policy") from problem
        log.warning("policy folder not used", detail=problem.message)
        return known, waiting
    newest = waiting or known
    if known is not None and newest is not None and policy.version <= newest.policy.version:
        return known, waiting
    if known is not None and policy_leaf(known.policy, policy, now=now).delay_hours > 0:
        database.submit(partial(add_policy, policy=policy, bundle=bundle, who="hub", now=now, waits=True)).result()
        return known, WaitingPolicy(policy, bundle, now)
    database.submit(partial(add_policy, policy=policy, bundle=bundle, who="hub", now=now)).result()
    return PolicyInForce(policy, bundle), None


def _take_up_words(hub: Hub, engine: Engine) -> None:
    """What keepers said before, and the folder's freshness statement when it is newer."""
    with engine.connect() as connection:
        hub.set_standing(Standing(tuple(keepers_words_of(connection))))
    try:
        content = (Path(hub.settings.policy_dir) / "freshness.json").read_bytes()
    except OSError:
        return  # a hub of which the keepers' clients renew it
    try:
        word, _ = opened_word(hub.policy, "freshness", content, now=hub.clock())
        before = hub.standing.freshness
        if before is not None and word.number <= before.number:
            return
        hub.database.submit(partial(add_keepers_word, word=word, ends=(), who="hub", now=hub.clock())).result()
    except SignwrightError as problem:
        log.warning("freshness of the policy folder not used", code=problem.code, detail=problem.message)
        return
    hub.set_standing(hub.standing.with_word(word, ()))


def _reopen_sessions(hub: Hub, engine: Engine) -> None:
    now = hub.clock()
    with engine.connect() as connection:
        stored = stored_sessions(connection, now=int(now.timestamp()))
    for content in stored:
        try:
            hub.keyring.add(hub.keyring.open(content, now=now), now=now)
        except SignwrightError as problem:
            log.info("session not reopened", code=problem.code)


class _Server(uvicorn.Server):
    """uvicorn, told to wake our long polls before it waits for them."""

    def __init__(self, config: uvicorn.Config, *, ready: Callable[[], None], closing: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready
        self._closing = closing

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        if self.started:
            self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._closing()
        await super().shutdown(sockets=sockets)


async def serve(settings: HubSettings, *, ready_file: Path | None) -> None:
    """Run until SIGTERM or SIGINT. Prints ``ready URL`` once the first call can be served."""
    configure_logs(settings.log_level)
    hub = assemble(settings)
    loop = asyncio.get_running_loop()
    background = Background(hub)
    listener = _listener(settings)
    url = f"http://{settings.host}:{listener.getsockname()[1]}"
    nonces = Nonces(Path(settings.data_dir) / "nonces", now=int(hub.clock().timestamp()))
    hub.database.on_commit = partial(_notify, loop, hub.wakeups)
    config = uvicorn.Config(
        create_app(hub, nonces=nonces),
        lifespan="off",
        ws="none",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    server = _Server(config, ready=partial(_tell_ready, url, ready_file), closing=hub.wakeups.close)
    for ending in (signal.SIGTERM, signal.SIGINT):
        # uvicorn takes the signal, stops, and raises it again for whoever was there before; we end by ourselves.
        signal.signal(ending, lambda *_: None)
    try:
        background.start()
        await hub.decide_all_again()
        await server.serve(sockets=[listener])
    finally:
        hub.wakeups.close()
        await background.stop()
        hub.threads.shutdown(wait=True, cancel_futures=True)
        hub.store.close()
        await asyncio.to_thread(hub.database.close)
        nonces.close()


def _notify(loop: asyncio.AbstractEventLoop, wakeups: Wakeups, notices: Notices) -> None:
    if notices.records or notices.job_kinds:
        loop.call_soon_threadsafe(wakeups.notify, notices)


def _listener(settings: HubSettings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((settings.host, settings.port))
    except OSError as problem:
        listener.close()
        raise ConfigurationError(
            f"cannot listen on {settings.host}:{settings.port}: {problem.strerror}", code="address-in-use"
        ) from problem
    return listener


def _tell_ready(url: str, ready_file: Path | None) -> None:
    if ready_file is not None:
        temporary = ready_file.with_name(ready_file.name + ".new")
        temporary.write_text(json.dumps({"url": url}) + "\n", encoding="ascii")
        temporary.replace(ready_file)
    print(f"ready {url}", flush=True)


def configure_logs(level: str) -> None:
    """JSON lines on stderr. Nothing is logged but what a call site names; bodies, keys and signatures never are."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
