# SPDX-License-Identifier: Apache-2.0
"""After a confirmation: say how far each request is, until the courier has its result."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from signwright.cli.console import say
from signwright.errors import DeniedError, PendingError, SignwrightError

if TYPE_CHECKING:
    from signwright.client.custodian import WaitingRequest

POLL_SECONDS = 0.3
_WORDS = {
    "confirmed": "confirmed",
    "verifying": "verified again",
    "deriving": "read again",
    "logging": "logged",
    "signing": "being signed",
    "timestamping": "being timestamped",
    "checking": "checked by another reader",
    "signed": "signed, waiting for the courier",
    "published": "signed, and the courier has the result",
    "custodian": "changed after you confirmed it: it waits again",
    "waiting": "held",
    "denied": "denied",
    "failed": "failed",
}
_ENDS = ("published", "custodian", "waiting", "denied", "failed")

#: Asks the gate; the answer's message.
Ask = Callable[[dict[str, object]], dict[str, object]]


def wait_until_out(ask: Ask, rows: Sequence[WaitingRequest], *, seconds: float) -> dict[str, str]:
    """How each request ended; raises the error of the first that ended badly, `PendingError` after ``seconds``."""
    names = {row.shown.request: row.hub_name for row in rows}
    end, seen = time.monotonic() + seconds, dict.fromkeys(names, "confirmed")
    answers: dict[str, dict[str, str]] = {}
    while True:
        found = ask({"type": "custodian-follow", "requests": list(names)}).get("requests")
        answers = {str(k): v for k, v in found.items() if isinstance(v, dict)} if isinstance(found, dict) else {}
        for request, answer in answers.items():
            state = str(answer.get("state"))
            if request in names and seen[request] != state:
                seen[request] = state
                more = f": {answer.get('message')}" if answer.get("message") else ""
                say(f"{names[request]} {_WORDS.get(state, state)}{more}")
        if all(state in _ENDS for state in seen.values()):
            _check(seen, answers, names)
            return seen
        if time.monotonic() >= end:
            left = [names[request] for request, state in seen.items() if state not in _ENDS]
            raise PendingError(
                f"{', '.join(left)}: the results are not out after {int(seconds)} s",
                hint="the gate goes on by itself; signed requests go out when the courier is there",
                details={"ends": seen},
            )
        time.sleep(POLL_SECONDS)


def _check(seen: dict[str, str], answers: dict[str, dict[str, str]], names: dict[str, str]) -> None:
    for request, state in seen.items():
        if state == "published":
            continue
        message = f"{names[request]} {_WORDS.get(state, state)}"
        code = str(answers[request].get("code") or state)[:60]
        details = {"ends": seen}
        if state == "denied":
            raise DeniedError(message, code=code, details=details)
        if state in ("custodian", "waiting"):
            raise PendingError(message, details=details, hint="signwright custodian list")
        raise SignwrightError(message, code=code, details=details)
