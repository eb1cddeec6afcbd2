# SPDX-License-Identifier: Apache-2.0
"""What the demonstration found: steps with their time, facts with what was wanted, words for whoever watches."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Fact:
    """Something that had to happen. ``ok``: it did, with the very reason that was wanted."""

    step: int
    name: str
    wanted: str
    found: str
    ok: bool
    seconds: float


@dataclass(slots=True)
class Step:
    """``seconds`` is known when the step is over."""

    number: int
    title: str
    seconds: float = 0.0
    finished: bool = False


#: Writes one line; the second argument is its style: ``title``, ``good``, ``bad``, ``dim`` or nothing.
Write = Callable[[str, str], None]


@dataclass(slots=True)
class Report:
    """Collects; `write` shows what goes on."""

    write: Write
    steps: list[Step] = field(default_factory=list)
    facts: list[Fact] = field(default_factory=list)
    numbers: dict[str, int] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        return bool(self.facts) and all(f.ok for f in self.facts) and all(s.finished for s in self.steps)

    @contextmanager
    def step(self, number: int, title: str) -> Iterator[None]:
        """Measure a step; it is finished when nothing was raised."""
        step = Step(number, title)
        self.steps.append(step)
        self.write(f"\n{number}. {title}", "title")
        started = time.perf_counter()
        try:
            yield
            step.finished = True
        finally:
            step.seconds = time.perf_counter() - started

    def fact(self, name: str, *, wanted: str, found: str, seconds: float = 0.0, text: str = "") -> bool:
        """Note what was found; true when it is what was wanted. ``text``: more words for people."""
        ok = found == wanted
        self.facts.append(Fact(self.steps[-1].number, name, wanted, found, ok, seconds))
        mark, style = ("ok", "good") if ok else ("FAILED", "bad")
        words = found if ok else f"found {found}; wanted {wanted}"
        self.write(f"   {mark:<7} {name}: {words}" + (f" ({text})" if text else ""), style)
        return ok

    def line(self, text: str) -> None:
        """A line for people."""
        self.write(f"           {text}", "dim")

    def as_json(self, *, seconds: float) -> dict[str, object]:
        """Plain JSON data."""
        return {
            "ok": self.ok,
            "seconds": round(seconds, 2),
            "steps": [
                {"number": s.number, "title": s.title, "seconds": round(s.seconds, 2), "finished": s.finished}
                for s in self.steps
            ],
            "facts": [
                {
                    "step": f.step,
                    "name": f.name,
                    "wanted": f.wanted,
                    "found": f.found,
                    "ok": f.ok,
                    "seconds": round(f.seconds, 2),
                }
                for f in self.facts
            ],
            **self.numbers,
        }
