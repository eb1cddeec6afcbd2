# SPDX-License-Identifier: Apache-2.0
"""A large installer, stored file to signed file, with osslsigncode signing the same file beside us."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

from signwright.cli.bench import pe
from signwright.cli.bench.figures import Bound, Figure, Row, Run, Sample, interleaved, ratio
from signwright.cli.bench.msi_file import MIB, make_msi
from signwright.cli.bench.once import in_fresh_process
from signwright.cli.bench.pe_file import make_key
from signwright.cli.bench.scale import Bench

OURS, OTHER = "signwright", "osslsigncode sign"
LIMIT, MEMORY_MIB = 1.0, 64


def measure(bench: Bench) -> Figure:
    """Every round: digest and copy, osslsigncode, and we, each in a fresh process."""
    folder = bench.folder / "msi"
    folder.mkdir()
    make_msi(folder / "source", bench.scale.msi_mib * MIB)
    make_key(folder)
    pe.baseline(folder, 0)  # fills the page cache
    runs: dict[str, Run] = {pe.BASE: partial(pe.baseline, folder), OURS: partial(ours, folder)}
    if shutil.which("osslsigncode"):
        runs[OTHER] = partial(pe.osslsigncode, folder)
    found = interleaved(bench.scale.rounds, runs)
    shutil.rmtree(folder)
    rows = {name: Row(name, "s", samples, None if name == pe.BASE else pe.BASE) for name, samples in found.items()}
    bounds = [Bound(f"{OURS} / {pe.BASE}", ratio(rows[OURS], rows[pe.BASE]))]
    if OTHER in rows:
        bounds.append(Bound(f"{OURS} / {OTHER}", ratio(rows[OURS], rows[OTHER]), LIMIT))
    bounds.append(Bound("peak memory of our process", rows[OURS].extra()["peak MiB"], MEMORY_MIB, unit="MiB"))
    notes = [
        "our clock runs in the process, without its start; that of the programs has it in; nobody calls fsync",
        "version 3, sectors of 512 bytes; the source's SHA-256 and the streams' digest run beside each other",
    ]
    if OTHER not in rows:
        notes.append("osslsigncode is not installed: it is what the time is promised against")
    title = f"MSI of {bench.scale.msi_mib} MiB, stored file to signed file, osslsigncode beside us"
    return Figure("msi", title, tuple(rows.values()), tuple(bounds), tuple(notes))


def ours(folder: Path, _round: int) -> Sample:
    """Sign ``source`` into ``target`` in a fresh process."""
    return in_fresh_process("msi", folder)[0]
