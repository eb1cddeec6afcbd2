# SPDX-License-Identifier: Apache-2.0
"""A gate in the attacker's hands sends a finished order again, to a keyholder that was started anew."""

from __future__ import annotations

import pytest

from signwright.cli.demo.replay import hostile_gate
from tests.support.lying_site import LyingSite

pytestmark = pytest.mark.xdist_group("lying-hub")


def test_order_replayed_to_two_children_is_refused_by_both(site: LyingSite) -> None:
    site.children.stop("courier")
    site.children.stop("signer")
    try:
        with hostile_gate(site.home, children=2) as gate:
            assert gate.status()["keys"]["release"]["state"] == "ready"
            frames = gate.ask([gate.order(site.loot, number) for number in (1, 2)])
        # The loot is as old as this site: beyond five minutes its cosignatures are refused before anything else is.
        assert [f.message["ok"] for f in frames] == [False] * 2
        assert {f.message["code"] for f in frames} <= {"not-started", "wrong-time"}
        assert not any(f.parts for f in frames)
    finally:
        site.children.start("signer")
        site.children.start("courier")
