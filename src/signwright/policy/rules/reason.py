# SPDX-License-Identifier: Apache-2.0
"""Why not, or why not yet."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Reason:
    """``rule``: stable code; ``found`` and ``wanted``: for people; ``who``: can change it.

    ``await``: somebody or something can still add what is missing.
    """

    rule: str
    effect: Literal["deny", "await"]
    found: str
    wanted: str
    who: str

    def __str__(self) -> str:
        return f"{self.rule}: found {self.found}; wanted {self.wanted} ({self.who})"

    def as_json(self) -> dict[str, str]:
        return asdict(self)
