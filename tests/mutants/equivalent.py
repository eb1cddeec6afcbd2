# SPDX-License-Identifier: Apache-2.0
"""Mutants that no test can notice: ``module | function | change | reason``, line by line in ``equivalent.txt``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tests.mutants.find import Mutant

FILE = Path(__file__).with_name("equivalent.txt")


@dataclass(frozen=True)
class Equivalent:
    module: str
    function: str
    change: str
    reason: str


def read_equivalent(text: str | None = None) -> list[Equivalent]:
    """Lines of the file; empty ones and comments are left out. Raises `ValueError` for one without its four parts."""
    found = []
    for line in (FILE.read_text() if text is None else text).splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        parts = [part.strip() for part in line.split(" | ")]
        # A change may hold a bar itself: the first two parts and the last are certain.
        if len(parts) < 4 or not all(parts):
            raise ValueError(f"wanted module | function | change | reason: {line}")
        found.append(Equivalent(parts[0], parts[1], " | ".join(parts[2:-1]), parts[-1]))
    return found


def match(lines: Iterable[Equivalent], mutants: Iterable[Mutant]) -> dict[Mutant, Equivalent]:
    """Mutant → its line; raises `ValueError` for a line that matches nothing any more."""
    by_name: dict[tuple[str, str, str], list[Mutant]] = {}
    for one in mutants:
        by_name.setdefault((one.module, one.function, one.text), []).append(one)
    found: dict[Mutant, Equivalent] = {}
    for line in lines:
        rows = by_name.get((line.module, line.function, line.change))
        if not rows:
            raise ValueError(f"equivalent.txt: nothing matches {line.module} | {line.function} | {line.change}")
        found.update(dict.fromkeys(rows, line))
    return found
