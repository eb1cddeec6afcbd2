# SPDX-License-Identifier: Apache-2.0
"""The keyholder's check of an order: the real process on a trial home's own state, and we are its gate.

Each order has a request, a witnessed intent and proofs of its own. While the keyholder checks it, it is also asked how
it is: that answer comes as soon as the claim is durable and the question has gone to the child that has the key, and it
names the log's size by the order. So it tells when the check was over without waiting for the key.
"""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from signwright.cli.bench.figures import Bound, Figure, Row, Sample
from signwright.cli.bench.release import FILES, PEOPLE, RELEASE_KEY, Release, Site, add_release_policy, site_of
from signwright.cli.bench.scale import Bench
from signwright.cli.bench.trial import signer_environment, trial
from signwright.cli.demo.counting import leaves
from signwright.cli.demo.replay import HostileGate, hostile_gate
from signwright.cli.home import Home
from signwright.client.trust import load_trust
from signwright.errors import UnavailableError
from signwright.model.framing import Frame
from signwright.model.times import format_time
from signwright.policy.intent import intent_leaf, requested_operations
from signwright.statements.keyfile import load_seed
from signwright.statements.models import Order as OrderStatement
from signwright.statements.models import SeenCheckpoint
from signwright.statements.writing import sign_ed25519, statement_payload
from signwright.transparency.checkpoint import Checkpoint
from signwright.transparency.growth import Frontier
from signwright.transparency.intent import StartLeaf
from signwright.transparency.note import COSIGNATURE_V1, ED25519
from signwright.transparency.proof import TlogProof
from signwright.transparency.signing import SignerKey, add_signatures, cosign, sign_checkpoint
from signwright.transparency.tiles import TileTree

LIMIT_MS = 3.0
TEST = "test, 1 operation, nobody approves"
RELEASE = f"release, {len(PEOPLE)} approvals, {FILES + 1} pieces of evidence, {FILES} operations"
_ORDERS = 4
#: Seconds after which the keyholder has begun with an order; less than any check takes.
_PAUSE = 0.0003
_WARM_UP = 5
_READ_AT_ONCE = 64
_KEY_SECONDS = 60.0

#: Message and parts of a frame.
Message = tuple[dict[str, object], list[bytes]]


def measure(bench: Bench) -> Figure:
    """Of a home of its own."""
    with trial(bench.folder / "home", signer_environment(bench.signer_env), prepare=add_release_policy) as up:
        pass
    return measured(up.home, bench)


def measured(home: Home, bench: Bench) -> Figure:
    """One order after the other, the two kinds in turn. The home is down, and its keyholder knows more leaves of the
    log than its gate from then on.
    """
    site = site_of(home, bench.folder)
    checks: dict[str, list[Sample]] = {TEST: [], RELEASE: []}
    answers: dict[str, list[Sample]] = {TEST: [], RELEASE: []}
    with hostile_gate(home, children=1) as gate:
        _wait_for_keys(gate)
        told = gate.status()
        log = LogAtHand(home, told["log"])
        for answer in gate.ask(log.start(told["start"], read=told["read"])):
            _check(answer)
        seen = log.seen
        kinds: dict[str, Callable[[], Release]] = {TEST: site.test, RELEASE: lambda: site.release(seen)}
        for number in range(_WARM_UP + _ORDERS * bench.scale.requests):
            for name, make in kinds.items():
                checked, answered = _ordered(gate, log.order(site, make()), size=log.size)
                if number >= _WARM_UP:
                    answers[name].append(Sample(1000 * answered))
                    checks[name] += [Sample(1000 * checked)] if checked is not None else []
    return _figure(checks, answers)


def _figure(checks: Mapping[str, list[Sample]], answers: Mapping[str, list[Sample]]) -> Figure:
    if not all(checks.values()):
        raise UnavailableError("the keyholder never said how it is after an order", code="bench")
    rows = tuple(Row(name, "ms", tuple(samples)) for name, samples in checks.items())
    whole = tuple(Row(f"... until it is signed: {name}", "ms", tuple(found)) for name, found in answers.items())
    bounds = tuple(Bound(row.name, row.median, LIMIT_MS, unit="ms") for row in rows)
    notes = (
        "from the order's first byte to the durable claim, as an answer to a question after it shows; no key is used",
        "until it is signed: also the operations of a P-256 key in a child, which verifies each value",
        "each order stands under a checkpoint of its own, cosigned with a local witness's key",
    )
    return Figure("order", "the keyholder checks an order", (*rows, *whole), bounds, notes)


def _ordered(gate: HostileGate, message: Message, *, size: int) -> tuple[float | None, float]:
    """Seconds until the order was claimed and until it was signed. ``size``: of the log by the order.

    The first is None when the question was heard before the order was looked at: then the answer has an older log.
    Raises `UnavailableError` for a refusal: then nothing was measured.
    """
    start = time.perf_counter()
    gate.send([message])
    time.sleep(_PAUSE)
    gate.send([({"verb": "status", "id": 0}, ())])
    checked, answered = None, 0.0
    for _ in range(2):
        frame = gate.receive()
        took = time.perf_counter() - start
        if frame.message.get("id") == message[0]["id"]:
            _check(frame)
            answered = took
        elif _log_size(frame) == size:
            checked = took
    return checked, answered


def _log_size(answer: Frame) -> object:
    log = answer.message.get("log")
    return log.get("size") if isinstance(log, dict) else None


def _check(answer: Frame) -> None:
    if answer.message.get("ok") is not True:
        raise UnavailableError(f"the keyholder refused: {answer.message.get('message')}", code="bench")


def _wait_for_keys(gate: HostileGate) -> None:
    deadline = time.monotonic() + _KEY_SECONDS
    while gate.status()["keys"].get(RELEASE_KEY, {}).get("state") != "ready":
        if time.monotonic() > deadline:
            raise UnavailableError(f"key {RELEASE_KEY} does not open", code="bench")
        time.sleep(0.1)


class LogAtHand:
    """The home's log, gone on with in memory: with the log's own key, and the witness's for cosignatures."""

    def __init__(self, home: Home, told: Mapping[str, object]) -> None:
        """``told``: the log as the keyholder has it."""
        folder = home / "signer" / "gate"
        self._order_key = load_seed((folder / "order.key").read_text(encoding="ascii"))
        log_key = load_seed((folder / "log.key").read_text(encoding="ascii"))
        origin = load_trust(home / "trust.json").log.origin
        self._log_key = SignerKey(origin, ED25519, log_key.private_bytes_raw())
        witness = (home / "witness" / "witness.key").read_text(encoding="ascii").strip()
        self._witness = SignerKey.parse(witness, algorithm=COSIGNATURE_V1)
        self._before = list(leaves(home.folder))
        growth = Frontier().grow(self._before)
        self._frontier, self._tiles = growth.frontier, dict(growth.tiles)
        self.seen = SeenCheckpoint(origin=origin, size=growth.size, root=growth.root.hex())
        known = {self.seen.size: self.seen.root, int(str(told["size"])): str(told["root"])}
        self._known = {size: root for size, root in known.items() if size}

    @property
    def size(self) -> int:
        return self._frontier.size

    def start(self, told: Mapping[str, object], *, read: int) -> list[Message]:
        """What logs the start of the keyholder's process, as it tells of it, and has it read the log up to there.

        ``read``: the number of leaves that it has read.
        """
        now = format_time(datetime.now(UTC))
        leaf = StartLeaf(nonce=str(told["nonce"]), number=int(str(told["number"])), time=now).encode()
        _, proof = self._append(leaf)
        unread: list[Message] = [
            ({"verb": "leaves", "id": 1, "first": first}, self._before[first : first + _READ_AT_ONCE])
            for first in range(read, len(self._before), _READ_AT_ONCE)
        ]
        own: Message = {"verb": "leaves", "id": 1, "first": len(self._before)}, [leaf]
        return [*unread, own, ({"verb": "start", "id": 1}, [TlogProof.parse(proof).checkpoint])]

    def order(self, site: Site, release: Release) -> Message:
        """An order as the gate would send it; raises `UnavailableError` for what the policy does not allow."""
        now = datetime.now(UTC).replace(microsecond=0)
        facts = release.facts(site.policy, now=now)
        operations = requested_operations(facts.request.predicate)
        leaf = intent_leaf(
            site.policy,
            facts,
            operations=operations,
            wave=0,
            attempt=1,
            profile=0,
            sandbox="not-used",
            signing_time=now,
        ).encode()
        index = self._frontier.size
        rows, proof = self._append(leaf)
        order = OrderStatement(
            request=facts.request.digest,
            wave=0,
            attempt=1,
            policy_sha256=site.policy.sha256,
            operations_sha256=hashlib.sha256(operations).hexdigest(),
            leaf_sha256=hashlib.sha256(leaf).hexdigest(),
            leaf_index=index,
            created=format_time(now),
        )
        signed = sign_ed25519(statement_payload(order, [("request", facts.request.digest)]), self._order_key)
        message: dict[str, object] = {"verb": "order", "id": index, "consistency": rows}
        message |= {"approvals": len(release.approvals), "evidence": len(release.evidence), "contents": 0}
        attached = [envelope.encode() for envelope in (*release.approvals, *release.evidence)]
        return message, [signed.encode(), release.request.encode(), operations, leaf, proof, *attached]

    def _append(self, leaf: bytes) -> tuple[list[dict[str, object]], bytes]:
        """Proofs from every tree that somebody has seen, and the inclusion proof under a cosigned checkpoint."""
        growth = self._frontier.grow([leaf])
        self._frontier = growth.frontier
        self._tiles.update(growth.tiles)
        tree = TileTree(growth.size, self._tiles.__getitem__)
        rows: list[dict[str, object]] = [
            {"size": size, "root": root, "hashes": [base64.b64encode(h).decode() for h in tree.consistency(size)]}
            for size, root in self._known.items()
        ]
        self._known = {self.seen.size: self.seen.root, growth.size: growth.root.hex()}
        checkpoint = Checkpoint(self.seen.origin, growth.size, growth.root)
        cosignature = cosign(checkpoint, self._witness, time=datetime.now(UTC))
        note = add_signatures(sign_checkpoint(checkpoint, self._log_key), [cosignature])
        index = growth.size - 1
        return rows, TlogProof(index, tuple(tree.inclusion(index)), note).encode()
