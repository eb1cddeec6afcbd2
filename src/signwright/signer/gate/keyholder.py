# SPDX-License-Identifier: Apache-2.0
"""The gate's end of the socket pair to the keyholder: orders out, signature values back, many at once."""

from __future__ import annotations

import asyncio
import base64
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from typing import Any

from signwright.errors import DeniedError, KeystoreError, MalformedError, SignwrightError, UnavailableError
from signwright.model.framing import Frame
from signwright.model.times import format_time
from signwright.signer.channel import Channel, number_field, text_field
from signwright.signer.gate.log import Log, WitnessedCheckpoint
from signwright.signer.gate.state import StoredPolicy
from signwright.transparency.intent import StartLeaf
from signwright.transparency.tiles import TileTree

_STATUS_SECONDS = 120.0
#: More checkpoints than this that the keyholder may or may not have accepted: ask it which.
_MAX_CANDIDATES = 32
#: Leaves that the keyholder reads at once: at most 4 KiB each, and no more parts than a message has.
_LEAVES = 1024


@dataclass(frozen=True, slots=True)
class OrderParts:
    """What goes along with an order; envelopes in their wire form."""

    order: bytes
    request: bytes
    operations: bytes
    leaf: bytes
    approvals: tuple[bytes, ...]
    evidence: tuple[bytes, ...]
    contents: tuple[bytes, ...]
    """Of the operations whose content must be seen, in order."""
    seen: tuple[tuple[int, bytes], ...]
    """Size and root of every checkpoint that an approval names."""


@dataclass(frozen=True, slots=True)
class KeyOperationParts:
    """What goes along with a use of a key that is no release."""

    statement: bytes
    leaf: bytes


@dataclass(frozen=True, slots=True)
class Signed:
    """``values``: one for each operation; ``proof``: the tlog-proof text that the keyholder accepted."""

    values: tuple[bytes, ...]
    proof: bytes
    witnessed: WitnessedCheckpoint


class OutcomeUnknownError(UnavailableError):
    """The order went out and no answer came back: the key may have been used."""

    default_code = "outcome-unknown"


class KeyholderClient:
    """Orders leave in the order of their checkpoints, because the keyholder's memory of the log only goes forward."""

    def __init__(self, channel: Channel, *, seconds: float) -> None:
        self._channel = channel
        self._seconds = seconds
        self._numbers = count(1)
        self._answers: dict[int, asyncio.Future[Frame]] = {}
        self._sending = asyncio.Lock()
        self._candidates: dict[int, bytes] = {}
        self._gone = False
        self._starting = asyncio.Lock()
        self.started = False
        self._beginning = asyncio.Lock()
        self._begun: int | None = None
        self._start_logged = False

    @classmethod
    async def connect(cls, descriptor: int, *, seconds: float) -> KeyholderClient:
        """Over the inherited end of the socket pair."""
        reader, writer = await asyncio.open_unix_connection(sock=socket.socket(fileno=descriptor))
        return cls(Channel(reader, writer), seconds=seconds)

    async def run(self) -> None:
        """Read answers until the keyholder is gone; then raise `UnavailableError`."""
        try:
            while True:
                frame = await self._channel.receive()
                number = frame.message.get("id")
                answer = self._answers.get(number) if isinstance(number, int) else None
                if answer is not None and not answer.done():
                    answer.set_result(frame)
        except (EOFError, OSError, SignwrightError) as problem:
            raise UnavailableError("the keyholder went away", code="no-keyholder") from problem
        finally:
            self._gone = True
            for answer in self._answers.values():
                if not answer.done():
                    answer.set_exception(OutcomeUnknownError("the keyholder went away before it answered"))

    async def close(self) -> None:
        """Hang up, which ends the keyholder."""
        await self._channel.close()

    async def status(self) -> dict[str, object]:
        """State of policy, log and keys as the keyholder has them; raises `UnavailableError`."""
        frame = await self._ask({"verb": "status"})
        self._remember_log(frame.message)
        return frame.message

    async def load_policy(self, policy: StoredPolicy) -> None:
        """Hand over a policy; raises the refusal when the keyholder does not accept it."""
        parts = [policy.root, policy.policy, *policy.documents.values(), policy.leaf, policy.proof]
        await self._ask({"verb": "policy", "documents": list(policy.documents)}, parts)

    async def word(self, verb: str, envelope: bytes) -> None:
        """Hand over a ``halt`` or ``resume``; raises the refusal."""
        await self._ask({"verb": verb}, [envelope])

    async def _ask(self, message: dict[str, object], parts: Sequence[bytes] = ()) -> Frame:
        number, answer = self._expect()
        try:
            await self._send({**message, "id": number}, parts)
            frame = await self._wait(answer, _STATUS_SECONDS)
        finally:
            del self._answers[number]
        _check_accepted(frame)
        return frame

    async def read_log(self, log: Log) -> None:
        """Have the keyholder read what is in the log, which may take a while, before somebody waits for it."""
        async with self._starting:
            if not self._start_logged:
                await self._read_to(log.size, log)

    async def start(self, log: Log, *, now: Callable[[], datetime]) -> None:
        """Have the start of the keyholder's process logged, and the log read up to it, so that it takes orders.

        Once; raises `SignwrightError`, and then goes on where it was.
        """
        async with self._starting:
            if self.started:
                return
            index = await self.begin(log, now=now)
            self._begun = None  # one that fails is logged anew
            async with self._sending:
                witnessed = await log.cosigned(index)
                size = witnessed.checkpoint.size
                await self._read_to(size, log)
                self._candidates[size] = witnessed.checkpoint.root
                await self._ask({"verb": "start"}, [witnessed.note])
            self._accepted(size)
            self.started = True

    async def begin(self, log: Log, *, now: Callable[[], datetime]) -> int:
        """Log the start of the keyholder's process, for `start` to go on with; its index."""
        async with self._beginning:
            if self._begun is None and not self.started:
                # Most of a long log is read first: cosignatures grow old. Beyond a start leaf only what is cosigned.
                told = await self._read_to(0 if self._start_logged else log.size, log)
                leaf = StartLeaf(nonce=told["nonce"], number=told["number"], time=format_time(now()))
                self._start_logged = True
                self._begun = await log.append(leaf.encode())
            return self._begun or 0

    async def _read_to(self, size: int, log: Log) -> dict[str, Any]:
        """Send the leaves that the keyholder has not read yet; what it says of its start."""
        status = await self.status()
        told = status.get("start")
        if not isinstance(told, dict):
            raise MalformedError("the keyholder's status says nothing of its start")
        for first in range(number_field(status, "read"), size, _LEAVES):
            leaves = log.leaves(first, min(first + _LEAVES, size))
            await self._ask({"verb": "leaves", "first": first}, leaves)
        return told

    async def order(self, log: Log, index: int, parts: OrderParts | KeyOperationParts) -> Signed:
        """Have signed what the leaf at ``index`` announces.

        Raises the keyholder's refusal (`DeniedError`, `KeystoreError`: the key was not used) or `OutcomeUnknownError`.
        """
        number, answer = self._expect()
        try:
            await log.cosigned(index)
            async with self._sending:
                if len(self._candidates) > _MAX_CANDIDATES:
                    await self.status()
                # The newest one, not the first that has the leaf: an earlier order may have gone out with a later
                # checkpoint.
                witnessed = await log.cosigned(index)
                proof = witnessed.proof(index).encode()
                await self._send_order(number, parts, witnessed, proof)
            frame = await self._wait(answer, self._seconds)
        finally:
            del self._answers[number]
        _check_accepted(frame)
        self._accepted(witnessed.checkpoint.size)
        return Signed(frame.parts, proof, witnessed)

    async def _send_order(
        self, number: int, parts: OrderParts | KeyOperationParts, witnessed: WitnessedCheckpoint, proof: bytes
    ) -> None:
        checkpoint = witnessed.checkpoint
        seen = dict(parts.seen) if isinstance(parts, OrderParts) else {}
        message: dict[str, object] = {"verb": "order", "id": number, "consistency": self._rows_to(witnessed, seen)}
        self._candidates[checkpoint.size] = checkpoint.root
        if isinstance(parts, KeyOperationParts):
            await self._send({**message, "verb": "key-operation"}, [parts.statement, parts.leaf, proof])
            return
        message |= {"approvals": len(parts.approvals), "evidence": len(parts.evidence), "contents": len(parts.contents)}
        head = (parts.order, parts.request, parts.operations, parts.leaf, proof)
        await self._send(message, [*head, *parts.approvals, *parts.evidence, *parts.contents])

    def _rows_to(self, witnessed: WitnessedCheckpoint, seen: Mapping[int, bytes]) -> list[dict[str, object]]:
        """Proofs from every tree that the keyholder or somebody else may have seen."""
        size = witnessed.checkpoint.size
        known = {**self._candidates, **seen}
        return [_consistency(older, root, witnessed.tree) for older, root in known.items() if 0 < older < size]

    def _expect(self) -> tuple[int, asyncio.Future[Frame]]:
        if self._gone:
            raise UnavailableError("the keyholder is gone", code="no-keyholder")
        number = next(self._numbers)
        answer: asyncio.Future[Frame] = asyncio.get_running_loop().create_future()
        self._answers[number] = answer
        return number, answer

    async def _send(self, message: dict[str, object], parts: Sequence[bytes] = ()) -> None:
        try:
            await self._channel.send(message, parts)
        except OSError as problem:
            raise OutcomeUnknownError("the keyholder went away") from problem

    async def _wait(self, answer: asyncio.Future[Frame], seconds: float) -> Frame:
        try:
            async with asyncio.timeout(seconds):
                return await answer
        except TimeoutError:
            raise OutcomeUnknownError(f"the keyholder did not answer within {seconds:.0f} s") from None

    def _accepted(self, size: int) -> None:
        """The keyholder is at ``size`` or beyond; older checkpoints are no longer its last one."""
        for older in [known for known in self._candidates if known < size]:
            del self._candidates[older]

    def _remember_log(self, status: dict[str, object]) -> None:
        log = status.get("log")
        if not isinstance(log, dict) or type(log.get("size")) is not int:
            raise MalformedError("the keyholder's status has no log")
        # Orders on their way may get it further than it says.
        ahead = {size: root for size, root in self._candidates.items() if size > log["size"]}
        self._candidates = {log["size"]: bytes.fromhex(str(log["root"])), **ahead}


def _consistency(size: int, root: bytes, tree: TileTree) -> dict[str, object]:
    hashes = [base64.b64encode(value).decode() for value in tree.consistency(size)]
    return {"size": size, "root": root.hex(), "hashes": hashes}


def _check_accepted(frame: Frame) -> None:
    """Raise the refusal in an answer."""
    if frame.message.get("ok") is True:
        return
    code = text_field(frame.message, "code", "refused")
    reasons = frame.message.get("reasons", [])
    kind = KeystoreError if code.startswith(("key-down", "key-quarantined", "key-unknown")) else DeniedError
    raise kind(f"keyholder: {text_field(frame.message, 'message')}", code=code, details={"reasons": reasons})
