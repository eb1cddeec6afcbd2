# SPDX-License-Identifier: Apache-2.0
"""Words with the gate over its own socket: what an operator on the signer host may say. The hub has no part in it."""

from __future__ import annotations

import socket
import tomllib
from collections.abc import Sequence
from pathlib import Path

from signwright.cli.home import Home
from signwright.errors import DeniedError, SignwrightError, UnavailableError
from signwright.model.framing import Frame, encode_frame, read_frame, reader

ASK_SECONDS = 15.0
MAX_SAID = 4000


def ask_gate(
    home: Home, message: dict[str, object], parts: Sequence[bytes] = (), *, seconds: float = ASK_SECONDS
) -> dict[str, object]:
    """The gate's answer to one message; ``parts``: what travels beside it.

    Raises `DeniedError` with the gate's own code for a refusal, `UnavailableError` when it does not answer, or says
    that somebody whom it needs does not.
    """
    return ask_socket(socket_of(home), message, parts, seconds=seconds)


def socket_of(home: Home) -> Path:
    """Where the home's gate listens; raises `UnavailableError` when its settings do not say."""
    try:
        settings = tomllib.loads(home.settings("signer").read_text(encoding="utf-8"))
        return home.settings("signer").parent / str(settings["gate"]["socket"])
    except (OSError, tomllib.TOMLDecodeError, LookupError, TypeError) as problem:
        raise _silent(problem) from problem


def ask_socket(
    path: Path, message: dict[str, object], parts: Sequence[bytes] = (), *, seconds: float = ASK_SECONDS
) -> dict[str, object]:
    """Like `ask_gate`, for the socket at ``path``."""
    return exchange(path, message, parts, seconds=seconds).message


def exchange(
    path: Path, message: dict[str, object], parts: Sequence[bytes] = (), *, seconds: float = ASK_SECONDS
) -> Frame:
    """Like `ask_socket`, with what travels beside the answer."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as gate:
            gate.settimeout(seconds)
            gate.connect(str(path))
            gate.sendall(encode_frame({"id": 1, **message}, parts))
            frame = read_frame(reader(gate))
            answer = frame.message
    except SignwrightError as problem:
        raise UnavailableError(f"the gate's answer does not read: {problem.message}", code="no-gate") from problem
    except (OSError, EOFError, LookupError, TypeError, AttributeError) as problem:
        raise _silent(problem) from problem
    if answer.get("ok") is not True:
        hint = answer.get("hint")
        kind = UnavailableError if answer.get("unavailable") is True else DeniedError
        raise kind(
            str(answer.get("message"))[:MAX_SAID],
            code=str(answer.get("code"))[:60],
            hint=str(hint)[:MAX_SAID] if hint else None,
        )
    return frame


def _silent(problem: Exception) -> UnavailableError:
    said = getattr(problem, "strerror", None) or str(problem) or type(problem).__name__
    return UnavailableError(f"the gate does not answer: {said}", code="no-gate")
