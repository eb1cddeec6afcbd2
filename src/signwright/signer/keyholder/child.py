# SPDX-License-Identifier: Apache-2.0
"""A child: one open key, one socket pair, one question at a time. It only signs; it decides nothing."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable

from signwright.envelopes.base import ToBeSigned
from signwright.envelopes.keys import check_signature_value
from signwright.errors import SignwrightError
from signwright.model.framing import Frame, encode_frame, read_frame, reader
from signwright.signer.keyholder.keystores.base import DeviceGoneError, KeyStore
from signwright.signer.keyholder.settings import KeySettings

#: Exit codes that the front reads.
GONE, FAILED = 3, 4
MAX_FD = 1 << 16

Opener = Callable[[KeySettings], KeyStore]


def spawn(settings: KeySettings, opener: Opener) -> tuple[int, socket.socket]:
    """Fork a child for a key; (process id, our end). It says first whether the key opened."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    pid = os.fork()
    if pid:
        theirs.close()
        return pid, ours
    code = FAILED
    try:
        # Nothing of the front crosses: neither its database nor the gate's socket nor another child's.
        keep = theirs.fileno()
        os.closerange(3, keep)
        os.closerange(keep + 1, MAX_FD)
        code = _serve(theirs, settings, opener)
    finally:
        os._exit(code)


def _serve(channel: socket.socket, settings: KeySettings, opener: Opener) -> int:
    try:
        key = opener(settings)
    except SignwrightError as problem:
        channel.sendall(encode_frame({"ok": False, "code": problem.code, "message": problem.message}))
        return FAILED
    channel.sendall(encode_frame({"ok": True, "protection": key.protection}, [key.public_key]))
    while True:
        try:
            frame = read_frame(reader(channel))
        except EOFError:
            return 0
        try:
            channel.sendall(encode_frame({"ok": True}, [_sign(key, content) for content in _contents(frame)]))
        except SignwrightError as problem:
            channel.sendall(encode_frame({"ok": False, "code": problem.code, "message": problem.message}))
            if isinstance(problem, DeviceGoneError):
                return GONE


def _sign(key: KeyStore, content: ToBeSigned) -> bytes:
    value = key.sign(content)
    # A faulty RSA-CRT signature gives the private key away: nothing leaves before it verified.
    check_signature_value(key.public_key, content, value)
    return value


def question(contents: tuple[ToBeSigned, ...]) -> bytes:
    """The frame that asks a child to sign ``contents``."""
    rows = [[c.hash_algorithm, c.prehashed] for c in contents]
    return encode_frame({"contents": rows}, [c.content for c in contents])


def _contents(frame: Frame) -> list[ToBeSigned]:
    rows = frame.message["contents"]
    assert isinstance(rows, list)
    return [ToBeSigned(part, str(row[0]), bool(row[1])) for row, part in zip(rows, frame.parts, strict=True)]
