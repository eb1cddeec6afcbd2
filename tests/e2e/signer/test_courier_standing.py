# SPDX-License-Identifier: Apache-2.0
"""Keepers' words on their way: the real courier between a hub that says what it is told and a small gate of our own.

That a halt waits for nothing is shown by the order of events: whatever it would have had to wait for never ends.
"""

from __future__ import annotations

import asyncio
import base64
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from signwright.cli.demo.lying_hub import Job, LyingHub
from signwright.model.framing import Frame
from signwright.signer.channel import Channel
from signwright.statements.keyfile import seed_text
from tests.support.gates import until
from tests.support.processes import free_port, stop

FRESHNESS, HALT, RESUME = b"freshness", b"halt", b"resume"


@dataclass
class SmallGate:
    """Takes everything, but what stands in ``refuses`` (type → code); never answers what stands in ``silent``."""

    silent: set[str] = field(default_factory=set)
    refuses: dict[str, str] = field(default_factory=dict)
    version: int = 1
    waiting: int | None = None
    heard: list[str] = field(default_factory=list)
    words: list[bytes] = field(default_factory=list)
    unanswered: list[tuple[Channel, Frame]] = field(default_factory=list)

    @asynccontextmanager
    async def listening(self, path: Path) -> AsyncIterator[None]:
        channels: list[Channel] = []

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            channel = Channel(reader, writer)
            channels.append(channel)
            try:
                while True:
                    await self._take(channel, await channel.receive())
            except (EOFError, OSError):
                return

        server = await asyncio.start_unix_server(connected, path)
        try:
            yield
        finally:
            for channel in channels:
                await channel.close()
            server.close()

    async def _take(self, channel: Channel, frame: Frame) -> None:
        kind = str(frame.message["type"])
        if kind == "status":
            status: dict[str, Any] = {
                "policy": {"version": self.version},
                "waiting_policy": self.waiting,
                "freshness": 3,
                "halts": [],
            }
            await self._answer(channel, frame, ok=True, **status)
            return
        self.heard.append(kind)
        if kind in ("freshness", "halt", "resume"):
            self.words.append(frame.parts[0])
        if kind in self.silent:
            self.unanswered.append((channel, frame))
        elif kind in self.refuses:
            await self._answer(channel, frame, ok=False, code=self.refuses[kind], message="no")
        else:
            await self._answer(channel, frame, ok=True, version=self.version, waits_until=None)

    async def _answer(self, channel: Channel, frame: Frame, **fields: Any) -> None:
        await channel.send({"type": "done", "id": frame.message["id"], **fields})

    async def answer_now(self) -> None:
        """What was left unanswered."""
        self.silent.clear()
        for channel, frame in self.unanswered:
            await self._answer(channel, frame, ok=True, version=self.version, waits_until=None)


@dataclass
class Way:
    """A hub and where gate and courier are."""

    folder: Path
    hub: LyingHub

    @asynccontextmanager
    async def carrying(self, gate: SmallGate) -> AsyncIterator[None]:
        command = [sys.executable, "-m", "signwright.signer.courier", "--settings", str(self.folder / "courier.toml")]
        async with gate.listening(self.folder / "gate.sock"):
            with (self.folder / "courier.log").open("ab") as log:
                process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log)
            try:
                yield
            finally:
                await asyncio.to_thread(stop, process)

    async def say(self, *words: tuple[str, bytes]) -> None:
        """Returns when the courier has handed them on."""
        await asyncio.to_thread(self.hub.serve_words, words)


@pytest.fixture
def way(tmp_path: Path) -> Iterator[Way]:
    port = free_port()
    key = tmp_path / "courier.key"
    key.touch(mode=0o600)
    key.write_text(seed_text(Ed25519PrivateKey.generate()), encoding="ascii")
    lines = [f'hub = "http://127.0.0.1:{port}"', 'gate = "gate.sock"', 'key_file = "courier.key"', "batch = 1"]
    (tmp_path / "courier.toml").write_text("\n".join([*lines, "wait_seconds = 60"]) + "\n", encoding="utf-8")
    with LyingHub(("127.0.0.1", port)) as hub:
        yield Way(tmp_path, hub)


def policy(number: int) -> dict[str, object]:
    """In the form of one; the small gate does not look inside."""
    text = base64.b64encode(b"%d" % number).decode()
    return {"root": text, "policy": text, "documents": {}, "version": number, "sha256": f"{number:064x}"}


def test_policy_goes_first_then_freshness_halts_and_resumes_and_jobs_come_last(way: Way) -> None:
    async def scenario() -> None:
        gate = SmallGate(silent={"sign"})
        way.hub.hand_out(Job(request=b"r"))
        saying = asyncio.create_task(way.say(("freshness", FRESHNESS), ("halt", HALT), ("resume", RESUME)))
        serving = asyncio.create_task(asyncio.to_thread(way.hub.serve_policy, policy(1)))
        async with way.carrying(gate):
            await until(lambda: "sign" in gate.heard)
            assert gate.heard == ["policy", "freshness", "halt", "resume", "sign"]
            assert gate.words == [FRESHNESS, HALT, RESUME]
            await asyncio.gather(saying, serving)

    asyncio.run(scenario())


def test_halt_reaches_a_gate_that_has_all_the_jobs_it_takes(way: Way) -> None:
    async def scenario() -> None:
        gate = SmallGate(silent={"sign"})
        async with way.carrying(gate):
            way.hub.hand_out(Job(request=b"r"))
            await until(lambda: gate.heard == ["sign"])
            await way.say(("halt", HALT))
            assert gate.heard == ["sign", "halt"]
            assert len(gate.unanswered) == 1

    asyncio.run(scenario())


def test_halt_passes_a_policy_that_hangs_and_freshness_waits_for_it(way: Way) -> None:
    """A freshness statement may want the very policy that is on its way."""

    async def scenario() -> None:
        gate = SmallGate(silent={"policy"})
        async with way.carrying(gate):
            serving = asyncio.create_task(asyncio.to_thread(way.hub.serve_policy, policy(1)))
            await until(lambda: gate.heard == ["policy"])
            await way.say(("freshness", FRESHNESS), ("halt", HALT))
            assert gate.heard == ["policy", "halt"]
            await gate.answer_now()
            await serving
            assert gate.heard == ["policy", "halt", "freshness"]

    asyncio.run(scenario())


def test_refused_word_is_offered_again_with_the_next_policy_and_not_before(way: Way) -> None:
    async def scenario() -> None:
        gate = SmallGate(refuses={"resume": "too-few-keepers"})
        async with way.carrying(gate):
            await way.say(("resume", RESUME))
            assert gate.heard == ["resume"]
            gate.refuses.clear()
            await asyncio.to_thread(way.hub.serve_policy, policy(2))
            assert gate.heard == ["resume", "policy", "resume"]

    asyncio.run(scenario())


def test_gate_that_cannot_take_a_halt_yet_is_given_it_again(way: Way) -> None:
    async def scenario() -> None:
        gate = SmallGate(refuses={"halt": "busy"})
        async with way.carrying(gate):
            saying = asyncio.create_task(way.say(("halt", HALT)))
            await until(lambda: gate.heard.count("halt") > 1)
            gate.refuses.clear()
            await saying

    asyncio.run(scenario())


def test_hub_cannot_make_another_message_of_a_word(way: Way) -> None:
    async def scenario() -> None:
        gate = SmallGate()
        async with way.carrying(gate):
            await way.say(("key-operation", b"x"), ("answer", b"x"), ("sign", b"x"), ("halt", HALT))
            assert gate.heard == ["halt"]

    asyncio.run(scenario())


def test_courier_tells_the_hub_what_the_gate_says_of_itself(way: Way) -> None:
    async def scenario() -> None:
        gate = SmallGate(version=4, waiting=5)
        async with way.carrying(gate):
            await asyncio.to_thread(way.hub.serve_policy, policy(5))
            said = {"policy_version": 4, "waiting_policy": 5, "freshness": 3, "halts": []}
            await until(lambda: way.hub.asked.get("signer") == said)
            gate.version, gate.waiting = 5, None  # it put the policy in force by itself
            way.hub.hand_out(Job(request=b"r"))
            await until(lambda: way.hub.asked.get("signer") == {**said, "policy_version": 5, "waiting_policy": None})

    asyncio.run(scenario())
