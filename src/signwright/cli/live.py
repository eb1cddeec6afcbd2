# SPDX-License-Identifier: Apache-2.0
"""What a running home says about itself: the gate's own words, asked over its socket, and the scanner's last report."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from signwright.cli.gate_socket import ask_gate
from signwright.cli.home import Home
from signwright.errors import DeniedError, UnavailableError
from signwright.model.times import parse_time

MAX_TAIL = 64 << 10
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]+Z")


@dataclass(frozen=True, slots=True)
class LiveKey:
    """``state``: ready, down or quarantined; ``message``: why it is not ready."""

    state: str
    message: str


@dataclass(frozen=True, slots=True)
class LiveSigner:
    """``sandbox``: what the gate's workers really entered; ``cosigned``: leaves that the witnesses have signed for;
    ``waiting_policy``: version of one that weakens; ``freshness``: number, 0 without one; ``halts``: digests.
    """

    policy_version: int | None
    sandbox: str
    leaves: int
    cosigned: int
    waiting_policy: int | None = None
    freshness: int = 0
    halts: tuple[str, ...] = ()
    keys: dict[str, LiveKey] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LiveEngine:
    """``made``: the date of the definitions, None when they bear none."""

    name: str
    version: str
    definitions: str
    made: datetime | None


def ask_signer(home: Home) -> LiveSigner:
    """Raises `UnavailableError` when the gate does not answer."""
    try:
        return _signer(ask_gate(home, {"type": "status"}))
    except DeniedError as problem:
        raise UnavailableError(problem.message[:500], code=problem.code) from problem
    except (LookupError, TypeError, ValueError, AttributeError) as problem:
        raise UnavailableError(f"the gate's answer does not read: {problem}", code="no-gate") from problem


def _signer(answer: dict[str, object]) -> LiveSigner:
    said = json.loads(json.dumps(answer))
    keys = said["keyholder"]["keys"]
    return LiveSigner(
        policy_version=said["policy"]["version"] if said["policy"] else None,
        sandbox=str(said["sandbox"]),
        leaves=int(said["log"]["size"]),
        cosigned=int(said["log"]["cosigned"]),
        waiting_policy=int(said["waiting_policy"]) if said["waiting_policy"] is not None else None,
        freshness=int(said["freshness"]),
        halts=tuple(str(halt) for halt in said["halts"]),
        keys={name: LiveKey(str(key["state"]), str(key["message"])) for name, key in sorted(keys.items())},
    )


def engines_of(home: Home) -> Iterator[LiveEngine]:
    """What the scanner said when it last proved its engines; raises `OSError` when it never ran."""
    with (home.run / "scanner.log").open("rb") as log:
        log.seek(max(0, log.seek(0, 2) - MAX_TAIL))
        lines = log.read().decode("utf-8", "replace").splitlines()
    yield from engines_in(lines)


def engines_in(lines: Sequence[str]) -> Iterator[LiveEngine]:
    """The newest word on each engine in lines of the scanner's log."""
    found: dict[str, LiveEngine] = {}
    for line in lines:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and row.get("event") == "engine":
            name, definitions = str(row.get("name")), str(row.get("definitions"))
            date = _DATE.search(definitions)
            made = parse_time(date[0]) if date else None
            found[name] = LiveEngine(name, str(row.get("version")), definitions, made)
    yield from found.values()
