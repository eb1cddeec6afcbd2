# SPDX-License-Identifier: Apache-2.0
"""A gate process that kills itself at one step: the real parts, one of them wrapped.

``python -m tests.support.mortal_gate SETTINGS KEYHOLDER_FD READY_FD STEP``
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from signwright.signer.gate.bootstrap import Gate, assemble
from signwright.signer.gate.cycle import Cycle
from signwright.signer.gate.keyholder import KeyholderClient
from signwright.signer.gate.settings import load_settings
from signwright.signer.gate.state import State
from signwright.signer.worker.client import Workers
from tests.support.gates import unused_pool

#: Where it can die. ``before``/``after`` a call of the part named; leaves are told apart by their type.
STEPS = (
    "before-intent",
    "after-intent",
    "before-cosignature",
    "after-cosignature",
    "before-order",
    "order-sent",
    "after-order",
    "before-delivery",
    "after-delivery",
    "before-result",
    "after-result",
)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Wrapped:
    """Stands for a part; the methods in ``changes`` are replaced, everything else is the part's."""

    def __init__(self, part: Any, **changes: Callable[..., Any]) -> None:
        self._part = part
        self._changes = changes

    def __getattr__(self, name: str) -> Any:
        return self._changes.get(name) or getattr(self._part, name)


def mortal(gate: Gate, step: str) -> None:
    """Give the gate's server a cycle whose parts die at ``step``."""
    parts = gate.parts
    intents: list[int] = []  # the keyholder's start is cosigned before the first of them

    async def append(leaf: bytes, *rest: Any) -> int:
        kind = "intent" if b'"type":"intent"' in leaf else "result" if b'"type":"result"' in leaf else "other"
        if step == f"before-{kind}":
            die()
        index = await parts.log.append(leaf, *rest)
        if step == f"after-{kind}":
            die()
        if kind == "intent":
            intents.append(index)
        return index

    async def cosigned(index: int) -> Any:
        if intents and step == "before-cosignature":
            die()
        found = await parts.log.cosigned(index)
        if intents and step == "after-cosignature":
            die()
        return found

    async def order(log: Any, index: int, attached: Any) -> Any:
        if step == "before-order":
            die()
        if step == "order-sent":
            asyncio.get_running_loop().call_later(0.3, die)
            await parts.keyholder.order(parts.log, index, attached)
            await asyncio.sleep(60)
        signed = await parts.keyholder.order(parts.log, index, attached)
        if step == "after-order":
            die()
        return signed

    async def envelopes(*arguments: Any, **named: Any) -> Any:
        if step == "before-delivery":
            die()
        made = await parts.delivery.envelopes(*arguments, **named)
        if step == "after-delivery":
            die()
        return made

    changed = replace(
        parts,
        log=Wrapped(parts.log, append=append, cosigned=cosigned),  # type: ignore[arg-type]
        keyholder=Wrapped(parts.keyholder, order=order),  # type: ignore[arg-type]
        delivery=Wrapped(parts.delivery, envelopes=envelopes),  # type: ignore[arg-type]
    )
    gate.server.cycle = Cycle(changed)


async def main(settings_file: Path, keyholder_fd: int, ready_fd: int, step: str) -> None:
    settings = load_settings(settings_file)
    with ExitStack() as stack:
        state = State(settings.database)
        stack.callback(state.close)
        keyholder = await KeyholderClient.connect(keyholder_fd, seconds=20)
        gate = await assemble(settings, keyholder=keyholder, workers=Workers(unused_pool()), state=state)
        mortal(gate, step)
        await gate.serve(on_ready=lambda: os.close(ready_fd), stop=asyncio.Event())


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]))
