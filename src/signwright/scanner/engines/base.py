# SPDX-License-Identifier: Apache-2.0
"""The contract of an engine. It finds something, finds nothing, or raises: there is no third answer that counts as
clean.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """``definitions``: date or digest of what it looks for, as the engine says it."""

    name: str
    version: str
    definitions: str


class Session(Protocol):
    """An engine at work on one artifact and on what comes out of it."""

    def scan(self, index: int) -> tuple[str, ...]:
        """Names of the rules that match file ``index`` as it is now. Raises `SignwrightError` when the file was not
        fully scanned, for whatever reason: too large, time over, engine down.
        """
        ...


class Engine(Protocol):
    @property
    def name(self) -> str: ...

    def info(self) -> EngineInfo:
        """What it is and knows, asked anew; raises `UnavailableError`."""
        ...

    def prove(self) -> None:
        """Find the test file, refuse what is too large. Raises `ConfigurationError` or `UnavailableError`."""
        ...

    def session(self, files: Sequence[int]) -> AbstractContextManager[Session]:
        """``files``: read-only descriptors; their content may change between two scans, never during one."""
        ...


#: The EICAR test file (eicar.org), put together here so that this source is not itself a find.
EICAR = b"X5O!P%@AP[4\\PZX54(P^)7CC)7}$" + b"EICAR-STANDARD-ANTIVIRUS-" + b"TEST-FILE!$H+H*"
