# SPDX-License-Identifier: Apache-2.0
"""A PE of 512 MiB against ``openssl dgst -sha256`` and ``cp``, with osslsigncode signing the same file beside us."""

from __future__ import annotations

import shutil
from functools import partial

from signwright.cli.bench import pe
from signwright.cli.bench.figures import Bound, Figure, Row, Run, interleaved, ratio
from signwright.cli.bench.pe_file import MIB, make_key, make_pe
from signwright.cli.bench.scale import Bench

OTHER = "osslsigncode sign"


def measure(bench: Bench) -> Figure:
    """Every round: the baseline, we and osslsigncode, each in a fresh process."""
    folder = bench.folder / "pe"
    folder.mkdir()
    make_pe(folder / "source", bench.scale.half_mib * MIB)
    make_key(folder)
    pe.baseline(folder, 0)  # fills the page cache
    ours = pe.OURS if pe.has_numpy() else pe.PURE
    runs: dict[str, Run] = {pe.BASE: partial(pe.baseline, folder), ours: partial(pe.ours, folder, ours)}
    if shutil.which("osslsigncode"):
        runs[OTHER] = partial(pe.osslsigncode, folder)
    found = interleaved(bench.scale.rounds, runs)
    shutil.rmtree(folder)
    rows = {name: Row(name, "s", samples, None if name == pe.BASE else pe.BASE) for name, samples in found.items()}
    limit = pe.LIMIT if ours == pe.OURS else pe.PURE_AIM
    bounds = [Bound(f"{ours} / {pe.BASE}", ratio(rows[ours], rows[pe.BASE]), limit)]
    if OTHER in rows:
        bounds += [
            Bound(f"{OTHER} / {pe.BASE}", ratio(rows[OTHER], rows[pe.BASE])),
            Bound(f"{ours} / {OTHER}", ratio(rows[ours], rows[OTHER])),
        ]
    notes = (
        "our clock runs in the process, without its start; that of the programs has it in; nobody calls fsync",
        "none of them asks for a timestamp",
    )
    title = f"PE of {bench.scale.half_mib} MiB, stored file to signed file, osslsigncode beside us"
    return Figure("pe-others", title, tuple(rows.values()), tuple(bounds), notes)
