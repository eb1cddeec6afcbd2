# SPDX-License-Identifier: Apache-2.0
"""A JAR with one large stored member, stored file to signed file, with jarsigner signing the same file beside us."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

from signwright.cli.bench.figures import Bound, Figure, Row, Run, Sample, interleaved, ratio
from signwright.cli.bench.jar_file import PASSWORD, make_jar, make_key_store
from signwright.cli.bench.measure import timed
from signwright.cli.bench.once import in_fresh_process
from signwright.cli.bench.pe_file import MIB, make_key
from signwright.cli.bench.scale import Bench

OURS, OTHER = "signwright", "jarsigner"
LIMIT, MEMORY_MIB = 0.6, 64


def measure(bench: Bench) -> Figure:
    """Every round: we and jarsigner, each in a fresh process."""
    folder = bench.folder / "jar"
    folder.mkdir()
    make_jar(folder / "source", bench.scale.half_mib * MIB)
    make_key_store(make_key(folder), folder / "key.p12")
    runs: dict[str, Run] = {OURS: partial(ours, folder)}
    if shutil.which(OTHER):
        runs[OTHER] = partial(jarsigner, folder)
    ours(folder, 0)  # fills the page cache
    found = interleaved(bench.scale.rounds, runs)
    shutil.rmtree(folder)
    beside = OTHER if OTHER in found else None
    rows = {name: Row(name, "s", samples, beside if name == OURS else None) for name, samples in found.items()}
    bounds = [Bound("peak memory of our process", rows[OURS].extra()["peak MiB"], MEMORY_MIB, unit="MiB")]
    if OTHER in rows:
        bounds.insert(0, Bound(f"{OURS} / {OTHER}", ratio(rows[OURS], rows[OTHER]), LIMIT))
    notes = (
        "our clock runs in the process, without its start; jarsigner's has that of Java in it; nobody calls fsync",
        "neither asks for a timestamp",
    )
    title = f"JAR with one stored member of {bench.scale.half_mib} MiB, jarsigner beside us"
    return Figure("jar", title, tuple(rows.values()), tuple(bounds), notes)


def ours(folder: Path, _round: int) -> Sample:
    """In a fresh process."""
    return in_fresh_process("jar", folder)[0]


def jarsigner(folder: Path, _round: int) -> Sample:
    """Signs ``source`` into ``target``."""
    (folder / "target").unlink(missing_ok=True)
    store: list[str | Path] = ["-keystore", folder / "key.p12", "-storepass", PASSWORD]
    return timed([OTHER, *store, "-signedjar", folder / "target", folder / "source", "bench"])
