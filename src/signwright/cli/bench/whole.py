# SPDX-License-Identifier: Apache-2.0
"""A whole request through the SDK, from the first byte to the signed file: a small PE, test policy, built-in TSA."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

from signwright.cli.bench.figures import Bound, Figure, Row, Sample
from signwright.cli.bench.pe_file import small_pe
from signwright.cli.bench.scale import Bench
from signwright.cli.bench.trial import Trial, signer_environment, trial
from signwright.client.credentials import load_credentials
from signwright.client.http import CallKey, HubConnection
from signwright.client.hub import Hub
from signwright.client.results import Target, Trusted, save_results
from signwright.client.submit import Order, prepare_request, submit
from signwright.client.trust import load_trust
from signwright.errors import UnavailableError
from signwright.statements.models import Request, parse_statement

SIZE = 100 * 1000
LIMIT_MS = 150.0
_WARM_UP = 2


def measure(bench: Bench) -> Figure:
    """One home, one request after the other, each for a file that nobody saw before."""
    bench.folder.joinpath("files").mkdir()
    with trial(bench.folder / "home", signer_environment(bench.signer_env)) as home:
        for number in range(_WARM_UP):
            _signed(home, bench.folder / "files" / f"warm-{number}.exe")
        samples = [_signed(home, bench.folder / "files" / f"{n}.exe") for n in range(bench.scale.requests)]
    row = Row("from the first byte to the signed file", "ms", tuple(samples))
    notes = (
        "at the server: decided, uploaded, derived in a sandbox, logged, cosigned, signed, stamped, read, logged again",
        "at the client: policy fetched and opened, file prepared, result applied, checked, written with fsync",
    )
    bound = Bound("median", row.median, LIMIT_MS, unit="ms")
    return Figure("whole", "whole request, PE of 100 KB, test policy, built-in TSA", (row,), (bound,), notes)


def _signed(home: Trial, path: Path) -> Sample:
    """Milliseconds, and those of each step. Reading credentials, trust file and the pinned root is start-up."""
    path.write_bytes(small_pe(SIZE))
    credentials = load_credentials(home.credentials)
    trust = load_trust(home.home / "trust.json")
    credential = next(c for c in credentials if c.kind == "test")
    target = Target(0, path, path.with_suffix(".signed.exe"))
    start = time.perf_counter()
    with HubConnection(home.url, CallKey(credential.key_id, credential.key.sign)) as connection:
        hub = Hub(connection)
        policy = hub.policy().open(pinned_root_sha256=trust.policy_root_sha256)
        order, now = Order("default", "test"), datetime.now(UTC)
        prepared = prepare_request([path], order, policy=policy, credentials=[credential], now=now)
        asked = time.perf_counter()
        view = submit(hub, prepared, idempotency_key=None, wait=30, progress=lambda *_: None)
        while not view.is_final:
            view = hub.request(view.id, wait=30)
        if view.state != "completed":
            raise UnavailableError(f"a request ended as {view.state}: {view.reasons}", code="bench")
        answered = time.perf_counter()
        request = parse_statement(prepared.envelope, Request)
        trusted = Trusted(policy, trust, datetime.now(UTC))
        save_results(hub, view, request, targets=[target], trusted=trusted)
    end = time.perf_counter()
    steps = {"before ms": asked - start, "waiting ms": answered - asked, "after ms": end - answered}
    return Sample(1000 * (end - start), {name: 1000 * value for name, value in steps.items()})
