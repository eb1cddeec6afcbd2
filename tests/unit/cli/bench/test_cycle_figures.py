# SPDX-License-Identifier: Apache-2.0
"""The figures of keyholder, gate and log on one small home: they measure what they say, or nothing. No time is looked
at.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from signwright.cli.bench import decision, log, order
from signwright.cli.bench.figures import Figure
from signwright.cli.bench.release import FILES, PEOPLE, add_release_policy, seen_log, site_of
from signwright.cli.bench.scale import Bench, Scale
from signwright.cli.bench.trial import signer_environment, trial
from signwright.cli.demo.counting import key_use
from signwright.cli.demo.replay import hostile_gate
from signwright.cli.home import Home
from signwright.errors import UnavailableError

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("bench-home")]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Home:
    folder = tmp_path_factory.mktemp("b")
    with trial(folder / "home", signer_environment(None), prepare=add_release_policy) as up:
        pass
    return up.home


@pytest.fixture
def home(made: Home, tmp_path: Path) -> Iterator[Home]:
    """The signer's state is afterwards what it was: a figure leaves its traces in it."""
    shutil.copytree(made / "signer", tmp_path / "signer")
    shutil.copytree(made / "witness", tmp_path / "witness")
    yield made
    for name in ("signer", "witness"):
        shutil.rmtree(made / name)
        shutil.copytree(tmp_path / name, made / name)


def bench_in(folder: Path) -> Bench:
    place = folder / "bench"
    place.mkdir()
    return Bench(Scale(rounds=1, requests=1), place, signer_environment(None))


def bars_of(figure: Figure) -> dict[str, tuple[float | None, str, str]]:
    return {bound.name: (bound.limit, bound.wanted, bound.unit) for bound in figure.bounds}


def test_orders_of_both_kinds_are_claimed_and_signed(home: Home, tmp_path: Path) -> None:
    before = key_use(home.folder)
    figure = order.measured(home, bench_in(tmp_path))
    assert bars_of(figure) == {order.TEST: (3.0, "at most", "ms"), order.RELEASE: (3.0, "at most", "ms")}
    assert all(sample.value > 0 for row in figure.rows for sample in row.samples)
    after = key_use(home.folder)
    orders = 5 + 4
    assert after.claims - before.claims == 2 * orders
    assert after.operations - before.operations == orders * (1 + FILES)


def test_order_that_is_refused_is_no_measurement(home: Home, tmp_path: Path) -> None:
    site = site_of(home, tmp_path)
    with hostile_gate(home, children=1) as gate:
        order._wait_for_keys(gate)
        told = gate.status()
        ahead = order.LogAtHand(home, told["log"])
        message = ahead.order(site, site.test())
        with pytest.raises(UnavailableError, match="not in the log yet"):
            order._ordered(gate, message, size=ahead.size)


def test_release_without_an_approval_is_no_measurement(home: Home, tmp_path: Path) -> None:
    site = site_of(home, tmp_path)
    whole = site.release(seen_log(home))
    assert (len(whole.approvals), len(whole.evidence)) == (len(PEOPLE), FILES + 1) == (3, 4)
    whole.facts(site.policy, now=datetime.now(UTC))
    for poor in (
        type(whole)(whole.request, whole.approvals[1:], whole.evidence),
        type(whole)(whole.request, whole.approvals, whole.evidence[1:]),
        type(whole)(whole.request, whole.approvals, whole.evidence[:-1]),
    ):
        with pytest.raises(UnavailableError, match="not allowed"):
            poor.facts(site.policy, now=datetime.now(UTC))


def test_gate_decides_and_uses_no_key(home: Home, tmp_path: Path) -> None:
    before = key_use(home.folder)
    figure = decision.measured(home, bench_in(tmp_path))
    assert bars_of(figure) == {"median": (25.0, "at most", "ms")}
    assert len(figure.rows[0].samples) == 4
    assert key_use(home.folder).since(before) == 0


def test_log_grows_by_the_leaves_that_were_measured(home: Home, tmp_path: Path) -> None:
    before = seen_log(home).size
    figure = log.measured(home, bench_in(tmp_path))
    assert bars_of(figure) == {log.ALONE: (10.0, "at most", "ms"), log.BATCHES: (2000.0, "at least", "leaves/s")}
    assert [len(row.samples) for row in figure.rows] == [4, 1]
    assert seen_log(home).size - before == 5 + 4 + 2048
