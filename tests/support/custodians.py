# SPDX-License-Identifier: Apache-2.0
"""A gate that wants a custodian, and somebody at its console, who speaks to it as the command line does."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from signwright.cli.gate_socket import exchange
from signwright.client.custodian import Listed, WaitingRequest, read_list, signed_word
from signwright.client.ssh_keys import PersonKey
from signwright.model.framing import Frame
from signwright.model.times import format_time
from signwright.policy import documents as d
from signwright.signer.gate.bootstrap import Gate
from signwright.signer.worker.pool import WorkerPool
from signwright.statements.custodian import (
    MAX_CONFIRMED,
    Confirmation,
    ShownApproval,
    ShownArtifact,
    ShownEvidence,
    ShownRequest,
    custodian_payload,
    shown_sha256,
)
from signwright.statements.dsse import Envelope
from signwright.statements.models import SourceRevision
from signwright.statements.ssh_signing import sign_sshsig
from signwright.statements.sshsig import MAGIC, SK_ED25519, SshPublicKey, string, to_be_signed
from signwright.transparency.leaf import CustodianLeaf, DenyLeaf, IntentLeaf, Leaf, parse_leaf
from signwright.transparency.tiles import parse_bundle
from tests.support.gates import Courier, GateSite, digest_request, now_utc, organisation, until
from tests.support.world import World, sign_ssh, ssh_line

T = "2026-11-21T09:30:00Z"
HEX = [hashlib.sha256(b"%d" % number).hexdigest() for number in range(MAX_CONFIRMED + 1)]
SETTINGS: dict[str, Any] = {"custodian": "required"}


def shown(**changes: Any) -> ShownRequest:
    """A release that waits, each field replaceable."""
    values: dict[str, Any] = {
        "request": HEX[0],
        "project": "default",
        "signing_policy": "release",
        "kind": "release",
        "mode": "artifact",
        "key": "release",
        "policy_version": 3,
        "policy_sha256": HEX[1],
        "submitter": "swk_" + "a" * 20,
        "submitter_description": "build server",
        "submitter_person": None,
        "source": SourceRevision(repository="https://example.com/r", commit="ab" * 20),
        "artifacts": (
            ShownArtifact(name="a.exe", sha256=HEX[2], size=3, format="pe", options={"digest": "sha256"}, operations=1),
        ),
        "approvals": (
            ShownApproval(person="alice", decision="approve", key="SHA256:x", statement=HEX[3], created=T, expires=T),
        ),
        "evidence": (ShownEvidence(kind="scan", says="clean", by="scanner", statement=HEX[4], created=T),),
        "content_read": True,
        "derived": False,
        "exceptions": ("local-witness",),
        "created": T,
        "expires": T,
    }
    return ShownRequest(**(values | changes))


def world() -> World:
    """Alice and bob approve, carol is a custodian; so are bob, and dora, whose the submitting credentials are."""
    made = organisation()
    made.people["dora"] = Ed25519PrivateKey.generate()
    groups = {"alice": ("release",), "bob": ("release", "custodian")}
    people = {
        name: d.Person(groups=groups.get(name, ("custodian",)), keys=(ssh_line(key),))
        for name, key in made.people.items()
    }
    machines = made.documents()["credentials"]
    assert isinstance(machines, d.Credentials)
    owned = {name: entry.model_copy(update={"person": "dora"}) for name, entry in machines.credentials.items()}
    return made.with_documents(people=d.People(people=people), credentials=d.Credentials(credentials=owned))


@contextmanager
def custodian_site(folder: Path, **changes: Any) -> Iterator[GateSite]:
    """A site whose gate wants a custodian for everything; ``changes``: of `GateSite`."""
    made = GateSite(folder, **{"world": world(), "settings_changes": SETTINGS, **changes})
    made.changes = quick
    try:
        yield made
    finally:
        made.close()


def quick(gate: Gate) -> None:
    """What waits is decided again every few hundredths of a second."""
    gate.parts.custodian.recheck_seconds = 0.05


def person(key: Ed25519PrivateKey) -> PersonKey:
    return PersonKey(
        SshPublicKey.parse(ssh_line(key)),
        lambda namespace, message: sign_sshsig(key, namespace=namespace, message=message),
    )


def security_key(key: Ed25519PrivateKey, *, flags: int) -> PersonKey:
    """What ``ssh-keygen`` and a FIDO token make together (OpenSSH PROTOCOL.u2f); ``flags``: 1 when it was touched."""
    raw, application = key.public_key().public_bytes_raw(), b"ssh:"
    blob = b"".join(map(string, (SK_ED25519.encode(), raw, application)))

    def sign(namespace: str, message: bytes) -> bytes:
        seen = hashlib.sha256(to_be_signed(namespace, message)).digest()
        token = bytes([flags]) + (7).to_bytes(4, "big")
        core = key.sign(hashlib.sha256(application).digest() + token + seen)
        value = string(SK_ED25519.encode()) + string(core) + token
        parts = (blob, namespace.encode(), b"", b"sha512", value)
        return MAGIC + (1).to_bytes(4, "big") + b"".join(map(string, parts))

    return PersonKey(SshPublicKey.parse(f"{SK_ED25519} {base64.b64encode(blob).decode()}"), sign)


@dataclass
class Desk:
    """The gate's console, and requests that wait for somebody at it."""

    site: GateSite
    gate: Gate
    courier: Courier
    asked: list[asyncio.Task[Frame]] = field(default_factory=list)

    async def say(self, kind: str, *parts: bytes, **fields: object) -> Frame:
        path = Path(self.site.settings.socket)
        return await asyncio.to_thread(exchange, path, {"type": kind, **fields}, parts)

    async def list(self) -> Listed:
        return read_list(await self.say("custodian-list"))

    async def ask(self, *requests: Envelope) -> Listed:
        """Offer them (a test request in digest mode without any), and wait until they stand in the list."""
        before = self.gate.parts.custodian.count
        given = requests or (digest_request(self.site, secrets.token_bytes(8)),)
        self.asked += [asyncio.create_task(self.courier.sign(request)) for request in given]
        await until(lambda: self.gate.parts.custodian.count == before + len(given))
        return await self.list()

    async def word(
        self, listed: Listed, *, key: str = "carol", rows: Sequence[WaitingRequest] | None = None, **changes: Any
    ) -> Frame:
        reason = changes.pop("reason", None)
        signer = person(self.site.world.people[key])
        chosen = listed.rows if rows is None else rows
        return await self.say(
            "custodian-word", signed_word(listed, chosen, signer, reason=reason, now=now_utc()).encode()
        )

    async def forged(self, listed: Listed, key: Ed25519PrivateKey, name: str = "custodian", **changes: Any) -> Frame:
        """A statement about the list, signed by ``key`` for statements called ``name``."""
        return await self.say("custodian-word", self.statement(listed, key, name, **changes).encode())

    def statement(self, listed: Listed, key: Ed25519PrivateKey, name: str = "custodian", **changes: Any) -> Envelope:
        values: dict[str, Any] = {
            "decision": "confirm",
            "person": "carol",
            "challenge": listed.challenge,
            "shown": tuple(shown_sha256(row.content) for row in listed.rows),
            "created": format_time(now_utc()),
        }
        payload = custodian_payload(Confirmation(**(values | changes)), [row.shown.request for row in listed.rows])
        return sign_ssh(payload, key, name)

    async def still_waiting(self) -> None:
        """Nobody confirmed anything: the requests wait, and no key was used."""
        await asyncio.sleep(0)
        assert not any(task.done() for task in self.asked)
        assert self.gate.parts.custodian.count == len(self.asked)
        assert self.site.keyholder.operations == 0
        assert not [leaf for leaf in self.leaves() if isinstance(leaf, CustodianLeaf | IntentLeaf)]

    def leaves(self) -> list[Leaf]:
        size = self.gate.parts.log.size
        content = self.gate.parts.log.files.read(f"tile/entries/000.p/{size}")
        return [parse_leaf(leaf) for leaf in parse_bundle(content, size)]

    async def denied(self) -> list[DenyLeaf]:
        await self.gate.parts.denials.flush()
        return [leaf for leaf in self.leaves() if isinstance(leaf, DenyLeaf)]


@asynccontextmanager
async def desk(site: GateSite, pool: WorkerPool | None = None) -> AsyncIterator[Desk]:
    async with site.run(pool) as (gate, courier):
        made = Desk(site, gate, courier)
        try:
            yield made
        finally:
            for task in made.asked:
                task.cancel()
            await asyncio.gather(*made.asked, return_exceptions=True)


def run(site: GateSite, scenario: Callable[[Desk], Awaitable[None]], pool: WorkerPool | None = None) -> None:
    async def life() -> None:
        async with desk(site, pool) as made:
            await scenario(made)

    asyncio.run(life())
