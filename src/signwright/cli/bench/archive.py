# SPDX-License-Identifier: Apache-2.0
"""An archive of many files of which three programs are signed, against a copy of it and the programs' digests."""

from __future__ import annotations

import os
import shutil
import zipfile
from functools import partial
from pathlib import Path

from signwright.cli.bench.figures import Bound, Figure, Row, Run, Sample, interleaved, ratio
from signwright.cli.bench.measure import timed
from signwright.cli.bench.once import in_fresh_process
from signwright.cli.bench.pe_file import MIB, make_key, small_pe
from signwright.cli.bench.scale import Bench

LIMIT = 1.5
PROGRAMS, PROGRAM_SIZE, FILE_SIZE = 3, 4 * MIB, 64 * 1024
BASE = "cp and openssl dgst of the programs"
#: Name of a row → how the programs are packed; the other files are deflated.
PACKINGS = {
    "signwright, programs stored": zipfile.ZIP_STORED,
    "signwright, programs deflated": zipfile.ZIP_DEFLATED,
}


def measure(bench: Bench) -> Figure:
    """Every round: the baseline, and each packing, in fresh processes."""
    folders = {name: bench.folder / str(packing) for name, packing in PACKINGS.items()}
    for name, folder in folders.items():
        make_archive(folder, bench.scale.members, PACKINGS[name])
    runs: dict[str, Run] = {BASE: partial(baseline, next(iter(folders.values())))}
    runs |= {name: partial(ours, folder) for name, folder in folders.items()}
    for run in runs.values():
        run(0)  # fills the page cache
    found = interleaved(bench.scale.rounds, runs)
    for folder in folders.values():
        shutil.rmtree(folder)
    rows = {name: Row(name, "s", samples, None if name == BASE else BASE) for name, samples in found.items()}
    bounds = [Bound(f"{name} / {BASE}", ratio(rows[name], rows[BASE]), LIMIT) for name in PACKINGS]
    notes = (
        "our clock runs in the process, without its start; that of the programs has it in; nobody calls fsync",
        f"{PROGRAMS} programs of {PROGRAM_SIZE // MIB} MiB of random bytes; other files deflated, half of each random",
        "a deflated program that changes is packed again, which is most of that row",
    )
    title = f"zip of {bench.scale.members} files, {PROGRAMS} programs in it signed"
    return Figure("zip", title, tuple(rows.values()), tuple(bounds), notes)


def make_archive(folder: Path, members: int, packing: int) -> None:
    """``source``, the programs beside it, and a key."""
    folder.mkdir()
    make_key(folder)
    with zipfile.ZipFile(folder / "source", "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(PROGRAMS):
            program = small_pe(PROGRAM_SIZE)
            (folder / f"{number}.exe").write_bytes(program)
            archive.writestr(f"bin/{number}.exe", program, compress_type=packing)
        for number in range(members - PROGRAMS):
            content = os.urandom(FILE_SIZE // 2) + bytes(FILE_SIZE // 2)
            archive.writestr(f"data/{number % 50}/{number}.bin", content, compresslevel=1)


def baseline(folder: Path, _round: int) -> Sample:
    """What no signing can go without: the digests of the programs and a copy of the archive."""
    target = folder / "target"
    target.unlink(missing_ok=True)
    programs = [folder / f"{number}.exe" for number in range(PROGRAMS)]
    return timed(["openssl", "dgst", "-sha256", *programs], ["cp", folder / "source", target])


def ours(folder: Path, _round: int) -> Sample:
    """In a fresh process."""
    return in_fresh_process("zip", folder)[0]
