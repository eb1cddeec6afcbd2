# SPDX-License-Identifier: Apache-2.0
"""What the gate remembers and says of refusals, and how long it counts what it signed."""

from __future__ import annotations

import asyncio

import pytest

from signwright.errors import (
    DeniedError,
    FormatError,
    LimitError,
    MalformedError,
    SignwrightError,
    UnavailableError,
    VerificationError,
)
from signwright.signer.gate.bootstrap import Gate
from signwright.signer.gate.counters import DAY, UsageCounters
from signwright.signer.gate.deny import MAX_LEAVES, MAX_PENDING
from signwright.signer.gate.heartbeat import beat
from signwright.signer.gate.outcome import failed
from signwright.signer.gate.state import Usage
from signwright.transparency.leaf import DenyLeaf, EpochLeaf, parse_leaf
from signwright.transparency.tiles import parse_bundle
from tests.support.gates import GateSite, now_utc, until


def request(number: int) -> str:
    return f"{number:064x}"


def leaves(gate: Gate) -> list[object]:
    """The newest bundle's, as the gate's own files have them."""
    size = gate.parts.log.size
    path = f"tile/entries/{size // 256:03d}.p/{size % 256}"
    return [parse_leaf(entry) for entry in parse_bundle(gate.parts.log.files.read(path), size % 256)]


def test_leaf_of_a_refusal_holds_codes_and_a_count_only(site: GateSite) -> None:
    async def scenario() -> None:
        async with site.run() as (gate, _):
            gate.parts.denials.denied(request(1), ["scan", "Not A Code", "", "x" * 64, "mode\n"])
            gate.parts.denials.denied(request(1), ["mode"])
            await gate.parts.denials.flush()
            leaf = leaves(gate)[-1]
            assert isinstance(leaf, DenyLeaf)
            assert (leaf.request, leaf.codes, leaf.count) == (request(1), ("mode", "scan"), 2)

    asyncio.run(scenario())


def test_flood_of_refused_requests_has_an_end_and_those_before_it_are_counted_on(site: GateSite) -> None:
    async def scenario() -> None:
        async with site.run() as (gate, _):
            before = gate.parts.log.size
            for number in range(MAX_PENDING + 100):
                gate.parts.denials.denied(request(number), ["scan"])
            gate.parts.denials.denied(request(0), ["scan"])
            gate.parts.denials.denied(request(MAX_PENDING - 1), ["scan"])
            await gate.parts.denials.flush()
            assert gate.parts.log.size == before + MAX_LEAVES
            first = leaves(gate)[before]
            assert isinstance(first, DenyLeaf)
            assert (first.request, first.count) == (request(0), 2)
            for _ in range(MAX_PENDING // MAX_LEAVES):
                await gate.parts.denials.flush()
            assert gate.parts.log.size == before + MAX_PENDING

    asyncio.run(scenario())


def test_heart_beats_from_the_first_policy_on(site: GateSite) -> None:
    async def scenario() -> None:
        async with site.run() as (gate, _):
            before = gate.parts.log.size
            heart = asyncio.create_task(beat(gate.parts.log, seconds=3600, now=now_utc))
            await until(lambda: gate.parts.log.size > before)
            heart.cancel()
            await asyncio.gather(heart, return_exceptions=True)
            assert isinstance(leaves(gate)[-1], EpochLeaf)

    asyncio.run(scenario())


def test_use_of_a_key_is_counted_for_a_day() -> None:
    counters = UsageCounters([Usage("key", "default/release", 2, 1000)])
    counters.add(Usage("key", "default/test", 3, 1000 + DAY // 2))
    for later, of_key, of_policy in [(0, 5, 2), (DAY - 1, 5, 2), (DAY, 3, 0), (DAY + DAY // 2, 0, 0)]:
        found = counters.counts("key", "default/release", now=1000 + later)
        assert (found.key, found.signing_policy) == (of_key, of_policy), later


@pytest.mark.parametrize(
    ("problem", "outcome"),
    [
        (DeniedError("x"), "denied"),
        (MalformedError("x"), "denied"),
        (FormatError("x"), "denied"),
        (LimitError("x"), "denied"),
        (UnavailableError("x"), "failed"),
        (VerificationError("x"), "failed"),
        (FormatError("x", code="worker-crashed"), "failed"),
    ],
)
def test_error_about_the_request_denies_and_any_other_may_be_tried_again(
    problem: SignwrightError, outcome: str
) -> None:
    assert failed(problem).outcome == outcome


@pytest.mark.parametrize(
    ("reasons", "told"),
    [
        ([{"rule": "scan"}], ({"rule": "scan"},)),
        ([{"rule": "scan"}, "text", None], ({"rule": "scan"},)),
        ("ab", ()),
        (5, ()),
        (None, ()),
    ],
)
def test_reasons_of_an_error_are_told_as_rows_and_nothing_else(reasons: object, told: object) -> None:
    assert failed(DeniedError("x", details={"reasons": reasons})).reasons == told


def test_receipt_under_a_policy_that_the_state_lost_is_refused(site: GateSite) -> None:
    async def scenario() -> None:
        async with site.run() as (gate, _):
            policies = gate.parts.policies
            assert policies.authorisation(1, (b"request", (), ())).documents.keys() == site.policy_parts[2].keys()
            with pytest.raises(UnavailableError, match="policy version 99 is missing"):
                policies.authorisation(99, (b"request", (), ()))

    asyncio.run(scenario())
