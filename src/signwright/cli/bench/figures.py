# SPDX-License-Identifier: Apache-2.0
"""What a figure is, and the arithmetic: medians, ratios of runs that were taken side by side, limits, table, JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Literal

from signwright.cli.console import table

FORMAT = "signwright-bench/1"


@dataclass(frozen=True, slots=True)
class Sample:
    """One run. ``extra``: further measurements of the same run, by name with unit (``cpu s``, ``peak MiB``)."""

    value: float
    extra: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Row:
    """Runs of one thing, in the order in which they were taken. ``beside``: the row that this one is compared with;
    run i of both was taken in the same round.
    """

    name: str
    unit: str
    samples: tuple[Sample, ...]
    beside: str | None = None

    @property
    def median(self) -> float:
        return median(sample.value for sample in self.samples)

    def extra(self) -> dict[str, float]:
        """Medians of what was measured besides; of memory the largest."""
        names = sorted({name for sample in self.samples for name in sample.extra})
        found = {name: [s.extra[name] for s in self.samples if name in s.extra] for name in names}
        return {name: max(values) if name.endswith("MiB") else median(values) for name, values in found.items()}


@dataclass(frozen=True, slots=True)
class Bound:
    """A promise: ``found`` against ``limit``. ``limit`` None: printed, not promised."""

    name: str
    found: float
    limit: float | None = None
    wanted: Literal["at most", "at least"] = "at most"
    unit: str = ""

    @property
    def holds(self) -> bool | None:
        if self.limit is None:
            return None
        return self.found <= self.limit if self.wanted == "at most" else self.found >= self.limit


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure with its rows, what was promised, and what a reader has to know."""

    name: str
    title: str
    rows: tuple[Row, ...]
    bounds: tuple[Bound, ...]
    notes: tuple[str, ...] = ()


#: A run of something; the round's number goes in.
Run = Callable[[int], Sample]


def interleaved(rounds: int, runs: Mapping[str, Run]) -> dict[str, tuple[Sample, ...]]:
    """Each round runs everything once, so that a slow minute of the machine hits all alike."""
    found: dict[str, list[Sample]] = {name: [] for name in runs}
    for number in range(rounds):
        for name, run in runs.items():
            found[name].append(run(number))
    return {name: tuple(samples) for name, samples in found.items()}


def ratios(row: Row, base: Row) -> tuple[float, ...]:
    """``row`` over ``base``, round by round."""
    return tuple(one.value / other.value for one, other in zip(row.samples, base.samples, strict=True))


def ratio(row: Row, base: Row) -> float:
    """Median over the rounds of the ratio within each."""
    return median(ratios(row, base))


def figure_json(figure: Figure) -> dict[str, object]:
    """Plain JSON data."""
    by_name = {row.name: row for row in figure.rows}
    rows = []
    for row in figure.rows:
        one: dict[str, object] = {
            "name": row.name,
            "unit": row.unit,
            "median": _round(row.median),
            "samples": [_round(sample.value) for sample in row.samples],
            "extra": {name: _round(value) for name, value in row.extra().items()},
        }
        if row.beside is not None:
            one["beside"] = row.beside
            one["ratios"] = [_round(value) for value in ratios(row, by_name[row.beside])]
            one["ratio"] = _round(ratio(row, by_name[row.beside]))
        rows.append(one)
    bounds = [
        {
            "name": bound.name,
            "found": _round(bound.found),
            "limit": bound.limit,
            "wanted": bound.wanted,
            "unit": bound.unit,
            "holds": bound.holds,
        }
        for bound in figure.bounds
    ]
    return {"name": figure.name, "title": figure.title, "rows": rows, "bounds": bounds, "notes": list(figure.notes)}


def report_json(
    figures: Sequence[Figure], *, command: str, made: str, machine: Mapping[str, object]
) -> dict[str, object]:
    """The whole report as plain JSON data."""
    return {
        "format": FORMAT,
        "command": command,
        "made": made,
        "machine": dict(machine),
        "figures": [figure_json(figure) for figure in figures],
    }


def figure_text(figure: Figure) -> list[str]:
    """Lines for people."""
    by_name = {row.name: row for row in figure.rows}
    rows = []
    for row in figure.rows:
        compared = f"{ratio(row, by_name[row.beside]):.2f} of {row.beside}" if row.beside else ""
        more = ", ".join(f"{name} {_short(value)}" for name, value in row.extra().items())
        rows.append((row.name, f"{_short(row.median)} {row.unit}", compared, str(len(row.samples)), more))
    lines = [figure.title, *(f"  {line}" for line in table(("what", "median", "ratio", "runs", "besides"), rows))]
    for bound in figure.bounds:
        mark = {True: "holds", False: "MISSED", None: "no promise"}[bound.holds]
        limit = (
            f", wanted {bound.wanted} {_short(bound.limit)} {bound.unit}".rstrip() if bound.limit is not None else ""
        )
        lines.append(f"  {mark}: {bound.name}: {_short(bound.found)} {bound.unit}".rstrip() + limit)
    return [*lines, *(f"  note: {note}" for note in figure.notes)]


def report_page(figures: Sequence[Figure], report: Mapping[str, object]) -> str:
    """The report as a Markdown page."""
    machine = report["machine"]
    assert isinstance(machine, dict)
    facts = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in machine.items())
    lines = [
        "# Figures",
        "",
        f"Made {report['made']} by `{report['command']}`; every sample: [bench.json](bench.json).",
        f"Machine: {facts}.",
        "",
        "Every ratio is the median over rounds; in each round both sides ran one after the other.",
        "",
    ]
    for figure in figures:
        title, *rest = figure_text(figure)
        lines += [f"## {title}", "", "```text", *(line.removeprefix("  ") for line in rest), "```", ""]
    return "\n".join(lines)


def _short(value: float) -> str:
    return f"{value:.2f}" if abs(value) < 100 else f"{value:.0f}"


def _round(value: float) -> float:
    return round(value, 4)
