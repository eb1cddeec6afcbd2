# SPDX-License-Identifier: Apache-2.0
"""The monitor over a log of a busy signer: every leaf read from its files, hashed, parsed and looked at by every rule,
the tree grown anew and compared with the cosigned checkpoint.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from signwright.cli.bench.figures import Bound, Figure, Row, Sample, interleaved
from signwright.cli.bench.measure import cpu_seconds, peak_mib
from signwright.cli.bench.scale import Bench
from signwright.client.alarms.base import Site
from signwright.client.alarms.history import History
from signwright.client.log_files import CHECKPOINT, folder_files
from signwright.client.log_reader import open_log
from signwright.client.monitoring import Checked, check_log
from signwright.errors import VerificationError
from signwright.model.times import format_time
from signwright.statements.models import SeenCheckpoint
from signwright.transparency.checkpoint import Checkpoint
from signwright.transparency.cosignature import LogTrust, Quorum, WitnessKey
from signwright.transparency.growth import Frontier
from signwright.transparency.leaf import EpochLeaf, GenesisLeaf, IntentLeaf, Leaf, PolicyLeaf, ResultLeaf
from signwright.transparency.note import COSIGNATURE_V1, ED25519
from signwright.transparency.signing import SignerKey, add_signatures, cosign, sign_checkpoint

ORIGIN = "bench.example/log"
ALL, NEW = "every leaf from the start", "the last tenth, from what was remembered"
AIM = 1000.0
_PER_REQUEST = 800
_START = datetime(2026, 1, 1, tzinfo=UTC)
_ROOT, _POLICY, _KEY = ("0" * 64, "1" * 64, "2" * 64)


def measure(bench: Bench) -> Figure:
    """One log in a folder, read in each round from the start and from nine tenths on."""
    count = _PER_REQUEST * bench.scale.requests
    trust, now = _write_log(bench.folder / "log", count)
    early, late = count * 9 // 10, count
    first = _look(bench.folder / "log", trust, now, size=early)
    runs = {
        ALL: partial(_run, bench.folder / "log", trust, now, size=late, before=None),
        NEW: partial(_run, bench.folder / "log", trust, now, size=late, before=first),
    }
    found = interleaved(bench.scale.rounds, runs)
    rows = tuple(Row(name, "leaves/s", samples) for name, samples in found.items())
    bounds = tuple(Bound(row.name, row.median, AIM, "at least", "leaves/s") for row in rows)
    notes = (
        f"{count} leaves: intents, results and an hourly heartbeat, 256 in a file",
        "memory is that of the whole process; what is remembered of the leaves is in it",
    )
    return Figure("monitor", "the monitor verifies a log again", rows, bounds, notes)


def _run(folder: Path, trust: LogTrust, now: datetime, _round: int, *, size: int, before: Checked | None) -> Sample:
    history = before.history.model_copy(deep=True) if before and before.history else None
    cpu, start = cpu_seconds(), time.perf_counter()
    found = _look(folder, trust, now, size=size, history=history)
    rate = found.leaves / (time.perf_counter() - start)
    return Sample(rate, {"cpu s": cpu_seconds() - cpu, "peak MiB": peak_mib()})


def _look(folder: Path, trust: LogTrust, now: datetime, *, size: int, history: History | None = None) -> Checked:
    """Raises `VerificationError` when the honest log gives an alarm: then nothing was measured."""
    read_file = folder_files(folder)
    log = open_log(trust, (folder / f"{CHECKPOINT}.{size}").read_bytes(), read_file)
    seen = None
    if history is not None:
        root = (folder / f"root.{history.size}").read_text(encoding="ascii")
        seen = SeenCheckpoint(origin=ORIGIN, size=history.size, root=root)
    found = check_log(log, Site(True, ORIGIN, _ROOT), seen=seen, history=history, now=now)
    if found.alarms or found.history is None:
        raise VerificationError(f"the log that was made gives {found.alarms[:1]}", code="bench")
    return found


def _write_log(folder: Path, count: int) -> tuple[LogTrust, datetime]:
    """Files of a log with ``count`` leaves, and signed checkpoints at nine tenths and at its end."""
    log_key = SignerKey(ORIGIN, ED25519, Ed25519PrivateKey.generate().private_bytes_raw())
    witness = SignerKey("bench.example/w", COSIGNATURE_V1, Ed25519PrivateKey.generate().private_bytes_raw())
    known = WitnessKey(witness.name, witness.verifier.public_key, "bench", True)
    leaves, frontier, now = busy_leaves(count), Frontier(), _START
    for size in (count * 9 // 10, count):
        batch = [next(leaves) for _ in range(size - frontier.size)]
        growth = frontier.grow(leaf.encode() for leaf in batch)
        frontier, now = growth.frontier, _time_at(size)
        for path, content in growth.tiles.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content)
        checkpoint = Checkpoint(ORIGIN, size, growth.root)
        note = add_signatures(sign_checkpoint(checkpoint, log_key), [cosign(checkpoint, witness, time=now)])
        (folder / f"{CHECKPOINT}.{size}").write_bytes(note)
        (folder / f"root.{size}").write_text(growth.root.hex(), encoding="ascii")
    return LogTrust(ORIGIN, (log_key.verifier,), Quorum((known,), 1, 0)), now


def _time_at(index: int) -> datetime:
    """Two leaves in a second."""
    return _START + timedelta(seconds=index // 2)


def busy_leaves(count: int) -> Iterator[Leaf]:
    """At least ``count`` leaves of a busy signer: intents, results and an hourly heartbeat."""
    yield GenesisLeaf(root_sha256=_ROOT, origin=ORIGIN, profile=0, trial=True, time=format_time(_START))
    yield PolicyLeaf(
        policy_sha256=_POLICY,
        policy_version=1,
        root_sha256=_ROOT,
        root_version=1,
        weakening=(),
        time=format_time(_START),
    )
    beaten = _START
    for index in range(2, count, 2):
        now = _time_at(index)
        if now - beaten >= timedelta(hours=1):
            beaten = now
            yield EpochLeaf(time=format_time(now))
            yield EpochLeaf(time=format_time(now))
            continue
        yield _intent(index, now)
        yield _result(index, now)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _intent(index: int, now: datetime) -> IntentLeaf:
    return IntentLeaf(
        request=_digest(f"request {index}"),
        wave=0,
        attempt=1,
        operations_sha256=_digest(f"operations {index}"),
        key=_KEY,
        kind="release",
        trial=True,
        policy_sha256=_POLICY,
        policy_version=1,
        approvals=(_digest(f"a {index}"), _digest(f"b {index}")),
        evidence=(_digest(f"scan {index}"),),
        mode="artifact",
        content_seen=True,
        derived=False,
        exceptions=(),
        profile=0,
        sandbox="none",
        key_protection="software",
        signing_time=format_time(now),
    )


def _result(index: int, now: datetime) -> ResultLeaf:
    return ResultLeaf(
        intent=index,
        request=_digest(f"request {index}"),
        wave=0,
        attempt=1,
        outcome="signed",
        signature_sha256=(_digest(f"value {index}"),),
        result_sha256=(_digest(f"file {index}"),),
        timestamps="outside",
        time=format_time(now),
    )
