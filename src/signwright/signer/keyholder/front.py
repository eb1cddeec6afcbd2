# SPDX-License-Identifier: Apache-2.0
"""The front: reads the gate's messages, makes every check, commits claims in groups, and only then asks a child to
sign.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import time
from collections.abc import Callable
from datetime import UTC, datetime

from signwright.errors import KeystoreError, SignwrightError
from signwright.model.framing import Frame, decode_frame, encode_frame, read_frame, reader
from signwright.model.refusal import or_refusal, refusal
from signwright.policy.key_operations import check_key_operation, read_key_operation
from signwright.policy.orders import Approved, check_key, check_order, read_order
from signwright.policy.standing import Standing
from signwright.signer.keyholder.child import question
from signwright.signer.keyholder.pool import Pool
from signwright.signer.keyholder.state import State

#: Orders checked together share one durable commit. A group takes no further message beyond so many bytes.
GROUP, GROUP_BYTES = 64, 16 << 20
KEY_VERBS = ("order", "key-operation")


class Front:
    """Owns state and policy; talks to one gate. ``now``: the clock; ``patience``: seconds that a frame may rest."""

    def __init__(
        self,
        state: State,
        pool: Pool,
        *,
        profile: int,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        patience: float = 30.0,
    ) -> None:
        self._state, self._pool, self._now, self._patience = state, pool, now, patience
        self._profile = profile
        stored = state.newest_policy()
        known = decode_frame(stored) if stored else None
        self._standing = Standing(state, profile=profile, nonce=os.urandom(16).hex(), policy=known)

    def serve(self, gate: socket.socket) -> None:
        """Until the gate hangs up, stops within a frame, or sends what is no frame: nothing after it could be read."""
        gate.settimeout(self._patience)
        with contextlib.suppress(EOFError, OSError, SignwrightError):
            self._serve(gate)

    def _serve(self, gate: socket.socket) -> None:
        self._pool.tend(time.monotonic())
        while True:
            children = list(self._pool.channels())
            ready, _, _ = select.select([gate, *(channel for channel, _, _ in children)], [], [], 1.0)
            for channel, key, child in children:
                if channel in ready:
                    self._pool.read(key, child, now=time.monotonic())
            if gate in ready:
                self._take(gate)
            self._pool.tend(time.monotonic())

    def _take(self, gate: socket.socket) -> None:
        """Read what lies there, up to a group, and answer it."""
        frames = [read_frame(reader(gate))]
        while len(frames) < GROUP and sum(map(_size, frames)) < GROUP_BYTES and select.select([gate], [], [], 0)[0]:
            frames.append(read_frame(reader(gate)))
        orders = [frame for frame in frames if frame.message.get("verb") in KEY_VERBS]
        for frame in frames:
            if frame.message.get("verb") not in KEY_VERBS:
                self._send(gate, frame, lambda f=frame: self._other(f))  # type: ignore[misc]
        if orders:
            self._orders(gate, orders)

    def _send(
        self, gate: socket.socket, frame: Frame, work: Callable[[], tuple[dict[str, object], list[bytes]]]
    ) -> None:
        """Answer with what ``work`` gives, or with its refusal in words."""
        found = or_refusal(work)
        message, parts = (refusal(found), []) if isinstance(found, SignwrightError) else found
        gate.sendall(encode_frame({"id": _id(frame), **message}, parts))

    def _other(self, frame: Frame) -> tuple[dict[str, object], list[bytes]]:
        if frame.message.get("verb") != "status":
            return {"ok": True, **self._standing.take(frame, now=self._now())}, []
        size, root = self._state.log()
        keys = {name: key.as_json() for name, key in self._pool.keys.items()}
        log = {"size": size, "root": root.hex()}
        return {"ok": True, **self._standing.status(), "log": log, "keys": keys}, []

    def _orders(self, gate: socket.socket, frames: list[Frame]) -> None:
        """Check each, make all claims durable at once, then let the keys be used."""
        approved: list[tuple[Frame, Approved]] = []
        self._state.begin()
        for frame in frames:
            found = or_refusal(lambda f=frame: self._check(f))  # type: ignore[misc]
            if isinstance(found, SignwrightError):
                gate.sendall(encode_frame({"id": _id(frame), **refusal(found)}))
            else:
                approved.append((frame, found))
        self._state.commit()
        for frame, one in approved:
            self._redeem(gate, frame, one)

    def _check(self, frame: Frame) -> Approved:
        now = self._now()
        policy = self._standing.may_sign(now=now)
        if frame.message["verb"] == "order":
            order = read_order(frame.message, frame.parts)
            approved = check_order(policy, self._state, order, profile=self._profile, now=now)
        else:
            approved = check_key_operation(policy, self._state, read_key_operation(frame.message, frame.parts), now=now)
        check_key(approved, self._pool.keys.get(approved.key_name))
        checkpoint, hour = approved.checkpoint, int(now.timestamp()) // 3600
        self._state.claim(approved.claim, hour=hour, size=checkpoint.size, root=checkpoint.root)
        return approved

    def _redeem(self, gate: socket.socket, frame: Frame, approved: Approved) -> None:
        def answer(outcome: Frame | KeystoreError) -> None:
            if isinstance(outcome, KeystoreError):
                gate.sendall(encode_frame({"id": _id(frame), **refusal(outcome)}))
            else:
                gate.sendall(encode_frame({"id": _id(frame), "ok": True}, outcome.parts))

        self._pool.sign(approved.key_name, question(approved.contents), answer, now=time.monotonic())


def _id(frame: Frame) -> int | None:
    """A number or nothing: whatever else stands there is not repeated."""
    found = frame.message.get("id")
    return found if type(found) is int else None


def _size(frame: Frame) -> int:
    return sum(map(len, frame.parts))
