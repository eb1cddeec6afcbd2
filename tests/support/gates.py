# SPDX-License-Identifier: Apache-2.0
"""A real gate in this process, between a courier that can lie and a keyholder that counts each use of its key.

The keyholder double makes all the real checks (`signwright.policy.orders`) and signs with software keys; the courier
double answers errands from a real witness (`signwright.witness`) and a real issuer (`signwright.timestamps.issue`).
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import itertools
import secrets
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from signwright.errors import ConflictError, SignwrightError
from signwright.formats.pe import PeFormat
from signwright.model.framing import Frame
from signwright.model.view import BytesView
from signwright.policy import documents as d
from signwright.policy.policy import Policy, open_policy
from signwright.signer.channel import Channel
from signwright.signer.gate.bootstrap import Gate, assemble, create
from signwright.signer.gate.keyholder import KeyholderClient
from signwright.signer.gate.settings import GateSettings
from signwright.signer.gate.state import State
from signwright.signer.start import signer_command
from signwright.signer.worker.client import Workers
from signwright.signer.worker.pool import WorkerPool
from signwright.statements.dsse import Envelope
from signwright.statements.keyfile import seed_text
from signwright.statements.models import RequestedArtifact, SeenCheckpoint
from signwright.timestamps.issue import Issuer, reply_to
from signwright.transparency.checkpoint import Checkpoint
from signwright.transparency.note import COSIGNATURE_V1, parse_note
from signwright.transparency.signing import SignerKey
from signwright.witness.cosigner import Cosigner
from signwright.witness.settings import LogSettings
from signwright.witness.store import Store, create_store
from tests.support.keyholders import CountingKeyholder, key_identities, now_utc
from tests.support.pe_builder import Pe
from tests.support.pki import default_pki
from tests.support.workers import worker_environment
from tests.support.world import ORIGIN, World

Errand = Callable[[Frame], Awaitable["Answer | None"]]


@dataclass
class Answer:
    """What a courier says about an errand."""

    ok: bool = True
    message: str = ""
    status: int | None = None
    parts: Sequence[bytes] = ()


def organisation(**changes: Any) -> World:
    """A world of now whose keys, certificates and timestamp authority are real."""
    pki = default_pki()
    identities = key_identities()
    world = World(now=now_utc().replace(microsecond=0), **changes)
    anchor = base64.b64encode(pki.root).decode()
    world.authorities = (d.TimestampAuthority(name="builtin", anchors=(anchor,), outside=False),)
    for name, identity in identities.items():
        family = "raw" if name == "test-raw" else "cms"
        entry = world.default_key("release" if name == "release" else "test", family)  # type: ignore[arg-type]
        chain = tuple(base64.b64encode(c).decode() for c in identity.chain) if family == "cms" else ()
        public = base64.b64encode(identity.public_key).decode()
        world.keys[name] = entry.model_copy(update={"public_key": public, "chain": chain})
    return world


def taking(world: World, *rules: d.ArtifactRule, **changes: Any) -> World:
    """The same organisation, whose policies for programs take files of these rules and no others. ``changes``: of these
    policies.
    """
    project: d.Project = world.documents()["projects/default"]  # type: ignore[assignment]
    configurations = {**project.artifact_configurations, "programs": d.ArtifactConfiguration(rules=rules)}
    policies = {
        name: one.model_copy(update=changes if one.artifact_configuration == "programs" else {})
        for name, one in project.signing_policies.items()
    }
    update = {"artifact_configurations": configurations, "signing_policies": policies}
    return world.with_documents(projects_default=project.model_copy(update=update))


class Courier:
    """Honest unless an entry of ``lies`` (errand name → answer) says otherwise."""

    def __init__(self, site: GateSite) -> None:
        self.site = site
        self.lies: dict[str, Errand] = {}
        self.blobs: dict[str, bytes] = {}
        self.published: dict[str, bytes] = {}
        self.errands: list[str] = []
        self.progress: list[str] = []
        self._numbers = itertools.count(1)
        self._replies: dict[int, asyncio.Future[Frame]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.channel: Channel

    async def connect(self) -> None:
        self.channel = Channel(*await asyncio.open_unix_connection(self.site.settings.socket, limit=1 << 20))
        self._start(self._listen())

    def _start(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.channel.close()

    async def _listen(self) -> None:
        with contextlib.suppress(EOFError, OSError):
            while True:
                frame = await self.channel.receive()
                kind = frame.message["type"]
                if kind == "errand":
                    self._start(self._errand(frame))
                elif kind == "progress":
                    self.progress.append(str(frame.message["state"]))
                else:
                    self._replies.pop(frame.message["id"]).set_result(frame)  # type: ignore[call-overload]
        for waiting in self._replies.values():
            waiting.cancel()

    async def _errand(self, frame: Frame) -> None:
        name = str(frame.message["name"])
        self.errands.append(name)
        answer = await self.lies.get(name, getattr(self, f"honest_{name}"))(frame)
        if answer is None:
            return
        message = {"type": "answer", "errand": frame.message["errand"], "ok": answer.ok, "message": answer.message}
        if answer.status is not None:
            message["status"] = answer.status
        with contextlib.suppress(OSError):
            await self.channel.send(message, answer.parts)

    async def honest_fetch(self, frame: Frame) -> Answer | None:
        content = self.blobs.get(str(frame.message["sha256"]))
        if content is None:
            return Answer(ok=False, message="no such artifact")
        await self.send_blob(frame, content)
        return None

    async def send_blob(self, frame: Frame, content: bytes, **changes: object) -> None:
        _, writer = await asyncio.open_unix_connection(self.site.settings.socket)
        channel = Channel(_, writer)
        message = {"type": "blob", "errand": frame.message["errand"], "size": len(content), **changes}
        with contextlib.suppress(OSError):
            await channel.send(message)
            writer.write(content)
            await writer.drain()
        await channel.close()

    async def honest_witness(self, frame: Frame) -> Answer:
        try:
            line = self.site.witness.add_checkpoint(frame.parts[0]).line().encode()
        except ConflictError as problem:
            return Answer(status=409, parts=[f"{problem.details['size']}\n".encode()])
        except SignwrightError as problem:
            return Answer(status=422, parts=[problem.code.encode()])
        return Answer(status=200, parts=[line])

    async def honest_latest(self, frame: Frame) -> Answer:
        try:
            return Answer(status=200, parts=[self.site.witness.latest(str(frame.message["origin"]))])
        except SignwrightError:
            return Answer(status=404)

    async def honest_timestamp(self, frame: Frame) -> Answer:
        serial = secrets.randbits(64) | 1
        reply = reply_to(frame.parts[0], issuer=self.site.issuer, now=now_utc(), next_serial=lambda: serial)
        return Answer(status=200, parts=[reply.reply])

    async def honest_publish(self, frame: Frame) -> Answer:
        self.published.update(zip(frame.message["paths"], frame.parts, strict=True))  # type: ignore[call-overload]
        return Answer()

    async def call(self, message: dict[str, object], parts: Sequence[bytes] = ()) -> Frame:
        number = next(self._numbers)
        reply: asyncio.Future[Frame] = asyncio.get_running_loop().create_future()
        self._replies[number] = reply
        await self.channel.send({**message, "id": number}, parts)
        async with asyncio.timeout(60):
            return await reply

    async def policy(self, parts: tuple[Envelope, Envelope, dict[str, bytes], str]) -> Frame:
        root, index, documents, _ = parts
        message: dict[str, object] = {"type": "policy", "documents": list(documents)}
        return await self.call(message, [root.encode(), index.encode(), *documents.values()])

    async def sign(
        self, request: Envelope, *, approvals: Sequence[Envelope] = (), evidence: Sequence[Envelope] = ()
    ) -> Frame:
        envelopes = [request, *approvals, *evidence]
        message: dict[str, object] = {
            "type": "sign",
            "request": 0,
            "approvals": list(range(1, 1 + len(approvals))),
            "evidence": list(range(1 + len(approvals), len(envelopes))),
        }
        return await self.call(message, [envelope.encode() for envelope in envelopes])


@dataclass
class GateSite:
    """Everything on disk that a gate has, with its world, witness and issuer. `run` starts the gate in this loop."""

    folder: Path
    world: World = field(default_factory=organisation)
    settings_changes: dict[str, Any] = field(default_factory=dict)
    create_state: bool = True
    #: The gate's clock and the keyholder double's; timestamps and witnesses have their own.
    now: Callable[[], datetime] = now_utc
    witness_now: Callable[[], datetime] = now_utc

    def __post_init__(self) -> None:
        keys = {"order": self.world.gate, "receipt": self.world.receipts, "log": self.world.log_private}
        for name, key in keys.items():
            path = self.folder / f"{name}.key"
            path.touch(mode=0o600)
            path.write_text(seed_text(key), encoding="ascii")
        values: dict[str, Any] = {
            "state": str(self.folder / "gate"),
            "socket": str(self.folder / "gate.sock"),
            **{f"{name}_key": str(self.folder / f"{name}.key") for name in keys},
        }
        self.settings = GateSettings.model_validate({**values, **self.settings_changes})
        self.policy_parts = self.world.policy_parts()
        root, index, documents, self.root_sha256 = self.policy_parts
        self.policy: Policy = open_policy(root, index, documents, pinned_root_sha256=self.root_sha256)
        self.keyholder = CountingKeyholder(self.world, self.root_sha256, now=self.now)
        stamping = default_pki().timestamping()
        self.issuer = Issuer(stamping.key, stamping.chain, "1.2.3.4")  # type: ignore[arg-type]
        self.new_witness("witness.sqlite3")
        (self.folder / "gate").mkdir(mode=0o700)
        if self.create_state:
            create(self.settings, root_sha256=self.root_sha256)
        self.changes: Callable[[Gate], None] = lambda _: None

    def new_witness(self, name: str) -> None:
        """A witness with the same key and an empty memory."""
        create_store(self.folder / name)
        self.witness_store = Store(self.folder / name)
        key = SignerKey("w1", COSIGNATURE_V1, self.world.witness_private.private_bytes_raw())
        logs = (LogSettings(origin=ORIGIN, keys=(self.world.log_key,)),)
        self.witness = Cosigner(key, self.witness_store, logs=logs, clock=lambda: self.witness_now())  # noqa: PLW0108 - it may be moved

    def forget_witness(self) -> None:
        """Its memory is taken back to the beginning."""
        self.witness_store.close()
        self.new_witness("forgetful.sqlite3")

    def close(self) -> None:
        self.witness_store.close()

    def seen(self, courier: Courier) -> SeenCheckpoint:
        """What an approver sees who reads the published log."""
        checkpoint = Checkpoint.parse(parse_note(courier.published["checkpoint"]).text)
        return SeenCheckpoint(origin=ORIGIN, size=checkpoint.size, root=checkpoint.root.hex())

    @asynccontextmanager
    async def run(
        self, pool: WorkerPool | None = None, *, policy: bool = True, courier: bool = True
    ) -> AsyncIterator[tuple[Gate, Courier]]:
        """A gate at work with a connected courier; ``courier``: or nobody; ``policy``: the world's is loaded."""
        used = pool or unused_pool()
        state = State(self.settings.database)
        ours, theirs = socket.socketpair()
        served = Channel(*await asyncio.open_unix_connection(sock=theirs))
        keyholder = asyncio.create_task(self.keyholder.serve(served))
        carrier = Courier(self)
        stop, ready = asyncio.Event(), asyncio.Event()
        life: asyncio.Task[None] | None = None
        client: KeyholderClient | None = None
        try:
            client = await KeyholderClient.connect(ours.detach(), seconds=self.settings.limits.order_seconds)
            gate = await assemble(self.settings, keyholder=client, workers=Workers(used), state=state, now=self.now)
            self.changes(gate)
            life = asyncio.create_task(gate.serve(on_ready=ready.set, stop=stop))
            started = asyncio.create_task(ready.wait())
            await asyncio.wait({life, started}, return_when=asyncio.FIRST_COMPLETED)
            started.cancel()
            if life.done():
                life.result()
            if courier:
                await carrier.connect()
            if policy:
                answer = await carrier.policy(self.policy_parts)
                assert answer.message["ok"], answer.message
                freshness = self.world.freshness(root_sha256=self.root_sha256)
                told = await carrier.call({"type": "freshness"}, [freshness.encode()])
                assert told.message["ok"], told.message
                await until(lambda: "checkpoint" in carrier.published)
            yield gate, carrier
        finally:
            stop.set()
            if life is not None:
                await asyncio.gather(life, return_exceptions=True)
            if client is not None:
                await client.close()
            if hasattr(carrier, "channel"):
                await carrier.close()
            await served.close()
            await asyncio.gather(keyholder, return_exceptions=True)
            if pool is None:
                used.close()
            state.close()


def unused_pool() -> WorkerPool:
    """A pool that starts its zygote with the first job, so that tests without an artifact start none."""
    return WorkerPool(signer_command("signwright.signer.worker", [], environment=worker_environment()))


async def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def pe_program(**changes: Any) -> bytes:
    """A small real PE."""
    return Pe(**changes).build()


def pe_artifact(content: bytes, **options: Any) -> RequestedArtifact:
    """What an honest client requests for a PE."""
    chosen = PeFormat()
    prepared = chosen.prepare(BytesView(content), (), chosen.options.model_validate(options))
    return RequestedArtifact(size=len(content), format="pe", options=options, operations=prepared.operations)


def digest_request(site: GateSite, content: bytes = b"any content", **changes: Any) -> Envelope:
    """A digest-mode request for the test key."""
    operation = site.world.operation(content, "authenticode-pe")
    artifact = RequestedArtifact(size=len(content), format="pe", operations=(operation,))
    return site.world.request("test", files={"a.exe": content}, artifacts=[artifact], mode="digest", **changes)


@dataclass
class Release:
    """A release request for one PE with what an honest hub would hand in."""

    site: GateSite
    courier: Courier
    content: bytes = field(default_factory=pe_program)
    uploaded: bool = True

    def __post_init__(self) -> None:
        if self.uploaded:
            self.courier.blobs[sha256(self.content)] = self.content
        self.request = self.make_request()

    def make_request(self, **changes: Any) -> Envelope:
        artifacts = changes.pop("artifacts", [pe_artifact(self.content)])
        return self.site.world.request("release", files={"setup.exe": self.content}, artifacts=artifacts, **changes)

    def approval(self, person: str, **changes: Any) -> Envelope:
        seen = changes.pop("checkpoint", self.site.seen(self.courier))
        request = changes.pop("request", self.request)
        return self.site.world.approval(request, person, policy=self.site.policy, checkpoint=seen, **changes)

    async def sign(self, **changes: Any) -> Frame:
        values: dict[str, Any] = {
            "request": self.request,
            "approvals": [self.approval("alice"), self.approval("bob")],
            "evidence": [self.site.world.scan(self.content)],
        } | changes
        return await self.courier.sign(values.pop("request"), **values)
