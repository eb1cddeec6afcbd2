# SPDX-License-Identifier: Apache-2.0
"""The gate's decision on a release: the real gate of a trial home, and we are its courier.

Signing is halted meanwhile. The gate decides all the same, and where the policy allows a release the halt is the only
reason that is left; so its answer comes right after the decision and nothing is fetched, logged or signed.
"""

from __future__ import annotations

import socket
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from signwright.cli.bench.figures import Bound, Figure, Row, Sample
from signwright.cli.bench.release import FILES, PEOPLE, Release, Site, add_release_policy, seen_log, site_of
from signwright.cli.bench.scale import Bench
from signwright.cli.bench.trial import signer_environment, trial
from signwright.cli.demo.processes import Children
from signwright.cli.gate_socket import ask_gate
from signwright.cli.home import Home
from signwright.client.keepers_words import draft_halt
from signwright.client.ssh_keys import load_person_key
from signwright.errors import UnavailableError
from signwright.model.framing import encode_frame, read_frame, reader

LIMIT_MS = 25.0
DECISION = f"release, {len(PEOPLE)} approvals, {FILES + 1} pieces of evidence"
_DECISIONS = 4
_WARM_UP = 5
_ANSWER_SECONDS = 60.0


def measure(bench: Bench) -> Figure:
    """Of a home of its own."""
    with trial(bench.folder / "home", signer_environment(bench.signer_env), prepare=add_release_policy) as up:
        pass
    return measured(up.home, bench)


def measured(home: Home, bench: Bench) -> Figure:
    """One release after the other, each a request of its own. The home is down, and halted from then on."""
    site, seen, samples = site_of(home, bench.folder), seen_log(home), list[Sample]()
    with Children(home) as children:
        children.start("signer")
        _halt(home)
        with _courier(home) as gate:
            for number in range(_WARM_UP + _DECISIONS * bench.scale.requests):
                took = _decided(gate, site, site.release(seen), number=number)
                if number >= _WARM_UP:
                    samples.append(Sample(1000 * took))
    row = Row(DECISION, "ms", tuple(samples))
    notes = (
        "from the job's first byte on the gate's socket to the answer's last; every statement is parsed and verified",
        "every job is allowed by the policy; the halt is all that is left to answer, so no file, log or key is used",
    )
    bound = Bound("median", row.median, LIMIT_MS, unit="ms")
    return Figure("decision", "the gate decides on a release", (row,), (bound,), notes)


def _halt(home: Home) -> None:
    root, panic = home.read().policy_root_sha256, load_person_key(home / "keeper" / "keeper", lambda _: "")
    payload = draft_halt(root, reason="figures are made", now=datetime.now(UTC))
    ask_gate(home, {"type": "halt"}, [panic.sign_statement(payload, "halt").encode()])


@contextmanager
def _courier(home: Home) -> Iterator[socket.socket]:
    """A connection to the gate; the home's own courier does not run."""
    settings = tomllib.loads(home.settings("signer").read_text(encoding="utf-8"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as gate:
        gate.settimeout(_ANSWER_SECONDS)
        gate.connect(str(settings["gate"]["socket"]))
        yield gate


def _decided(gate: socket.socket, site: Site, release: Release, *, number: int) -> float:
    """Seconds; raises `UnavailableError` for any other answer than the halt: then nothing was measured."""
    release.facts(site.policy, now=datetime.now(UTC))
    parts = [envelope.encode() for envelope in (release.request, *release.approvals, *release.evidence)]
    first = 1 + len(release.approvals)
    message: dict[str, object] = {"type": "sign", "id": number, "request": 0}
    message |= {"approvals": list(range(1, first)), "evidence": list(range(first, len(parts)))}
    start = time.perf_counter()
    gate.sendall(encode_frame(message, parts))
    answer = _answer(gate, number)
    took = time.perf_counter() - start
    rules = [row["rule"] for row in answer["reasons"]]
    if (answer["outcome"], rules) != ("waiting", ["halted"]):
        raise UnavailableError(f"the gate answered {answer['outcome']}: {answer['message']}", code="bench")
    return took


def _answer(gate: socket.socket, number: int) -> dict[str, Any]:
    """The result of job ``number``; errands, which nobody runs, are passed over."""
    while True:
        message: dict[str, Any] = read_frame(reader(gate)).message
        if (message.get("type"), message.get("id")) == ("result", number):
            return message
