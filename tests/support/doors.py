# SPDX-License-Identifier: Apache-2.0
"""A keyholder's door: the real front in a thread, two keepers of whom both must sign, and a key that counts."""

from __future__ import annotations

import base64
import secrets
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from signwright.envelopes.base import ToBeSigned
from signwright.model.framing import encode_frame, read_frame
from signwright.model.times import format_time
from signwright.policy.key_operations import key_operation_leaf
from signwright.policy.policy import Policy
from signwright.policy.succession import policy_leaf
from signwright.signer.keyholder.child import reader
from signwright.signer.keyholder.front import Front
from signwright.signer.keyholder.pool import Pool
from signwright.signer.keyholder.settings import KeySettings
from signwright.signer.keyholder.state import State
from signwright.statements.dsse import Envelope
from signwright.statements.models import KeyOperation, parse_statement
from signwright.statements.writing import statement_payload
from signwright.transparency.intent import StartLeaf
from signwright.transparency.proof import TlogProof
from tests.support.pki import default_pki
from tests.support.roots import Keepers, Offer, signed
from tests.support.signing import MemoryLog

WHO = {"common-name": "Five People Software", "organisation": "Five People Ltd", "country": "AT"}


class CountingKey:
    """A key store that leaves one mark in a file for each key operation."""

    protection = "software"

    def __init__(self, marks: Path) -> None:
        self._identity = default_pki().code_signing("p256")
        self._marks = marks
        self.public_key = self._identity.public_key

    def sign(self, content: ToBeSigned) -> bytes:
        with self._marks.open("ab") as file:
            file.write(b"x")
        return self._identity.sign(content)


@dataclass
class Door:
    """A real front with a real pool, a policy of two keepers in force; only the key counts."""

    keepers: Keepers
    gate: socket.socket
    marks: Path
    seen: list[tuple[int, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.log = MemoryLog(self.keepers.world)
        self.log.append(b"genesis")
        self.first = self.load(self.keepers.first(), None)
        self.second = self.keepers.second()
        self.policy = self.load(self.second, self.first)

    @property
    def operations(self) -> int:
        return len(self.marks.read_bytes()) if self.marks.exists() else 0

    def ask(self, message: dict[str, Any], parts: Sequence[bytes] = ()) -> tuple[dict[str, Any], tuple[bytes, ...]]:
        self.gate.sendall(encode_frame({"id": 1, **message}, parts))
        frame = read_frame(reader(self.gate))
        return frame.message, frame.parts

    def logged(self, leaf: bytes, *, witnessed: bool = True) -> tuple[bytes, list[dict[str, Any]]]:
        """Its proof under a checkpoint of now, and how that continues every tree before."""
        checkpoint = self.log.checkpoint
        self.seen.append((checkpoint.size, checkpoint.root.hex()))
        index, tree = self.log.append(leaf), self.log.tree()
        note = self.log.note(self.keepers.world.now, witnesses=None if witnessed else [])
        rows = [
            {"size": size, "root": root, "hashes": [base64.b64encode(h).decode() for h in tree.consistency(size)]}
            for size, root in self.seen
        ]
        return TlogProof(index, tuple(tree.inclusion(index)), note).encode(), rows

    def load(self, offer: Offer, old: Policy | None) -> Policy:
        policy = offer.opened(self.keepers.pinned)
        leaf = policy_leaf(old, policy, now=self.keepers.world.now).encode()
        parts = [offer.root.encode(), offer.policy.encode(), *offer.documents.values(), leaf, self.logged(leaf)[0]]
        answer, _ = self.ask({"verb": "policy", "documents": list(offer.documents)}, parts)
        assert answer["ok"], answer
        return policy

    def start(self) -> None:
        answer = self.read_and_start()
        assert answer["ok"], answer

    def read_and_start(self, **changes: Any) -> dict[str, Any]:
        """What the keyholder says when its start is logged and read. ``changes``: of its leaf."""
        status = self.ask({"verb": "status"})[0]
        values = {**status["start"], "time": format_time(self.keepers.world.now)} | changes
        self.logged(StartLeaf(**values).encode())
        answer: dict[str, Any] = {}
        for message, parts in self.log.reading(status["read"], self.log.note(self.keepers.world.now)):
            answer, _ = self.ask(message, parts)
        return answer

    def operation(
        self, *names: str, policy_sha256: str | None = None, hours: tuple[float, float] = (0, 24), **changes: Any
    ) -> Envelope:
        """Signed by ``names``; ``hours``: created and expires, from now."""
        created, expires = (format_time(self.keepers.world.now + timedelta(hours=h)) for h in hours)
        values: dict[str, Any] = {
            "key": "release",
            "operation": "csr",
            "parameters": WHO,
            "nonce": secrets.token_hex(16),
            "created": created,
            "expires": expires,
        }
        subject = ("policy", policy_sha256 or self.policy.sha256)
        payload = statement_payload(KeyOperation(**(values | changes)), [subject])
        return signed(payload, [self.keepers.keys[name] for name in names], "key-operation")

    def leaf(self, envelope: Envelope) -> bytes:
        statement = parse_statement(envelope, KeyOperation)
        return key_operation_leaf(self.policy, statement, attempt=1, now=self.keepers.world.now)

    def use(
        self, envelope: Envelope, *, leaf: bytes | None = None, witnessed: bool = True
    ) -> tuple[dict[str, Any], tuple[bytes, ...]]:
        """As an honest gate does it, with an honest leaf unless one is given."""
        leaf = leaf if leaf is not None else self.leaf(envelope)
        proof, rows = self.logged(leaf, witnessed=witnessed)
        return self.ask({"verb": "key-operation", "consistency": rows}, [envelope.encode(), leaf, proof])


@contextmanager
def open_door(folder: Path, *, started: bool = True) -> Iterator[Door]:
    """With two policies loaded and its start in the log; the front runs in a thread until the end."""
    identity, keepers = default_pki().code_signing("p256"), Keepers()
    for kind, made in (("release", identity), ("test", default_pki().code_signing("p256", "another"))):
        chain = tuple(base64.b64encode(c).decode() for c in made.chain)
        public = {"public_key": base64.b64encode(made.public_key).decode(), "chain": chain}
        keepers.world.keys[kind] = keepers.world.default_key(kind).model_copy(update=public)  # type: ignore[arg-type]
    secret, marks = folder / "secret", folder / "marks"
    secret.write_text("x")
    secret.chmod(0o600)
    settings = {"release": KeySettings(store="software", secret_file=str(secret))}
    ours, theirs = socket.socketpair()

    def serve() -> None:
        state = State(folder / "state.sqlite3", genesis=keepers.pinned)
        pool = Pool(settings, state, {"software": lambda _: CountingKey(marks)})
        try:
            Front(state, pool, profile=0, now=lambda: keepers.world.now).serve(theirs)
        finally:
            pool.close()
            theirs.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        found = Door(keepers, ours, marks)
        if started:
            found.start()
        yield found
    finally:
        ours.close()
        thread.join(timeout=20)
