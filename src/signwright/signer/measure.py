# SPDX-License-Identifier: Apache-2.0
"""How fast the gate's log takes leaves: its real parts on a home's own state, without the rest of the gate.

``python -m signwright.signer.measure --settings SIGNER.TOML --courier COURIER.TOML --leaves FILE --alone N`` appends
the leaves of FILE, one in each line, to the log of a trial: the first N one by one, the others in batches. Each counts
when it is durable and a quorum has cosigned a checkpoint over it. The gate of that home must be down and its witnesses
up; they are called with the courier's HTTP client from this process: one socket less than in service. Prints one JSON
object.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import ssl
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from signwright.errors import DeniedError, SignwrightError, UnavailableError
from signwright.model.framing import Frame
from signwright.signer.courier.http import HttpClient
from signwright.signer.courier.settings import load_settings as load_courier
from signwright.signer.gate.__main__ import SWITCH_SECONDS
from signwright.signer.gate.errands import Errands
from signwright.signer.gate.log import Log, load_frontier
from signwright.signer.gate.policy import GateKeys, PolicyHolder, log_signer
from signwright.signer.gate.settings import GateSettings, load_key, load_settings
from signwright.signer.gate.state import State
from signwright.signer.gate.tiles import TileFiles
from signwright.signer.gate.witnesses import Witnesses
from signwright.timestamps.authorities import Patience
from signwright.transparency.witnessing import MAX_ANSWER

#: Leaves under way at once.
BATCH = 2048
_WARM_UP = 5


class DirectErrands(Errands):
    """Only witnesses, and called by ourselves."""

    def __init__(self, addresses: dict[str, str]) -> None:
        super().__init__()
        self._addresses = addresses
        self._client = HttpClient(tls=ssl.create_default_context())

    async def run(self, name: str, fields: dict[str, object], parts: Sequence[bytes] = (), *, seconds: float) -> Frame:
        if name != "witness":
            raise UnavailableError(f"errand {name}: nobody runs it here", code="no-courier")
        url = f"{self._addresses[str(fields['witness'])].rstrip('/')}/add-checkpoint"
        headers = {"content-type": "text/plain; charset=utf-8"}
        answer = await self._client.call(
            "POST", url, content=parts[0], headers=headers, seconds=seconds, limit=MAX_ANSWER
        )
        return Frame({"ok": True, "message": "", "status": answer.status}, (answer.body,))


def open_gate_log(settings: GateSettings, state: State, errands: Errands) -> Log:
    """As the gate puts it together. Raises `DeniedError` when this is no trial: leaves cannot be erased."""

    def now() -> datetime:
        return datetime.now(UTC)

    keys = GateKeys(load_key(settings.order_key), load_key(settings.receipt_key), load_key(settings.log_key))
    patience = Patience(deadline=1, attempt=1, cool_down=1)
    policies = PolicyHolder(state, keys=keys, profile=settings.profile, patience=patience, now=now)
    if not policies.in_force.policy.root.trial:
        raise DeniedError("made-up leaves belong into a trial's log alone", code="no-trial")
    files, limits, origin = TileFiles(settings.tiles), settings.limits, state.pinned().origin
    if origin is None:
        raise UnavailableError("the log has no name before the first policy", code="no-policy")
    witnesses = Witnesses(errands, state, services=policies.services, now=now, seconds=limits.witness_seconds)
    frontier = load_frontier(state, files)
    return Log(state, files, log_signer(keys, origin), frontier, witnesses.collect, group=limits.group)


async def measure(log: Log, leaves: Sequence[bytes], *, alone: int) -> dict[str, object]:
    """Milliseconds of each leaf that came alone; leaves per second of each batch."""

    async def append(leaf: bytes) -> None:
        await log.cosigned(await log.append(leaf))

    running = asyncio.create_task(log.run())
    single, rates = list[float](), list[float]()
    try:
        for number, leaf in enumerate(leaves[:alone]):
            start = time.perf_counter()
            await append(leaf)
            if number >= _WARM_UP:
                single.append(1000 * (time.perf_counter() - start))
        for first in range(alone, len(leaves), BATCH):
            batch = leaves[first : first + BATCH]
            start = time.perf_counter()
            await asyncio.gather(*map(append, batch))
            rates.append(len(batch) / (time.perf_counter() - start))
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
    return {"alone_ms": single, "batch_rates": rates, "leaves": log.size}


def main(arguments: list[str]) -> int:
    """The process of its own; 1 with the reason on stderr when nothing was measured."""
    parser = argparse.ArgumentParser(prog="signwright.signer.measure")
    parser.add_argument("--settings", type=Path, required=True)
    parser.add_argument("--courier", type=Path, required=True)
    parser.add_argument("--leaves", type=Path, required=True)
    parser.add_argument("--alone", type=int, required=True)
    told = parser.parse_args(arguments)
    sys.setswitchinterval(SWITCH_SECONDS)
    leaves = told.leaves.read_bytes().splitlines()
    try:
        settings = load_settings(told.settings)
        with contextlib.closing(State(settings.database)) as state:
            log = open_gate_log(settings, state, DirectErrands(dict(load_courier(told.courier).witnesses)))
            gc.freeze()
            found = asyncio.run(measure(log, leaves, alone=told.alone))
    except SignwrightError as problem:
        print(f"measure: error: {problem.message}", file=sys.stderr)
        return 1
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
