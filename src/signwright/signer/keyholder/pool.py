# SPDX-License-Identifier: Apache-2.0
"""The children of each key: started one by one, replaced when they die, never offered a refused secret twice."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from signwright.errors import KeystoreError, LimitError, MalformedError
from signwright.model.framing import Frame, read_frame, reader
from signwright.signer.keyholder.child import Opener, spawn
from signwright.signer.keyholder.keystores.base import WrongSecretError, secret_identity
from signwright.signer.keyholder.settings import KeySettings
from signwright.signer.keyholder.state import State

#: Seconds in which a child must open its key, and answer a question, before it is taken for hung.
OPENING, ANSWERING = 60.0, 120.0
#: Seconds before a lost token is tried again.
RETRY = 5.0

Answer = Callable[[Frame | KeystoreError], None]


@dataclass
class Child:
    pid: int
    channel: socket.socket
    answer: Answer | None = None
    deadline: float = 0.0


@dataclass
class Key:
    """``state``: ready, down (no child answers, will be tried again) or quarantined (its secret was refused)."""

    name: str
    settings: KeySettings
    state: str = "down"
    message: str = "not opened yet"
    public_key: bytes = b""
    protection: str = ""
    retry_at: float = 0.0
    children: list[Child] = field(default_factory=list)
    waiting: deque[tuple[bytes, Answer]] = field(default_factory=deque)

    def as_json(self) -> dict[str, str]:
        return {"state": self.state, "protection": self.protection, "message": self.message}


class Pool:
    """Single-threaded; the front tells it the time and which sockets are readable."""

    def __init__(self, keys: Mapping[str, KeySettings], state: State, openers: Mapping[str, Opener]) -> None:
        self._state, self._openers = state, openers
        self.keys = {name: Key(name, settings) for name, settings in keys.items()}
        for name, identity in state.quarantined():
            if name in self.keys and identity == secret_identity(self.keys[name].settings.secret_file):
                self._quarantine(self.keys[name], "its secret was refused before; change the secret file to try again")
            else:
                state.release(name)

    def tend(self, now: float) -> None:
        """Open what is down and due, kill what hangs."""
        for key in self.keys.values():
            for child in [c for c in key.children if c.answer and now > c.deadline]:
                self._lost(key, child, "the key store did not answer in time", now)
            if key.state != "quarantined" and now >= key.retry_at:
                self._open(key, now)

    def _open(self, key: Key, now: float) -> None:
        """The first child proves the secret; only then do the others offer it too."""
        while len(key.children) < key.settings.children:
            pid, channel = spawn(key.settings, self._openers[key.settings.store])
            channel.settimeout(OPENING)
            try:
                frame = read_frame(reader(channel))
            except (EOFError, OSError, MalformedError, LimitError):
                frame = Frame({"ok": False, "code": "keystore", "message": "the child died while it opened the key"})
            channel.settimeout(ANSWERING)
            child = Child(pid, channel)
            if frame.message.get("ok") is True:
                key.public_key, key.protection = frame.parts[0], str(frame.message["protection"])
                key.children.append(child)
                key.state, key.message = "ready", ""
                continue
            self._end(child)
            key.message, key.retry_at = str(frame.message.get("message")), now + RETRY
            if frame.message.get("code") == WrongSecretError.default_code:
                self._state.quarantine(key.name, secret_identity(key.settings.secret_file))
                self._quarantine(key, key.message)
            return

    def _quarantine(self, key: Key, message: str) -> None:
        for child in list(key.children):
            self._lost(key, child, message, 0.0)
        key.state, key.message = "quarantined", message

    def sign(self, name: str, question: bytes, answer: Answer, *, now: float) -> None:
        """Queue a question; ``answer`` is called once, from `read` or at once when the key cannot be used."""
        key = self.keys.get(name)
        if key is None or not key.children:
            state, message = (key.state, key.message) if key else ("unknown", "no such key in signer.toml")
            answer(KeystoreError(f"key {name!r} is {state}: {message}", code=f"key-{state}"))
            return
        key.waiting.append((question, answer))
        self._dispatch(key, now)

    def _dispatch(self, key: Key, now: float) -> None:
        for child in [c for c in key.children if c.answer is None]:
            if not key.waiting:
                return
            question, child.answer = key.waiting.popleft()
            child.deadline = now + ANSWERING
            try:
                child.channel.sendall(question)
            except OSError:
                self._lost(key, child, "the child died", now)

    def channels(self) -> Iterator[tuple[socket.socket, Key, Child]]:
        for key in self.keys.values():
            yield from ((child.channel, key, child) for child in key.children)

    def read(self, key: Key, child: Child, *, now: float) -> None:
        """A child's socket is readable: its answer, or its end. It may have been ended since somebody looked."""
        if child not in key.children:
            return
        try:
            frame = read_frame(reader(child.channel))
        except (EOFError, OSError, MalformedError, LimitError):
            self._lost(key, child, "the child died", now)
            return
        answer, child.answer = child.answer, None
        if frame.message.get("ok") is not True:
            problem = KeystoreError(str(frame.message.get("message")), code=str(frame.message.get("code")))
            if answer:
                answer(problem)
        elif answer:
            answer(frame)
        self._dispatch(key, now)

    def _lost(self, key: Key, child: Child, message: str, now: float) -> None:
        key.children.remove(child)
        self._end(child)
        if child.answer:
            child.answer(KeystoreError(f"key {key.name!r}: {message}", code="key-child-lost"))
        if not key.children:
            key.state, key.message, key.retry_at = "down", message, now + RETRY
            while key.waiting:
                key.waiting.popleft()[1](KeystoreError(f"key {key.name!r}: {message}", code="key-down"))

    def _end(self, child: Child) -> None:
        child.channel.close()
        with contextlib.suppress(ProcessLookupError):
            os.kill(child.pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(child.pid, 0)

    def close(self) -> None:
        for key in self.keys.values():
            for child in key.children:
                self._end(child)
            key.children.clear()
