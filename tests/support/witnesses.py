# SPDX-License-Identifier: Apache-2.0
"""The real witness process on a free loopback port."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from signwright.transparency.cosignature import WitnessKey
from signwright.transparency.note import COSIGNATURE_V1, NoteSignature, VerifierKey
from signwright.transparency.witnessing import add_checkpoint_body, parse_answer
from tests.support.logs import ORIGIN, MemoryLog, log_key
from tests.support.processes import stop, wait_until

NAME = "witness.example/w1"


def witness_command(settings: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "signwright.witness", "--settings", str(settings), *arguments]


def write_settings(folder: Path, *, origins: Sequence[str] = (ORIGIN,), **changes: object) -> Path:
    """A settings file in ``folder`` for the logs of ``tests.support.logs``."""
    settings: dict[str, object] = {
        "name": NAME,
        "key_file": "witness.key",
        "database": "witness.sqlite3",
        "port": 0,
        "logs": [{"origin": origin, "keys": [str(log_key(origin).verifier)]} for origin in origins],
    }
    path = folder / "witness.json"
    path.write_text(json.dumps(settings | changes), encoding="utf-8")
    return path


def create_witness(settings: Path) -> WitnessKey:
    """Make its key and state."""
    made = subprocess.run(witness_command(settings, "--create"), check=True, capture_output=True, text=True)
    key = VerifierKey.parse(made.stdout.strip(), algorithm=COSIGNATURE_V1)
    return WitnessKey(key.name, key.public_key, "somebody else", outside=True)


@dataclass(frozen=True)
class RunningWitness:
    """``key``: what others trust; ``process``: the server."""

    url: str
    key: WitnessKey
    process: subprocess.Popen[bytes]

    def post(self, body: bytes) -> httpx.Response:
        return httpx.post(f"{self.url}/add-checkpoint", content=body, timeout=20)

    def offer(self, log: MemoryLog, *, old_size: int, size: int | None = None) -> httpx.Response:
        """Ask it to cosign ``log`` at ``size`` (all of it when left out)."""
        path = log.tree().consistency(old_size, size)
        return self.post(add_checkpoint_body(old_size, path, checkpoint=log.note(size)))

    def cosign(self, log: MemoryLog, *, old_size: int, size: int | None = None) -> tuple[NoteSignature, ...]:
        """The same, and read its answer, which must be 200."""
        answer = self.offer(log, old_size=old_size, size=size)
        assert answer.status_code == 200, answer.text
        return parse_answer(answer.content, checkpoint=log.note(size), witness=self.key)


@contextmanager
def run_witness(settings: Path, key: WitnessKey) -> Iterator[RunningWitness]:
    """Start it on existing state; ended by pid."""
    ready = settings.with_name("ready")
    ready.unlink(missing_ok=True)
    process = subprocess.Popen(
        witness_command(settings, "--ready-file", str(ready)),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: ready.exists() or process.poll() is not None, what="the witness is ready")
        assert process.poll() is None, "the witness ended at once"
        yield RunningWitness(ready.read_text(encoding="utf-8").strip(), key, process)
    finally:
        stop(process)
