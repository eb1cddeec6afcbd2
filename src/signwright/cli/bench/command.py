# SPDX-License-Identifier: Apache-2.0
"""``signwright bench``: measure, print a table or JSON."""

from __future__ import annotations

import importlib
import json
import os
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import click

from signwright.cli.bench.figures import Figure, figure_text, report_json, report_page
from signwright.cli.bench.measure import machine
from signwright.cli.bench.scale import FULL, QUICK, Bench
from signwright.cli.console import json_result, result, say
from signwright.cli.settings import output_format
from signwright.model.times import format_time

#: Each has ``measure(bench) -> Figure``; imported when it is wanted.
FIGURES = {
    "pe": "signwright.cli.bench.pe",
    "pe-others": "signwright.cli.bench.pe_others",
    "pe-small": "signwright.cli.bench.pe_small",
    "msi": "signwright.cli.bench.msi",
    "jar": "signwright.cli.bench.jar",
    "jar-small": "signwright.cli.bench.jar_small",
    "zip": "signwright.cli.bench.archive",
    "upload": "signwright.cli.bench.upload",
    "digest": "signwright.cli.bench.digest",
    "whole": "signwright.cli.bench.whole",
    "order": "signwright.cli.bench.order",
    "decision": "signwright.cli.bench.decision",
    "log": "signwright.cli.bench.log",
    "monitor": "signwright.cli.bench.monitor",
}


@click.command("bench")
@click.option("--only", "names", multiple=True, type=click.Choice(list(FIGURES)), help="one figure; may be repeated")
@click.option("--quick", is_flag=True, help="small sizes: shows that it works, proves nothing")
@click.option("--output", type=click.Choice(["text", "json"]), help="json: one object on stdout")
@click.option(
    "--folder", type=click.Path(path_type=Path, exists=True, file_okay=False), help="where to write (needs 5 GiB)"
)
@click.option(
    "--save",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="also write bench.md and bench.json into this folder",
)
@click.option(
    "--signer-env", type=click.Path(path_type=Path), help="virtual environment of the signer (SIGNWRIGHT_SIGNER_ENV)"
)
def command(
    names: tuple[str, ...],
    quick: bool,
    output: str | None,
    folder: Path | None,
    save: Path | None,
    signer_env: Path | None,
) -> None:
    """Measure the figures that the project promises, as ratios of runs taken side by side.

    Starts servers of a trial home on loopback where a figure needs them; nothing is left running or on the disk.
    """
    described, made = machine(), format_time(datetime.now(UTC))
    figures: list[Figure] = []
    as_json = output_format(output) == "json"
    typed = " ".join(["signwright bench", *(f"--only {name}" for name in names), *(["--quick"] if quick else [])])
    for name in [name for name in FIGURES if name in names or not names]:
        say(f"measuring {name}")
        with tempfile.TemporaryDirectory(dir=folder, prefix="signwright-bench-") as place:
            bench = Bench(QUICK if quick else FULL, Path(place), signer_env or _from_environment())
            figures.append(importlib.import_module(FIGURES[name]).measure(bench))
        if not as_json:
            result("\n".join([*figure_text(figures[-1]), ""]))
        report = report_json(figures, command=typed, made=made, machine=described)
        if save is not None:
            text = json.dumps(report, indent=1, ensure_ascii=False, sort_keys=True)
            (save / "bench.json").write_text(text + "\n", encoding="utf-8")
            (save / "bench.md").write_text(report_page(figures, report), encoding="utf-8")
    if as_json:
        json_result(report)


def _from_environment() -> Path | None:
    named = os.environ.get("SIGNWRIGHT_SIGNER_ENV")
    return Path(named) if named else None
