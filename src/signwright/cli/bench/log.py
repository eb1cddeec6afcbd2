# SPDX-License-Identifier: Apache-2.0
"""The log of the gate, leaf by leaf and in batches, each until a local witness has cosigned it."""

from __future__ import annotations

import json
import sys
from itertools import islice
from pathlib import Path

from signwright.cli.bench.figures import Bound, Figure, Row, Sample
from signwright.cli.bench.measure import run_program
from signwright.cli.bench.monitor import busy_leaves
from signwright.cli.bench.scale import Bench
from signwright.cli.bench.trial import signer_environment, trial
from signwright.cli.demo.processes import Children
from signwright.cli.home import Home

ALONE, BATCHES = "one leaf, alone", "leaves in batches of 2048"
LIMIT_MS, AIM = 10.0, 2000.0
_BATCH = 2048
#: Of those that come alone; the first few are a warm-up and not told.
_PER_REQUEST = 4


def measure(bench: Bench) -> Figure:
    """Of a home of its own."""
    with trial(bench.folder / "home", signer_environment(bench.signer_env)) as up:
        pass
    return measured(up.home, bench)


def measured(home: Home, bench: Bench) -> Figure:
    """The gate's log, its state and its files in a process of its own; the witness is the home's, a process too. The
    home is down.
    """
    alone = _PER_REQUEST * bench.scale.requests + 5
    leaves = bench.folder / "leaves"
    some = islice(busy_leaves(alone + bench.scale.rounds * _BATCH), alone + bench.scale.rounds * _BATCH)
    leaves.write_bytes(b"".join(leaf.encode() + b"\n" for leaf in some))
    told: list[str | Path] = [
        "--settings",
        home.settings("signer"),
        "--courier",
        home.settings("courier"),
        "--leaves",
        leaves,
        "--alone",
        str(alone),
    ]
    with Children(home) as children:
        children.start("witness")
        found = json.loads(run_program([sys.executable, "-P", "-m", "signwright.signer.measure", *told]))
    rows = (
        Row(ALONE, "ms", tuple(map(Sample, found["alone_ms"]))),
        Row(BATCHES, "leaves/s", tuple(map(Sample, found["batch_rates"]))),
    )
    bounds = (
        Bound(ALONE, rows[0].median, LIMIT_MS, unit="ms"),
        Bound(BATCHES, rows[1].median, AIM, "at least", "leaves/s"),
    )
    notes = (
        "until the leaf is durable and a checkpoint over it cosigned by the one local witness, a process on loopback",
        "the log's own process calls the witness, without the courier between them: one Unix socket less",
        "a leaf that is alone waits 3 ms for company before it is written",
    )
    return Figure("log", "the log takes leaves, with one local witness", rows, bounds, notes)
