# SPDX-License-Identifier: Apache-2.0
"""Digest mode under load, against the bare key: signed request, policy, intent, cosignature, signature, result."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from statistics import median

from signwright.cli.bench.figures import Bound, Figure, Row, Run, Sample, interleaved, ratio
from signwright.cli.bench.measure import run_program
from signwright.cli.bench.scale import Bench
from signwright.cli.bench.trial import RSA_POLICY, Trial, signer_environment, trial
from signwright.errors import UnavailableError

WITNESS_SECONDS = 0.030
SHARE, P256_AIM = 0.60, 1000.0
BARE_RSA, BARE_P256 = "bare RSA-3072 key", "bare P-256 key"
#: Requests made ahead for each second of a run.
_AHEAD_PER_SECOND = 250


@dataclass(frozen=True, slots=True)
class Case:
    """``key``: kind of the bare key to compare with."""

    name: str
    policy: str
    format: str
    key: str
    far: bool = False


CASES = (
    Case("RSA-3072", f"default/{RSA_POLICY}", "raw", "rsa3072"),
    Case("P-256", "default/test-raw", "raw", "p256"),
    Case("RSA-3072, witness 30 ms away", f"default/{RSA_POLICY}", "raw", "rsa3072", far=True),
    Case("P-256, witness 30 ms away", "default/test-raw", "raw", "p256", far=True),
    Case("RSA-3072, detached CMS with a timestamp", "default/test-file", "cms", "rsa3072"),
)


def measure(bench: Bench) -> Figure:
    """Two homes, one with its witness at hand and one 30 ms away; every case once in each round."""
    signer_env = signer_environment(bench.signer_env)
    with ExitStack() as stack:
        near = stack.enter_context(trial(bench.folder / "near", signer_env))
        far = stack.enter_context(trial(bench.folder / "far", signer_env, witness_seconds=WITNESS_SECONDS))
        spent: dict[str, list[dict[str, float]]] = {case.name: [] for case in CASES}
        runs: dict[str, Run] = {
            BARE_RSA: partial(_bare, "rsa3072", bench.scale.seconds / 3),
            BARE_P256: partial(_bare, "p256", bench.scale.seconds / 3),
        }
        for case in CASES:
            runs[case.name] = partial(_loaded, bench, case, far if case.far else near, spent[case.name])
        found = interleaved(bench.scale.rounds, runs)
    bare = {"rsa3072": BARE_RSA, "p256": BARE_P256}
    beside = {case.name: bare[case.key] for case in CASES}
    rows = tuple(Row(name, "/s", samples, beside.get(name)) for name, samples in found.items())
    notes = [
        f"{bench.scale.clients} clients in one process; each request has subject, nonce and signatures of its own",
        "a request counts when it is completed and its receipt and envelope are with the client",
        "clients, hub, courier, gate, keyholder and witness share the machine's cores; so does the bare key, alone",
        *(_where_time_goes(case.name, spent[case.name]) for case in CASES),
    ]
    title = f"digest mode, {bench.scale.clients} clients, everything on"
    return Figure("digest", title, rows, tuple(_bounds(rows)), tuple(notes))


def _bounds(rows: tuple[Row, ...]) -> list[Bound]:
    by_name = {row.name: row for row in rows}
    bounds = []
    for case in CASES:
        row = by_name[case.name]
        if case.key == "rsa3072":
            share = ratio(row, by_name[BARE_RSA])
            bounds.append(
                Bound(f"{case.name} / {BARE_RSA}", share, SHARE if case.format == "raw" else None, "at least")
            )
        else:
            bounds.append(Bound(case.name, row.median, P256_AIM, "at least", "/s"))
    return bounds


def _bare(kind: str, seconds: float, _round: int) -> Sample:
    return Sample(float(run_program([sys.executable, "-m", "signwright.cli.bench.bare", kind, str(seconds)])))


def _loaded(bench: Bench, case: Case, there: Trial, spent: list[dict[str, float]], _round: int) -> Sample:
    """One run of the load generator; ``spent`` gets the processor milliseconds per request of each process."""
    scale = bench.scale
    told = {
        "--url": there.url,
        "--credentials": str(there.credentials),
        "--policy": case.policy,
        "--format": case.format,
        "--clients": str(scale.clients),
        "--seconds": str(scale.seconds),
        "--requests": str(int(_AHEAD_PER_SECOND * scale.seconds) + 4 * scale.clients),
    }
    command = [sys.executable, "-m", "signwright.cli.bench.load", *(word for pair in told.items() for word in pair)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        if process.stdout.readline() != "ready\n":
            process.kill()
            raise UnavailableError("the load generator did not start", code="bench")
        before = there.cpu_by_process()
        answer = json.loads(process.communicate("go\n")[0])
        after = there.cpu_by_process()
    if "error" in answer:
        raise UnavailableError(f"{case.name}: {answer['error']}", code="bench")
    # A warm-up and the last answers are in the processes' time and not among the requests: less than 1 in 20.
    done = answer["done"] + 3 * scale.clients
    spent.append({name: 1000 * (after[name] - before.get(name, 0.0)) / done for name in after})
    spent[-1]["load"] = 1000 * answer["cpu"] / done
    return Sample(answer["rate"], {"median ms": answer["median_ms"], "p95 ms": answer["p95_ms"]})


def _where_time_goes(name: str, spent: list[dict[str, float]]) -> str:
    names = sorted({process for one in spent for process in one})
    medians = {process: median(one.get(process, 0.0) for one in spent) for process in names}
    rows = sorted(medians.items(), key=lambda row: -row[1])
    told = ", ".join(f"{process} {value:.2f}" for process, value in rows if value >= 0.02)
    return f"{name}: processor ms per request: {told}; together {sum(medians.values()):.2f}"
