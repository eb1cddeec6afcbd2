# SPDX-License-Identifier: Apache-2.0
"""SIGKILL of the gate at each step: no signature without a leaf, no intent used twice, and the attempts go on."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from signwright.signer.channel import Channel
from signwright.signer.gate.state import State
from signwright.signer.gate.tiles import TileFiles
from signwright.statements.models import Request, parse_statement
from signwright.transparency.leaf import IntentLeaf, ResultLeaf, parse_leaf
from signwright.transparency.tiles import parse_bundle
from tests.support.gates import Courier, GateSite, digest_request
from tests.support.mortal_gate import STEPS
from tests.support.processes import stop

ROOT = Path(__file__).resolve().parents[3]
#: Steps at which the key was, or may have been, used before the gate died.
KEY_USED = {"order-sent", "after-order", "before-delivery", "after-delivery", "before-result", "after-result"}


def settings_file(site: GateSite) -> Path:
    lines = ["[gate]"]
    for name in ("state", "socket", "order_key", "receipt_key", "log_key"):
        lines.append(f'{name} = "{getattr(site.settings, name)}"')
    path = site.folder / "signer.toml"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@asynccontextmanager
async def mortal_gate(site: GateSite, step: str) -> AsyncIterator[subprocess.Popen[bytes]]:
    """The gate as a process of its own; the keyholder stays here, so that it outlives it and remembers."""
    ours, theirs = socket.socketpair()
    ready, said = os.pipe()
    command = [
        sys.executable,
        "-m",
        "tests.support.mortal_gate",
        str(settings_file(site)),
        str(theirs.fileno()),
        str(said),
        step,
    ]
    process = subprocess.Popen(command, cwd=ROOT, pass_fds=[theirs.fileno(), said], stdin=subprocess.DEVNULL)
    theirs.close()
    os.close(said)
    channel = Channel(*await asyncio.open_unix_connection(sock=ours))
    keyholder = asyncio.create_task(site.keyholder.serve(channel))
    try:
        assert await asyncio.to_thread(os.read, ready, 1) == b""
        yield process
    finally:
        await asyncio.to_thread(stop, process)
        await keyholder
        await channel.close()
        os.close(ready)


def leaves(site: GateSite) -> list[object]:
    state = State(site.settings.database)
    size = state.pinned().log_size
    state.close()
    content = TileFiles(site.settings.tiles).read(f"tile/entries/000.p/{size}")
    return [parse_leaf(entry) for entry in parse_bundle(content, size)]


@pytest.mark.parametrize("step", STEPS)
def test_gate_killed_at_a_step(site: GateSite, step: str) -> None:
    request = digest_request(site)

    async def load_policy() -> None:
        async with site.run():
            pass

    async def die() -> None:
        async with mortal_gate(site, step) as process:
            courier = Courier(site)
            await courier.connect()
            with pytest.raises(asyncio.CancelledError):
                await courier.sign(request)
            assert await asyncio.to_thread(process.wait, 20) == -9
            await courier.close()

    async def again() -> None:
        async with site.run(policy=False) as (_, courier):
            answer = await courier.sign(request)
            assert answer.message["outcome"] == "signed", answer.message

    asyncio.run(load_policy())
    asyncio.run(die())
    used = site.keyholder.operations
    assert used == (1 if step in KEY_USED else 0)
    asyncio.run(again())
    _check_log(site, step, parse_statement(request, Request).digest)


def _check_log(site: GateSite, step: str, request: str) -> None:
    found = leaves(site)
    intents = {n: leaf for n, leaf in enumerate(found) if isinstance(leaf, IntentLeaf) and leaf.request == request}
    results = [leaf for leaf in found if isinstance(leaf, ResultLeaf) and leaf.request == request]
    assert [leaf.attempt for leaf in intents.values()] == list(range(1, len(intents) + 1))
    assert sorted(leaf.intent for leaf in results) == sorted(intents), "each intent has exactly one result"
    assert set(site.keyholder.claims) <= set(intents), "no signature without a leaf"
    assert len(site.keyholder.claims) == site.keyholder.operations, "no intent was used twice"
    first = "signed" if step in ("before-intent", "after-result") else "unknown"
    assert results[0].outcome == first
    assert results[-1].outcome == "signed"
    assert len(intents) == (1 if step in ("before-intent", "after-result") else 2)
    assert site.keyholder.operations == (2 if step in KEY_USED - {"after-result"} else 1)
