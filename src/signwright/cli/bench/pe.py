# SPDX-License-Identifier: Apache-2.0
"""A large PE, stored file to signed file, against ``openssl dgst -sha256`` and ``cp`` of the same file."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

from signwright.cli.bench.figures import Bound, Figure, Row, Run, Sample, interleaved, ratio
from signwright.cli.bench.measure import timed
from signwright.cli.bench.once import in_fresh_process
from signwright.cli.bench.pe_file import MIB, make_key, make_pe
from signwright.cli.bench.scale import Bench
from signwright.errors import ConfigurationError

BASE = "openssl dgst + cp"
OURS, PURE = "signwright, numpy", "signwright, without numpy"
OURS_UNSEALED, PURE_UNSEALED = "... without result digest", "... without numpy and result digest"
LIMIT, PURE_AIM, MEMORY_MIB = 1.3, 1.8, 64

#: Flags of `signwright.cli.bench.once` for each row.
VARIANTS: dict[str, tuple[str, ...]] = {
    OURS: (),
    PURE: ("--pure",),
    OURS_UNSEALED: ("--no-result-digest",),
    PURE_UNSEALED: ("--pure", "--no-result-digest"),
}


def measure(bench: Bench) -> Figure:
    """Every round: the baseline, then each of our variants in a fresh process; osslsigncode once."""
    folder = bench.folder / "pe"
    folder.mkdir()
    make_pe(folder / "source", bench.scale.file_mib * MIB)
    make_key(folder)
    baseline(folder, 0)  # fills the page cache
    runs: dict[str, Run] = {BASE: partial(baseline, folder)}
    runs |= {name: partial(ours, folder, name) for name in VARIANTS if "--pure" in VARIANTS[name] or has_numpy()}
    found = interleaved(bench.scale.rounds, runs)
    rows = [Row(name, "s", samples, None if name == BASE else BASE) for name, samples in found.items()]
    if shutil.which("osslsigncode"):
        rows.append(Row("osslsigncode sign, once", "s", (osslsigncode(folder, 0),)))
    shutil.rmtree(folder)
    notes = [
        "our clock runs in the process, from the open source to the closed target, start-up apart; nobody calls fsync",
        "SHA-256 of source and image run beside each other, on two cores",
        "CheckSum and directory entry stand in the header: the result's digest is a second pass, while it is written",
    ]
    if not has_numpy():
        notes.append("numpy is not installed (extra fast): its rows are missing")
    return Figure("pe", _title(bench), tuple(rows), tuple(_bounds(rows)), tuple(notes))


def _title(bench: Bench) -> str:
    return f"PE of {bench.scale.file_mib} MiB, stored file to signed file"


def _bounds(rows: list[Row]) -> list[Bound]:
    by_name = {row.name: row for row in rows}
    base, bounds = by_name[BASE], []
    limits = {OURS: LIMIT, PURE: PURE_AIM, OURS_UNSEALED: None, PURE_UNSEALED: None}
    for name, limit in limits.items():
        if name in by_name:
            bounds.append(Bound(f"{name} / {BASE}", ratio(by_name[name], base), limit))
    peak = max(row.extra().get("peak MiB", 0.0) for row in rows)
    return [*bounds, Bound("peak memory of our process", peak, MEMORY_MIB, unit="MiB")]


def has_numpy() -> bool:
    """Whether the extra ``fast`` is installed."""
    from signwright.formats.pe_checksum import vectorised

    return vectorised() is not None


def baseline(folder: Path, _round: int) -> Sample:
    """Digest and copy of ``source``: what no signing of it can go without."""
    target = folder / "target"
    target.unlink(missing_ok=True)
    source = folder / "source"
    return timed(["openssl", "dgst", "-sha256", source], ["cp", source, target])


def ours(folder: Path, name: str, _round: int) -> Sample:
    """One of `VARIANTS`, in a fresh process."""
    flags = VARIANTS[name]
    sample, told = in_fresh_process("pe", folder, *flags)
    if told["numpy"] is ("--pure" in flags):
        raise ConfigurationError("the run did not use the arithmetic that it was asked for", code="bench")
    return sample


def osslsigncode(folder: Path, _round: int) -> Sample:
    """Signs ``source`` into ``target``."""
    target = folder / "target"
    target.unlink(missing_ok=True)
    names: list[str | Path] = [
        "-key",
        folder / "key.pem",
        "-certs",
        folder / "cert.pem",
        "-in",
        folder / "source",
        "-out",
        target,
    ]
    return timed(["osslsigncode", "sign", "-h", "sha256", *names])
