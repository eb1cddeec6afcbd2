# SPDX-License-Identifier: Apache-2.0
"""Where the gate is put together: settings, keys, state, log, keyholder, workers, socket."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import stat
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from signwright.errors import ConfigurationError, DeniedError, MalformedError, SignwrightError
from signwright.model.framing import Frame
from signwright.model.times import format_time
from signwright.policy.following import AIR_GAP_PROFILE
from signwright.signer.gate.ahead import WitnessesAhead
from signwright.signer.gate.console import Console
from signwright.signer.gate.counters import UsageCounters
from signwright.signer.gate.custodian import Custodian
from signwright.signer.gate.cycle import Cycle, Parts, close_unfinished
from signwright.signer.gate.deliver import Delivery
from signwright.signer.gate.deny import DenyBook
from signwright.signer.gate.errands import Errands
from signwright.signer.gate.heartbeat import HubEvents, beat
from signwright.signer.gate.key_operations import run_key_operation
from signwright.signer.gate.keyholder import KeyholderClient
from signwright.signer.gate.log import Log, load_frontier
from signwright.signer.gate.policy import GateKeys, PolicyHolder, log_signer
from signwright.signer.gate.publish import Publisher
from signwright.signer.gate.server import Peers, Server, Verb
from signwright.signer.gate.settings import GateSettings, load_key
from signwright.signer.gate.state import State, create_state
from signwright.signer.gate.tiles import TileFiles
from signwright.signer.gate.timestamps import Timestamps
from signwright.signer.gate.verify import Verifier
from signwright.signer.gate.witnesses import Witnesses
from signwright.signer.gate.words import KeepersWords
from signwright.signer.users import Users
from signwright.signer.worker.client import Workers
from signwright.signer.worker.pool import WorkerPool
from signwright.timestamps.authorities import Patience

#: How often a policy that waits is looked at.
POLICY_SECONDS = 5.0


def now_utc() -> datetime:
    return datetime.now(UTC)


def create(settings: GateSettings, *, root_sha256: str) -> None:
    """Genesis: empty state and log for a policy root. What a first start made that failed later on is left as it is;
    raises `ConfigurationError` when there is any other state already.
    """
    if len(root_sha256) != 64 or set(root_sha256) - set("0123456789abcdef"):
        raise ConfigurationError("--genesis wants the SHA-256 of a policy root in hex", code="bad-root-digest")
    if settings.tiles.exists() and any(settings.tiles.iterdir()):
        raise ConfigurationError(f"{settings.tiles} holds a log already", code="state")
    settings.tiles.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not _just_made(settings.database, root_sha256):
        create_state(settings.database, root_sha256=root_sha256)


def _just_made(database: Path, root_sha256: str) -> bool:
    """True for the state of this very root before its first leaf."""
    if not database.exists():
        return False
    with contextlib.closing(State(database)) as state:
        pinned = state.pinned()
    return (pinned.root_sha256, pinned.origin, pinned.log_size) == (root_sha256, None, 0)


@dataclass(slots=True)
class Gate:
    """All parts of a running gate. `assemble` makes it, `serve` is its life."""

    settings: GateSettings
    parts: Parts
    publisher: Publisher
    server: Server
    ahead: WitnessesAhead

    async def serve(self, *, on_ready: Callable[[], None], stop: asyncio.Event) -> None:
        """Until ``stop``, or until keyholder or log fail, which raises `SignwrightError`."""
        parts = self.parts
        runs = [
            parts.log.run(),
            parts.keyholder.run(),
            self.publisher.run(),
            parts.denials.run(),
            beat(parts.log, seconds=self.settings.limits.epoch_seconds, now=parts.now),
            self._tend_policy(),
            self.ahead.run(),
            self._start(on_ready),
        ]
        tasks = [asyncio.create_task(run) for run in runs]
        ended = asyncio.create_task(stop.wait())
        try:
            pending = {*tasks, ended}
            while not ended.done():
                done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()  # a part that fails takes the gate with it
        finally:
            for task in [*tasks, ended]:
                task.cancel()
            await asyncio.gather(*tasks, ended, return_exceptions=True)
            await self.server.close()
            await parts.keyholder.close()

    async def _start(self, on_ready: Callable[[], None]) -> None:
        """What was left unfinished is closed before anybody is heard."""
        parts = self.parts
        status = await parts.keyholder.status()
        self._check_keyholder(status)
        if parts.policies.current is not None:
            await close_unfinished(parts.state, parts.log, now=parts.now())
            await self._hand_on_policy(status)
        listening = await self.server.listen(Path(self.settings.socket))
        async with listening:
            on_ready()
            await asyncio.gather(listening.serve_forever(), parts.keyholder.read_log(parts.log))

    def _check_keyholder(self, status: dict[str, object]) -> None:
        if status.get("profile") != self.settings.profile:
            raise ConfigurationError(
                f"the keyholder runs as profile {status.get('profile')}, the gate as {self.settings.profile}",
                code="bad-settings",
            )
        seen = status.get("log")
        size = seen.get("size") if isinstance(seen, dict) else None
        if isinstance(seen, dict) and isinstance(size, int) and size:
            try:
                self.parts.log.check_seen(size, bytes.fromhex(str(seen.get("root"))))
            except SignwrightError as problem:
                raise ConfigurationError(
                    f"the keyholder has seen another log than the gate has: {problem.message}", code="log-damaged"
                ) from problem

    async def _hand_on_policy(self, status: dict[str, object]) -> None:
        """Every policy that the keyholder has not seen, one after the other: each is checked against the one before."""
        held = status.get("policy")
        version = int(held["version"]) if isinstance(held, dict) else 0
        parts = self.parts
        try:
            for stored in parts.state.policies_after(version):
                await parts.keyholder.load_policy(stored)
            await parts.words.hand_on()
        except DeniedError as problem:
            raise ConfigurationError(
                f"the keyholder refuses the gate's policy: {problem.message}", code=problem.code
            ) from problem

    async def _tend_policy(self) -> None:
        """Put a policy that waits in force when its time has come, whoever is or is not there to ask for it."""
        parts = self.parts
        while True:
            await asyncio.sleep(POLICY_SECONDS)
            if parts.policies.waiting is not None:
                with contextlib.suppress(SignwrightError):
                    await parts.policies.advance(parts.log, parts.keyholder)


class _Verbs:
    """Messages of the courier beside ``sign``."""

    def __init__(self, parts: Parts, events: HubEvents) -> None:
        self._parts = parts
        self._events = events

    def handlers(self) -> dict[str, Verb]:
        """By message type."""
        return {
            "policy": self.policy,
            "status": self.status,
            "hub-events": self.hub_events,
            "freshness": self.freshness,
            "halt": self.halt,
            "resume": self.resume,
            "key-operation": self.key_operation,
        }

    async def policy(self, frame: Frame) -> dict[str, object]:
        names = frame.message.get("documents")
        if (
            not isinstance(names, list)
            or not all(isinstance(name, str) for name in names)
            or len(frame.parts) != len(names) + 2
        ):
            raise MalformedError("policy message: wanted names of documents and two parts more than names")
        documents = dict(zip(names, frame.parts[2:], strict=True))
        root, policy = frame.parts[:2]
        parts = self._parts
        accepted = await parts.policies.accept(root, policy, documents, log=parts.log, keyholder=parts.keyholder)
        until = accepted.waits_until
        return {"ok": True, "version": accepted.version, "waits_until": format_time(until) if until else None}

    async def freshness(self, frame: Frame) -> dict[str, object]:
        return await self._parts.words.take_freshness(_only_part(frame))

    async def halt(self, frame: Frame) -> dict[str, object]:
        return await self._parts.words.take_halt(_only_part(frame))

    async def resume(self, frame: Frame) -> dict[str, object]:
        return await self._parts.words.take_resume(_only_part(frame))

    async def key_operation(self, frame: Frame) -> dict[str, object]:
        return await run_key_operation(self._parts, _only_part(frame))

    async def status(self, _frame: Frame) -> dict[str, object]:
        parts = self._parts
        current, witnessed = parts.policies.current, parts.log.witnessed
        policy = {"version": current.policy.version, "sha256": current.policy.sha256} if current else None
        return {
            "ok": True,
            "policy": policy,
            "log": {"size": parts.log.size, "cosigned": witnessed.checkpoint.size if witnessed else 0},
            "sandbox": await asyncio.to_thread(lambda: parts.workers.pool.sandbox),
            "profile": parts.profile,
            "waiting_policy": parts.policies.waiting.policy.version if parts.policies.waiting else None,
            "halts": parts.words.halts() if current else [],
            "freshness": parts.words.number,
            "custodian": {"custodian": parts.custodian.settings.custodian, "waiting": parts.custodian.count},
            "keyholder": await parts.keyholder.status(),
        }

    async def hub_events(self, frame: Frame) -> dict[str, object]:
        return await self._events.record(frame)


def _only_part(frame: Frame) -> bytes:
    if len(frame.parts) != 1:
        raise MalformedError(f"{len(frame.parts)} parts; wanted the one envelope")
    return frame.parts[0]


def _ahead_of(log: Log, policies: PolicyHolder, errands: Errands, *, seconds: float) -> WitnessesAhead:
    """Whether a witness has seen more than the log that this process found."""
    return WitnessesAhead(
        errands,
        policies.services,
        lambda: log.signer,
        log.check_seen,
        lambda: log.size,
        size=log.size,
        root=log.frontier.root(),
        seconds=seconds,
    )


def _server(parts: Parts, errands: Errands, users: Users | None) -> Server:
    """The gate's socket, with everything that may be said there."""
    limits = parts.limits
    events = HubEvents(parts.log, seconds=limits.epoch_seconds, now=parts.now, monotonic=time.monotonic)
    return Server(
        Cycle(parts),
        errands,
        verbs=_Verbs(parts, events).handlers(),
        console=Console(parts.custodian, parts.policies, parts.words).verbs(),
        requests=limits.requests,
        peers=Peers.of(users),
    )


async def assemble(
    settings: GateSettings,
    *,
    keyholder: KeyholderClient,
    workers: Workers,
    state: State,
    users: Users | None = None,
    now: Callable[[], datetime] = now_utc,
) -> Gate:
    """Put the parts together; raises `ConfigurationError` when state, keys and tiles do not fit each other.

    ``users``: whom the socket hears; None for this process's own user.
    """
    limits = settings.limits
    keys = GateKeys(load_key(settings.order_key), load_key(settings.receipt_key), load_key(settings.log_key))
    patience = Patience(
        deadline=limits.timestamp_seconds,
        attempt=limits.timestamp_attempt_seconds,
        cool_down=limits.timestamp_cool_down_seconds,
    )
    policies = PolicyHolder(state, keys=keys, profile=settings.profile, patience=patience, now=now)
    files, errands = TileFiles(settings.tiles), Errands()
    carried = settings.profile == AIR_GAP_PROFILE
    witnesses = Witnesses(
        errands, state, services=policies.services, now=now, seconds=limits.witness_seconds, carried=carried
    )
    origin = state.pinned().origin
    signer = log_signer(keys, origin) if origin is not None else None
    frontier = load_frontier(state, files)
    log = Log(state, files, signer, frontier, witnesses.collect, group=limits.group, carried=carried)
    words = KeepersWords(state, policies, log=log, keyholder=keyholder, now=now)
    counters = UsageCounters(state.usage_since(int((now() - timedelta(days=1)).timestamp())))
    parts = Parts(
        state=state,
        log=log,
        policies=policies,
        keyholder=keyholder,
        errands=errands,
        workers=workers,
        words=words,
        verifier=Verifier(counters, log, words, now=now),
        delivery=Delivery(Timestamps(errands, now=now), workers, keys=keys, profile=settings.profile, now=now),
        counters=counters,
        denials=DenyBook(log, state, now=now, seconds=limits.deny_seconds),
        custodian=Custodian(settings, log, now=now),
        keys=keys,
        limits=limits,
        profile=settings.profile,
        now=now,
    )
    ahead = _ahead_of(log, policies, errands, seconds=limits.witness_seconds)
    witnesses.first = ahead.first
    publisher = Publisher(log, errands)
    log.changed = publisher.wake
    server = _server(parts, errands, users)
    return Gate(settings, parts, publisher, server, ahead)


async def serve(
    settings: GateSettings,
    *,
    keyholder_fd: int,
    worker_command: list[str],
    on_ready: Callable[[], None],
    users: Users | None = None,
) -> None:
    """The whole process: until SIGTERM, or until something that it cannot do without is gone."""
    os.umask(0o077)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if stat.S_ISFIFO(os.fstat(0).st_mode):
        # The launcher holds the other end: when it is gone, even by SIGKILL, so is the gate, and then the keyholder.
        loop.add_reader(0, stop.set)
    async with AsyncExitStack() as stack:
        state = State(settings.database)
        stack.callback(state.close)
        pool = WorkerPool(worker_command, sandbox_none=settings.sandbox == "none", parallel=settings.workers)
        stack.callback(pool.close)
        keyholder = await KeyholderClient.connect(keyholder_fd, seconds=settings.limits.order_seconds)
        gc.freeze()  # what is loaded stays; only what requests leave behind is looked through
        gate = await assemble(settings, keyholder=keyholder, workers=Workers(pool), state=state, users=users)
        await gate.serve(on_ready=on_ready, stop=stop)
