# SPDX-License-Identifier: Apache-2.0
"""One round of cosignatures: the checkpoint goes to every witness of the policy, in parallel, by errand."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from signwright.errors import SignwrightError, UnavailableError, VerificationError
from signwright.model.framing import Frame
from signwright.policy.documents import Services
from signwright.policy.log_trust import log_trust
from signwright.signer.channel import number_field
from signwright.signer.gate.errands import Errands
from signwright.signer.gate.state import State, set_witness_size
from signwright.transparency.checkpoint import Checkpoint
from signwright.transparency.cosignature import Cosigned, LogTrust, WitnessKey
from signwright.transparency.note import NoteSignature
from signwright.transparency.signing import add_signatures
from signwright.transparency.tiles import TileTree
from signwright.transparency.witnessing import add_checkpoint_body, parse_answer, parse_size

_OK, _CONFLICT = 200, 409
#: Between two tries to reach one witness: a restart there takes seconds, and a request that failed needs its
#: approvals anew.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 2.0


@dataclass(frozen=True, slots=True)
class _Round:
    checkpoint: Checkpoint
    note: bytes
    tree: TileTree
    seconds: float


async def _at_once() -> None:
    """Nothing to wait for."""


class Witnesses:
    """``services``: of the policy in force, asked anew each round; ``now``: aware UTC; ``first``: awaited before a
    checkpoint goes out, raises when none may; ``carried``: people carry questions and answers, which takes as long as
    the policy allows.
    """

    def __init__(
        self,
        errands: Errands,
        state: State,
        *,
        services: Callable[[], Services],
        now: Callable[[], datetime],
        seconds: float,
        carried: bool = False,
        first: Callable[[], Awaitable[None]] = _at_once,
    ) -> None:
        self._errands = errands
        self._state = state
        self._services = services
        self._now = now
        self._seconds = seconds
        self._carried = carried
        self._sizes = state.witness_sizes()
        self.first = first

    async def collect(self, checkpoint: Checkpoint, note: bytes, tree: TileTree) -> tuple[bytes, Cosigned]:
        """``note`` with cosignatures of a quorum. Raises `UnavailableError` (``no-quorum``) that names each
        witness's reason.
        """
        await self.first()
        services = self._services()
        trust = log_trust(services)
        window = timedelta(minutes=services.quorum.window_minutes)
        keys = {witness.name: key for witness, key in zip(services.witnesses, trust.quorum.witnesses, strict=True)}
        seconds = window.total_seconds() if self._carried else self._seconds
        current = _Round(checkpoint, note, tree, seconds)
        pending = {asyncio.create_task(self._ask(name, key, current), name=name) for name, key in keys.items()}
        failures: list[str] = []
        try:
            while pending:
                done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    try:
                        note = add_signatures(note, task.result())
                    except SignwrightError as problem:
                        failures.append(f"{task.get_name()}: {problem.message} ({problem.code})")
                if (cosigned := self._counted(trust, note, window)) is not None:
                    return note, cosigned
        finally:
            for task in pending:
                task.cancel()
            await asyncio.gather(*pending, return_exceptions=True)
        raise UnavailableError(f"no quorum of witnesses: {'; '.join(sorted(failures))}", code="no-quorum")

    def _counted(self, trust: LogTrust, note: bytes, window: timedelta) -> Cosigned | None:
        """``window``: how far a witness's clock may be ahead of ours."""
        try:
            return trust.verify(note, latest=self._now() + window).cosigned
        except VerificationError:
            return None

    async def _ask(self, name: str, key: WitnessKey, current: _Round) -> tuple[NoteSignature, ...]:
        """Once with the size that we remember of this witness, once more with the one that it says it has."""
        known = min(self._sizes.get(name, 0), current.checkpoint.size)
        for last in (False, True):
            path = current.tree.consistency(known) if known else []
            body = add_checkpoint_body(known, path, checkpoint=current.note)
            answer = await self._reach(name, body, seconds=current.seconds)
            status, content = number_field(answer.message, "status"), answer.parts[0] if answer.parts else b""
            if status == _OK:
                lines = parse_answer(content, checkpoint=current.note, witness=key)
                self._remember(name, current.checkpoint.size)
                return lines
            if status != _CONFLICT or last:
                break
            known = parse_size(content)
            if known > current.checkpoint.size:
                raise VerificationError(
                    f"it has seen {known} leaves and there are {current.checkpoint.size} here: this is an older copy",
                    code="log-behind-witness",
                )
            self._sizes[name] = known  # rounds that begin later need not be told again
        raise UnavailableError(f"it answered {status}", code="witness-refused")

    async def _reach(self, name: str, body: bytes, *, seconds: float) -> Frame:
        """The witness's answer; one that cannot be reached is tried again until ``seconds`` have passed."""
        loop = asyncio.get_running_loop()
        deadline, pause = loop.time() + seconds, _FIRST_PAUSE
        while True:
            left = deadline - loop.time()
            try:
                return await self._errands.run("witness", {"witness": name}, [body], seconds=left)
            except UnavailableError:
                if self._carried or loop.time() + pause >= deadline:
                    raise
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _remember(self, name: str, size: int) -> None:
        """A hint only: a witness that knows better says so with 409, which costs a trip where people carry it."""
        if name not in self._sizes or self._carried:
            self._state.transaction([set_witness_size(name, size)])
        self._sizes[name] = size
