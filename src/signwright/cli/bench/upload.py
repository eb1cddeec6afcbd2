# SPDX-License-Identifier: Apache-2.0
"""Upload of a large file to a hub process: hashed and durable, against ``openssl dgst -sha256`` of the same file."""

from __future__ import annotations

import os
import shutil
import time
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from signwright.cli.bench.figures import Bound, Figure, Row, Sample, interleaved, ratio
from signwright.cli.bench.measure import cpu_of, peak_mib, timed
from signwright.cli.bench.pe_file import MIB, make_file
from signwright.cli.bench.scale import Bench
from signwright.cli.bench.trial import Trial, signer_environment, trial
from signwright.client.credentials import load_credentials
from signwright.client.http import CallKey, HubConnection
from signwright.client.hub import Hub
from signwright.client.policy_files import read_signed
from signwright.client.submit import Order, prepare_request
from signwright.client.upload import upload
from signwright.errors import UnavailableError

BASE, OURS = "openssl dgst -sha256", "upload to the hub"
LIMIT, MEMORY_MIB = 1.5, 100
#: The kernel's mark of the most memory starts again from what is used now (proc(5), clear_refs).
_RESET_PEAK = "5"


def measure(bench: Bench) -> Figure:
    """One home; every round another file of the size, so that the hub has never seen it."""
    folder, scale = bench.folder, bench.scale
    with trial(folder / "home", signer_environment(bench.signer_env)) as home:
        small = _uploaded(home, folder, scale.small_mib, 0)
        runs = {
            BASE: partial(_digest, folder, scale.file_mib),
            OURS: partial(_uploaded, home, folder, scale.file_mib),
        }
        found = interleaved(scale.rounds, runs)
        small_again = _uploaded(home, folder, scale.small_mib, 1)
    rows = (
        Row(f"upload of {scale.small_mib} MiB", "s", (small, small_again)),
        Row(BASE, "s", found[BASE]),
        Row(OURS, "s", found[OURS], BASE),
    )
    large_peak, small_peak = rows[2].extra()["hub's peak MiB"], rows[0].extra()["hub's peak MiB"]
    bounds = (
        Bound(f"{OURS} / {BASE}", ratio(rows[2], rows[1]), LIMIT),
        Bound("hub's peak memory", max(large_peak, small_peak), MEMORY_MIB, unit="MiB"),
        Bound(
            f"... with {scale.file_mib} MiB more than with {scale.small_mib} MiB", large_peak - small_peak, unit="MiB"
        ),
    )
    notes = (
        "the clock runs from the client's first byte until the hub says that all is on the disk (fsync) under its name",
        "client and hub share the machine's cores; the client's own digest is taken before the clock starts",
        "the hub's memory is looked at until the request is completed: the signer has fetched the file by then",
    )
    return Figure("upload", f"upload of {scale.file_mib} MiB, digest and durable write", rows, bounds, notes)


def _fresh(folder: Path, mib: int, number: int) -> Path:
    """The file of this round; the one of the round before is removed."""
    path = folder / f"upload-{mib}-{number}"
    if not path.exists():
        for old in folder.glob(f"upload-{mib}-*"):
            old.unlink()
        make_file(path, mib * MIB)
    return path


def _digest(folder: Path, mib: int, number: int) -> Sample:
    return timed(["openssl", "dgst", "-sha256", _fresh(folder, mib, number)])


def _uploaded(home: Trial, folder: Path, mib: int, number: int) -> Sample:
    """Seconds of the upload; the hub's processor time and the most memory it had meanwhile."""
    path = _fresh(folder, mib, number)
    credentials = load_credentials(home.credentials)
    policy = read_signed(home.home / "policy" / "signed", pinned_root_sha256=None).policy
    order = Order("default", "test-file", mode="artifact")
    request = prepare_request([path], order, policy=policy, credentials=credentials, now=datetime.now(UTC))
    with HubConnection(home.url, CallKey(request.credential.key_id, request.credential.key.sign)) as connection:
        hub = Hub(connection)
        view = hub.submit(request.envelope, idempotency_key=None, wait=None)
        pid = home.pid("hub")
        Path(f"/proc/{pid}/clear_refs").write_text(_RESET_PEAK, encoding="ascii")
        cpu, start = cpu_of(pid), time.perf_counter()
        sha256, size = request.files[0].prepared.source_sha256, mib * MIB
        with path.open("rb") as file:
            upload(hub, file, sha256=sha256, size=size, progress=lambda *_: None)
        seconds, cpu = time.perf_counter() - start, cpu_of(pid) - cpu
        while not view.is_final:
            view = hub.request(view.id, wait=60, after=view.state)
        peak = peak_mib(pid)
    if view.state != "completed":
        raise UnavailableError(f"the request of the upload ended as {view.state}: {view.reasons}", code="bench")
    _forget(home, sha256)
    return Sample(seconds, {"hub's cpu s": cpu, "hub's peak MiB": peak})


def _forget(home: Trial, sha256: str) -> None:
    """Room on the disk for the next round; this home is thrown away."""
    for path in (home.home / "hub" / "artifacts").rglob(f"*{sha256[2:]}*"):
        shutil.rmtree(path) if path.is_dir() else os.unlink(path)
