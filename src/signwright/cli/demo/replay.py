# SPDX-License-Identifier: Apache-2.0
"""A gate that was taken over: it has the order key, the log and a finished order, and asks the keyholder once more.

The proofs are made anew from the log; the intent was used, and it is older than the start of this keyholder's process,
which no witnessed leaf announces: that is what it is refused for first. The keyholder is the real program on its own
state; it is started as a process, and spoken to over a socket pair as the gate would.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import socket
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from signwright.cli.demo.lies import Loot
from signwright.cli.home import Home
from signwright.cli.processes import environment_of
from signwright.errors import UnavailableError
from signwright.model.base64text import strict_base64
from signwright.model.framing import Frame, encode_frame, read_frame, reader
from signwright.model.times import format_time
from signwright.statements.bundle import Wave
from signwright.statements.dsse import Envelope
from signwright.statements.keyfile import load_seed
from signwright.statements.models import Approval, Order, parse_statement
from signwright.statements.writing import sign_ed25519, statement_payload
from signwright.transparency.intent import parse_intent
from signwright.transparency.proof import TlogProof
from signwright.transparency.tiles import WIDTH, Tile, TileTree

#: What the signer's launcher does, for the keyholder alone: the signer's own environment, isolated.
_START = (
    "import os, sys; from signwright.signer.start import signer_command, signer_environment;"
    "command = signer_command('signwright.signer.keyholder', sys.argv[1:], environment=signer_environment());"
    "os.execv(command[0], command)"
)
_PATIENCE_SECONDS = 30.0
_STOP_SECONDS = 10.0


class HostileGate:
    """One end of the socket pair, the keyholder at the other."""

    def __init__(self, channel: socket.socket, home: Home) -> None:
        self._channel = channel
        self._home = home

    def ask(self, messages: Sequence[tuple[dict[str, object], Sequence[bytes]]]) -> list[Frame]:
        """Send all of ``messages`` at once, then read as many answers. Raises `UnavailableError` when it hangs up."""
        self.send(messages)
        return [self.receive() for _ in messages]

    def send(self, messages: Sequence[tuple[dict[str, object], Sequence[bytes]]]) -> None:
        """Without waiting for an answer; raises `UnavailableError`."""
        try:
            self._channel.sendall(b"".join(encode_frame(message, parts) for message, parts in messages))
        except OSError as problem:
            raise UnavailableError("the keyholder hung up", code="no-keyholder") from problem

    def receive(self) -> Frame:
        """The next answer; raises `UnavailableError`."""
        try:
            return read_frame(reader(self._channel))
        except (OSError, EOFError) as problem:
            raise UnavailableError("the keyholder hung up", code="no-keyholder") from problem

    def status(self) -> dict[str, Any]:
        return self.ask([({"verb": "status", "id": 0}, ())])[0].message

    def order(self, loot: Loot, number: int) -> tuple[dict[str, object], list[bytes]]:
        """The finished order of ``loot`` again, with an order statement and proofs of now."""
        held, wave = loot.bundle.authorisation, loot.bundle.waves[0]
        assert held is not None
        log = self.status()["log"]
        note = TlogProof.parse(wave.intent.proof_text())
        tree = TileTree(loot.seen.size, self._tile)
        proof = TlogProof(note.index, tuple(tree.inclusion(note.index)), loot.checkpoint).encode()
        approvals = loot.envelopes("approvals")
        seen = {(a.size, a.root) for a in (parse_statement(e, Approval).predicate.checkpoint for e in approvals)}
        rows = [
            {"size": size, "root": root, "hashes": [base64.b64encode(h).decode() for h in tree.consistency(size)]}
            for size, root in sorted({*seen, (log["size"], log["root"])})
            if 0 < size < loot.seen.size
        ]
        evidence = [strict_base64(text) for text in held.evidence]
        message: dict[str, object] = {"verb": "order", "id": number, "approvals": len(approvals)}
        message |= {"evidence": len(evidence), "contents": 0, "consistency": rows}
        parts = [
            self._statement(wave, note.index).encode(),
            strict_base64(held.request),
            strict_base64(wave.operations),
        ]
        parts += [wave.intent.leaf_bytes(), proof, *(strict_base64(text) for text in held.approvals), *evidence]
        return message, parts

    def _statement(self, wave: Wave, index: int) -> Envelope:
        """Signed with the gate's own order key: this gate is not lying about who it is."""
        leaf_bytes = wave.intent.leaf_bytes()
        leaf = parse_intent(leaf_bytes)
        order = Order(
            request=leaf.request,
            wave=leaf.wave,
            attempt=leaf.attempt,
            policy_sha256=leaf.policy_sha256,
            operations_sha256=leaf.operations_sha256,
            leaf_sha256=hashlib.sha256(leaf_bytes).hexdigest(),
            leaf_index=index,
            created=format_time(datetime.now(UTC)),
        )
        key = load_seed((self._home / "signer" / "gate" / "order.key").read_text(encoding="ascii"))
        return sign_ed25519(statement_payload(order, [("request", leaf.request)]), key)

    def _tile(self, path: str) -> bytes:
        """A partial tile that has grown since is cut from what it grew into."""
        folder, tile = self._home / "signer" / "gate" / "tiles", Tile.parse(path)
        whole = folder / Tile(tile.level, tile.index).path
        parts = whole.with_name(whole.name + ".p")
        candidates = [folder / path, whole, *sorted(parts.glob("*"), key=lambda p: -int(p.name))]
        content = next(file.read_bytes() for file in candidates if file.is_file())
        return content[: len(content) if tile.width == WIDTH else tile.width * 32]


@contextmanager
def hostile_gate(home: Home, *, children: int) -> Iterator[HostileGate]:
    """A keyholder on the home's own state, with so many children for each key; the signer must be down."""
    settings = _settings(home, children=children)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    ours.settimeout(_PATIENCE_SECONDS)
    with (home.run / "keyholder-again.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", _START, "--settings", str(settings), "--gate-fd", str(theirs.fileno())],
            env=environment_of(home.read()),
            cwd=home.folder,
            stdin=subprocess.DEVNULL,
            stderr=log,
            pass_fds=[theirs.fileno()],
        )
    theirs.close()
    try:
        yield HostileGate(ours, home)
    finally:
        ours.close()
        if process.poll() is None:
            process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _settings(home: Home, *, children: int) -> Path:
    """The keyholder's part of signer.toml with more children, beside the original."""
    table = tomllib.loads(home.settings("signer").read_text(encoding="utf-8"))["keyholder"]
    keys = table.pop("keys")
    lines = ["[keyholder]", *(f"{name} = {json.dumps(value)}" for name, value in table.items())]
    for name, row in keys.items():
        values = {**row, "children": children}
        lines += [f"[keyholder.keys.{json.dumps(name)}]", *(f"{n} = {json.dumps(v)}" for n, v in values.items())]
    path = home.settings("keyholder-again")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    os.chmod(path, 0o600)
    return path
