# SPDX-License-Identifier: Apache-2.0
"""What the monitor keeps between two looks: the newest checkpoint found good, and what its leaves told.

Keep the file: without it a fork in the past cannot be noticed, and every leaf is read again.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from signwright.client.alarms.history import History
from signwright.client.alarms.people import PolicyFacts
from signwright.client.files import write_private
from signwright.client.seen_log import memory_file
from signwright.client.sessions import state_folder
from signwright.errors import ConfigurationError, SignwrightError
from signwright.model.operation import Strict
from signwright.statements.models import SeenCheckpoint
from signwright.statements.parse import parse_model
from signwright.transparency.cosignature import LogTrust

MAX_STATE = 256 << 20


class MonitorState(Strict):
    """``history``: of the first ``seen.size`` leaves, None when they are to be read again; ``policy``: the newest one
    that the hub had; ``counted``: digests of requests whose receipts were counted again and held.
    """

    seen: SeenCheckpoint
    history: History | None = None
    policy: PolicyFacts | None = None
    counted: list[str] = Field(default_factory=list)


def default_file(trust: LogTrust) -> Path:
    """One file for each log: two homes on one machine are no fork of each other."""
    return memory_file(trust, state_folder() / "monitor")


def load_state(file: Path, *, origin: str) -> MonitorState | None:
    """None when there is no such file.

    Raises `ConfigurationError`: memory that does not read is no fresh start, and another log's is none of ours.
    """
    try:
        state = parse_model(MonitorState, file.read_bytes(), limit=MAX_STATE)
    except FileNotFoundError:
        return None
    except (OSError, SignwrightError) as problem:
        raise ConfigurationError(f"{file}: the remembered checkpoint does not read", code="bad-state") from problem
    if state.seen.origin != origin:
        found_and_wanted = f"remembers the log {state.seen.origin}, and the trust file names {origin}"
        raise ConfigurationError(f"{file}: {found_and_wanted}", code="bad-state")
    if state.history is not None and state.history.size != state.seen.size:
        raise ConfigurationError(
            f"{file}: remembers {state.seen.size} leaves and what {state.history.size} told", code="bad-state"
        )
    return state


def save_state(file: Path, state: MonitorState) -> None:
    write_private(file, state.model_dump_json().encode())
