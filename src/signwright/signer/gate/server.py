# SPDX-License-Identifier: Apache-2.0
"""The gate's socket: one courier, its frames, and a connection of its own for each artifact.

Only the courier's user is heard, which is the gate's own unless the settings name another, and operators who ask how
the gate is, halt it, or sit at the custodian's console. Nothing that comes in here can make the gate sign: requests and
confirmations are verified from their signatures, and an errand's answer is checked by whoever asked.
"""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from signwright.errors import ConfigurationError, LimitError, MalformedError, SignwrightError, UnavailableError
from signwright.model.framing import Frame
from signwright.signer.channel import STREAM_LIMIT, Channel, indexed_parts, number_field, text_field
from signwright.signer.gate import outcome
from signwright.signer.gate.console import ConsoleVerb
from signwright.signer.gate.custodian import WAITING
from signwright.signer.gate.cycle import Cycle
from signwright.signer.gate.errands import Errands
from signwright.signer.gate.outcome import Outcome
from signwright.signer.gate.verify import open_job
from signwright.signer.users import Users, peer_user

#: Of one user: a courier that holds all of its own keeps nobody else from halting.
MAX_CONNECTIONS = 64
#: A request that is done sooner has no news of its progress.
QUIET_SECONDS = 0.2
_FIRST_FRAME_SECONDS = 10.0
_MAX_FIRST_FRAME = 8 << 20
#: What an operator may say, and whoever takes no place of the courier's.
OPERATOR_VERBS = ("status", "halt", "resume", "freshness", "key-operation")

#: Gives the answer to a ``policy``, ``status`` or ``hub-events`` message: members beside ``type`` and ``id``.
Verb = Callable[[Frame], Awaitable[dict[str, object]]]


@dataclass(frozen=True, slots=True)
class Peers:
    """User ids that are heard: the ``courier`` in everything but the custodian's console, ``operators`` there and in
    `OPERATOR_VERBS` only. ``alone``: one user runs everything, and so is also the operator.
    """

    courier: int
    operators: frozenset[int]
    alone: bool = False

    @classmethod
    def of(cls, users: Users | None) -> Peers:
        """Those of the settings; None: only the gate's own user, as courier."""
        return cls(users.courier, users.operators) if users else cls(os.getuid(), frozenset(), alone=True)

    def hear(self, user: int) -> bool:
        return user == self.courier or user in self.operators

    def at_console(self, user: int) -> bool:
        """Who may speak to the custodian's console. Never a courier that is a user of its own."""
        return user in self.operators or (self.alone and user == self.courier)


class Server:
    """``verbs``: handlers by message type; ``sign`` is built in. ``console``: the custodian's, on connections of their
    own only. ``peers``: None for the gate's own user.
    """

    def __init__(
        self,
        cycle: Cycle,
        errands: Errands,
        *,
        verbs: Mapping[str, Verb],
        console: Mapping[str, ConsoleVerb],
        requests: int,
        peers: Peers | None = None,
    ) -> None:
        self.cycle = cycle
        self._errands = errands
        self._verbs = verbs
        self._console = console
        self._requests = requests
        self._peers = peers or Peers.of(None)
        self._at_work = 0
        self._open: dict[Channel, asyncio.Task[None] | None] = {}
        self._held: Counter[int] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()

    async def listen(self, path: Path) -> asyncio.Server:
        """A socket at ``path``, mode 0600, or 0660 for a courier that is another user; raises `ConfigurationError`.

        Its group is then its folder's (setgid), to which the gate need not belong.
        """
        listener = _bound(path, shared=self._peers.courier != os.getuid())
        return await asyncio.start_unix_server(self._connected, sock=listener, limit=STREAM_LIMIT)

    async def close(self) -> None:
        """Hang up on everybody and drop what is at work; what stands in the log is closed at the next start."""
        handlers = [task for task in self._open.values() if task is not None]
        for channel in self._open:
            channel.writer.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*handlers, *self._tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        channel = Channel(reader, writer)
        self._open[channel] = asyncio.current_task()
        try:
            user = peer_user(writer.get_extra_info("socket"))
            if not self._peers.hear(user) or self._held[user] >= MAX_CONNECTIONS:
                return
            self._held[user] += 1
            try:
                await self._hear(channel, user)
            finally:
                self._held[user] -= 1
        except (SignwrightError, OSError, EOFError, TimeoutError):
            return  # a peer that does not keep to the form is hung up on; its requests are not lost, it asks again
        finally:
            self._open.pop(channel, None)
            self._errands.disconnect(channel)
            await channel.close()

    async def _hear(self, channel: Channel, user: int) -> None:
        """A connection of somebody who is heard, to its end."""
        async with asyncio.timeout(_FIRST_FRAME_SECONDS):
            first = await channel.receive(max_body=_MAX_FIRST_FRAME)
        while await self._answered_here(channel, first, user):
            first = await channel.receive(max_body=_MAX_FIRST_FRAME)
        if user != self._peers.courier:
            return
        if first.message.get("type") == "blob":
            await self._errands.take_blob(first, channel)
        else:
            await self._courier(channel, first)

    async def _answered_here(self, channel: Channel, frame: Frame, user: int) -> bool:
        """Who only asks how we are, stops us, or is a custodian takes no place of the courier's and cannot be kept out
        by it. False for any other message.
        """
        kind = str(frame.message.get("type"))
        if kind in OPERATOR_VERBS and kind in self._verbs:
            await self._run_verb(channel, number_field(frame.message, "id"), frame, self._verbs[kind])
            return True
        if kind in self._console and self._peers.at_console(user):
            await self._run_console(channel, number_field(frame.message, "id"), frame, self._console[kind])
            return True
        return False

    async def _courier(self, channel: Channel, first: Frame) -> None:
        """The newest connection is the courier's."""
        older = self._errands.connect(channel)
        if older is not None:
            await older.close()
        frame = first
        while True:
            self._dispatch(channel, frame)
            frame = await channel.receive()

    def _dispatch(self, channel: Channel, frame: Frame) -> None:
        kind = text_field(frame.message, "type")
        if kind == "answer":
            self._errands.answered(frame)
            return
        number = number_field(frame.message, "id")
        if self._at_work >= self._requests:
            problem = LimitError(f"{self._at_work} requests are at work", code="busy")
            work = channel.send(*_busy(kind, number, problem))
        elif kind == "sign":
            work = self._sign(channel, number, frame)
        elif kind in self._verbs:
            work = self._run_verb(channel, number, frame, self._verbs[kind])
        else:
            raise MalformedError(f"the gate knows no message {kind[:40]!r}", code="unknown-message")
        self._at_work += 1  # here, and not when the task begins: a burst is read without a pause in between
        task = asyncio.create_task(self._guarded(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _guarded(self, work: Awaitable[None]) -> None:
        try:
            await work
        except OSError:
            return  # the courier is gone; it will ask again and get the same answer
        finally:
            self._at_work -= 1

    async def _sign(self, channel: Channel, number: int, frame: Frame) -> None:
        began = asyncio.get_running_loop().time()
        eager = frame.message.get("eager") is True  # a courier that must know when we are at rest

        async def progress(state: str) -> None:
            if eager or state == WAITING or asyncio.get_running_loop().time() - began > QUIET_SECONDS:
                await channel.send({"type": "progress", "id": number, "state": state})

        try:
            at = number_field(frame.message, "request")
            if at >= len(frame.parts):
                raise MalformedError("the request is not among the parts")
            job = open_job(frame.parts[at], indexed_parts(frame, "approvals"), indexed_parts(frame, "evidence"))
            answer = (await self.cycle.sign(job, progress)).frame(number)
        except SignwrightError as problem:
            answer = outcome.failed(problem).frame(number)
            await channel.send(answer.message, answer.parts)
            return
        await channel.send(answer.message, answer.parts)
        self.cycle.handed_out(job)

    async def _run_verb(self, channel: Channel, number: int, frame: Frame, verb: Verb) -> None:
        try:
            fields = await verb(frame)
        except SignwrightError as problem:
            fields = {**_refusal(problem), "details": problem.details}
        await channel.send({"type": "done", "id": number, **fields})

    async def _run_console(self, channel: Channel, number: int, frame: Frame, verb: ConsoleVerb) -> None:
        parts: Sequence[bytes] = ()
        try:
            fields, parts = await verb(frame)
        except SignwrightError as problem:
            fields = {**_refusal(problem), "hint": problem.hint}
        await channel.send({"type": "done", "id": number, **fields}, parts)


def _refusal(problem: SignwrightError) -> dict[str, object]:
    """``unavailable``: nobody said no; asking again later may help."""
    unavailable = isinstance(problem, UnavailableError)
    return {"ok": False, "code": problem.code, "message": problem.message, "unavailable": unavailable}


def _bound(path: Path, *, shared: bool) -> socket.socket:
    """A socket at ``path`` that only its user, or also its group, may connect to. What a gate before us left there is
    removed.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o117 if shared else 0o177)
    try:
        if path.exists() and not stat.S_ISSOCK(path.stat().st_mode):
            raise ConfigurationError(f"gate socket {path}: something else is there", code="listen")
        path.unlink(missing_ok=True)
        listener.bind(str(path))
    except (OSError, ConfigurationError) as problem:
        listener.close()
        raise ConfigurationError(f"gate socket {path}: {problem}", code="listen") from problem
    finally:
        os.umask(before)
    return listener


def _busy(kind: str, number: int, problem: SignwrightError) -> tuple[dict[str, object], tuple[bytes, ...]]:
    if kind == "sign":
        frame = Outcome("failed", problem.code, problem.message).frame(number)
        return frame.message, frame.parts
    return {"type": "done", "id": number, "ok": False, "code": problem.code, "message": problem.message}, ()
