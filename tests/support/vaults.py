# SPDX-License-Identifier: Apache-2.0
"""A gate in a vault with its real media courier, in this process. Tests carry, and are the witness outside."""

from __future__ import annotations

import asyncio
import os
import secrets
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from httpx import create_ssl_context

from signwright.errors import ConflictError
from signwright.model.framing import Frame, decode_frame
from signwright.policy import documents as d
from signwright.policy.policy import Policy
from signwright.signer.courier.http import HttpClient
from signwright.signer.courier.media import index
from signwright.signer.courier.media.inside import InsideErrands
from signwright.signer.courier.media.store import MediaStore, log_path
from signwright.signer.courier.media.vault import Vault
from signwright.signer.courier.settings import CourierSettings, MediaSettings
from signwright.signer.gate.bootstrap import Gate
from signwright.signer.worker.pool import WorkerPool
from signwright.statements.dsse import Envelope
from signwright.statements.models import SeenCheckpoint
from signwright.statements.writing import public_text
from signwright.timestamps.issue import Issuer, reply_to
from signwright.transparency.checkpoint import Checkpoint
from signwright.transparency.note import parse_note
from tests.support.bundles import OUTSIDE, VAULT, land, outside_bundle, sha256
from tests.support.gates import (
    ORIGIN,
    CountingKeyholder,
    GateSite,
    now_utc,
    organisation,
    pe_artifact,
    pe_program,
    until,
)
from tests.support.world import World

PROFILE = 3
WINDOW_MINUTES = 600
#: Longer than the log waits for company before it asks for cosignatures by itself.
QUIET_SECONDS = 1.3


def vault_world() -> World:
    """The witness is another operator's, and people carry its cosignatures."""
    world = organisation()
    (witness,) = world.witnesses
    world.witnesses = (witness.model_copy(update={"operator": "another operator", "outside": True}),)
    quorum = d.Quorum(outside=1, local=0, window_minutes=WINDOW_MINUTES)
    return world.with_documents(services=world.services().model_copy(update={"quorum": quorum}))


def vault_site(folder: Path, **changes: Any) -> GateSite:
    site = GateSite(folder, world=vault_world(), settings_changes={"profile": PROFILE, **changes})
    site.keyholder = CountingKeyholder(site.world, site.root_sha256, profile=PROFILE, now=site.now)
    return site


@dataclass
class VaultSite:
    """``gate``: what the courier is connected to; ``hub``: files of the log as a hub would have them."""

    site: GateSite
    gate: Gate
    vault: Vault
    errands: InsideErrands
    folder: Path
    hub: dict[str, bytes] = field(default_factory=dict)
    published: int = 0
    answers: list[tuple[index.Answer, bytes]] = field(default_factory=list)

    @property
    def policy(self) -> Policy:
        return self.site.policy

    @property
    def operations(self) -> int:
        return self.site.keyholder.operations

    # ── what the honest other side does ─────────────────────────────────────────────────────────────────────────

    def standing(self) -> tuple[dict[str, Any], list[bytes]]:
        """Members of an index for policy and freshness, and the blobs."""
        root, policy, documents, _ = self.site.policy_parts
        fresh = self.site.world.freshness(root_sha256=self.site.root_sha256).encode()
        contents = [root.encode(), policy.encode(), *documents.values()]
        row = index.PolicySet(
            root=sha256(contents[0]), policy=sha256(contents[1]), documents=tuple(sorted({*map(sha256, contents[2:])}))
        )
        words = (index.Word(kind="freshness", envelope=sha256(fresh)),)
        return {"policies": (row,), "words": words}, [*contents, fresh]

    def honest(self, *releases: Release, **changes: Any) -> bytes:
        """What an honest courier outside would bring now."""
        members, contents = self.standing()
        for release in releases:
            contents += release.contents
        members["jobs"] = tuple(release.job for release in releases)
        members["open"] = tuple(release.job.request for release in releases)
        members["answers"] = tuple(answer for answer, _ in self.answers)
        members["published"] = self.published
        contents += [body for _, body in self.answers]
        signing = {name: changes.pop(name) for name in ("key", "serial") if name in changes}
        return outside_bundle(index.OutsideIndex(**(members | changes)), contents, **signing)

    def cosign(self, made: index.VaultIndex, blobs: dict[str, bytes]) -> None:
        """Have the witness outside answer what came out, and keep that for the next bundle."""
        self.answers = []
        for question in made.questions:
            status, body = self._say(question.kind, blobs[question.question])
            row = index.Answer(witness=question.witness, question=question.question, status=status, answer=sha256(body))
            self.answers.append((row, body))

    def _say(self, kind: str, body: bytes) -> tuple[Any, bytes]:
        try:
            if kind == "latest":
                return 200, self.site.witness.latest(body.decode())
            return 200, self.site.witness.add_checkpoint(body).line().encode()
        except ConflictError as problem:
            return 409, f"{problem.details['size']}\n".encode()
        except Exception:  # noqa: BLE001 - a witness that has never heard of the log
            return 404, b""

    # ── media ───────────────────────────────────────────────────────────────────────────────────────────────────

    async def carry_in(self, content: bytes) -> dict[str, Any]:
        """Raises what the courier says about the bundle."""
        path = self.folder / f"in-{secrets.token_hex(4)}.swb"
        path.write_bytes(content)
        descriptor = os.open(path, os.O_RDONLY)
        try:
            return await self.vault.take_in(descriptor, lambda *_: None, self.errands)
        finally:
            os.close(descriptor)

    async def carry_out(self) -> tuple[index.VaultIndex, dict[str, bytes]]:
        """What came out, and its blobs by digest; the log goes to the hub."""
        path = self.folder / f"out-{secrets.token_hex(4)}.swb"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            await self.vault.give_out(descriptor, lambda *_: None, self.errands)
        finally:
            os.close(descriptor)
        store = MediaStore(self.folder / f"read-{secrets.token_hex(4)}")
        landed = land(store, path.read_bytes(), side="vault", key=VAULT)
        assert isinstance(landed.index, index.VaultIndex)
        blobs = {row.sha256: store.read(row.sha256, row.role) for row in landed.manifest.rows}
        self.hub.update({log_path(file): blobs[file.content] for file in landed.index.log})
        self.published = landed.index.complete
        return landed.index, blobs

    async def round_trip(self, *releases: Release) -> tuple[index.VaultIndex, dict[str, bytes]]:
        """In, out, and to the witness."""
        await self.carry_in(self.honest(*releases))
        made, blobs = await self.carry_out()
        self.cosign(made, blobs)
        return made, blobs

    async def settled(self) -> None:
        """The policy is in force and on record, as after the first two trips; the keyholder has its start leaf."""
        await self.round_trip()
        await self.round_trip()
        assert self.hub["checkpoint"]

    def seen(self) -> SeenCheckpoint:
        checkpoint = Checkpoint.parse(parse_note(self.hub["checkpoint"]).text)
        return SeenCheckpoint(origin=ORIGIN, size=checkpoint.size, root=checkpoint.root.hex())


@dataclass
class Release:
    """A release request with everything that an honest hub would send along."""

    at: VaultSite
    content: bytes = field(default_factory=pe_program)
    people: Sequence[str] = ("alice", "bob")

    def __post_init__(self) -> None:
        world = self.at.site.world
        files = {"setup.exe": self.content}
        self.request = world.request("release", files=files, artifacts=[pe_artifact(self.content)])
        self.approvals = [self.approval(person) for person in self.people]
        self.evidence = [world.scan(self.content)]

    def approval(self, person: str, **changes: Any) -> Envelope:
        world, seen = self.at.site.world, changes.pop("checkpoint", self.at.seen())
        return world.approval(self.request, person, policy=self.at.policy, checkpoint=seen, **changes)

    @property
    def contents(self) -> list[bytes]:
        return [e.encode() for e in (self.request, *self.approvals, *self.evidence)] + [self.content]

    @property
    def job(self) -> index.Job:
        return index.Job(
            request=sha256(self.request.encode()),
            approvals=tuple(sha256(e.encode()) for e in self.approvals),
            evidence=tuple(sha256(e.encode()) for e in self.evidence),
            artifacts=(sha256(self.content),),
        )


def result_of(release: Release, made: index.VaultIndex, blobs: dict[str, bytes]) -> Frame | None:
    """The gate's answer about a release in a bundle that came out; None when there is none yet."""
    rows = {row.request: row.result for row in made.results}
    digest = rows.get(release.job.request)
    return decode_frame(blobs[digest]) if digest is not None else None


@asynccontextmanager
async def vault_at_work(site: GateSite, pool: WorkerPool | None = None) -> AsyncIterator[VaultSite]:
    """Gate and media courier, with a timestamp authority on the vault's own loopback."""

    with stamping(site.issuer) as authority:
        async with site.run(pool, policy=False, courier=False) as (gate, _), _courier(site, gate, authority) as made:
            yield made


@contextmanager
def stamping(issuer: Issuer) -> Iterator[str]:
    """A timestamp authority on a free port; its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            query = self.rfile.read(int(self.headers["content-length"]))
            reply = reply_to(query, issuer=issuer, now=now_utc(), next_serial=lambda: secrets.randbits(64) | 1).reply
            self.send_response(200)
            self.send_header("content-length", str(len(reply)))
            self.end_headers()
            self.wfile.write(reply)

        def log_message(self, *arguments: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@asynccontextmanager
async def _courier(site: GateSite, gate: Gate, authority: str) -> AsyncIterator[VaultSite]:
    folder = site.folder / f"courier-{secrets.token_hex(4)}"
    folder.mkdir()
    media = MediaSettings(
        side="vault",
        socket="unused",
        folder=str(folder / "media"),
        vault_key_file="unused",
        vault_key=public_text(VAULT),
        outside_key=public_text(OUTSIDE),
    )
    settings = CourierSettings(
        hub="http://127.0.0.1:1",
        gate=site.settings.socket,
        key_file="unused",
        timestamp_authorities={"builtin": authority},
        media=media,
    )
    store = MediaStore(Path(media.folder))
    async with HttpClient(tls=create_ssl_context(trust_env=False)) as client:
        vault = Vault(settings, media, store, key=VAULT, quiet=QUIET_SECONDS)
        errands = InsideErrands(
            settings, client, store=store, questions=vault.questions, link=vault.open_link, stirred=vault.stir
        )
        connected = asyncio.Event()
        running = asyncio.create_task(vault.run(errands, on_ready=connected.set))
        try:
            await until(connected.is_set)
            yield VaultSite(site, gate, vault, errands, folder)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
