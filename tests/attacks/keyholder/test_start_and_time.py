# SPDX-License-Identifier: Apache-2.0
"""What a keyholder's own start and its own clock refuse, however well an order is witnessed."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from tests.attacks.keyholder.test_front_survives import Served
from tests.attacks.keyholder.test_hostile_gate import CONTENT, Keyholder, artifact, honest, keyholder
from tests.support.pki import default_pki
from tests.support.signing import SignerWorld

__all__ = ["keyholder"]


def test_order_before_the_start_is_logged_is_refused(tmp_path: Path) -> None:
    served = Served(SignerWorld(default_pki().code_signing("p256")), tmp_path)
    try:
        assert served.ask(*served.signer.policy_message())["ok"] is True
        refused = served.ask(*honest(served.signer))
        assert (refused["ok"], refused["code"]) == (False, "not-started")
        for change in ({"nonce": "00" * 16}, {"number": 7}):
            refused = served.read_and_start(**change)
            assert (refused["ok"], refused["code"]) == (False, "wrong-start")
        assert served.operations == 0
    finally:
        served.end()


def test_clock_that_was_set_back_is_refused(keyholder: Keyholder) -> None:
    signer = keyholder.signer
    assert keyholder.ask(*honest(signer))[0]["ok"] is True
    signer.world.now -= timedelta(minutes=6)
    refused, _ = keyholder.ask(*honest(signer))
    assert (refused["ok"], refused["code"]) == (False, "clock")
    assert keyholder.operations == 1


def test_revocation_that_was_seen_once_holds_with_an_older_freshness(keyholder: Keyholder) -> None:
    signer = keyholder.signer
    newer = signer.world.freshness(root_sha256=signer.parts[3], number=2, revoked_people=("carol",))
    seen = honest(signer, evidence=[signer.world.scan(CONTENT), newer], fresh=False)
    assert keyholder.ask(*seen)[0]["ok"] is True
    request = signer.world.request(files={"setup.exe": CONTENT}, artifacts=[artifact()])
    refused, _ = keyholder.ask(*honest(signer, request=request, approvals=signer.approved(request, ["alice", "carol"])))
    assert (refused["ok"], refused["code"]) == (False, "unverified-statement")
    assert keyholder.operations == 1


def test_clock_that_was_set_back_is_refused_though_nothing_was_signed_since_the_start(keyholder: Keyholder) -> None:
    """The time that witnesses gave to the start is a floor, and it rises with a clock that nobody sets."""
    signer = keyholder.signer
    signer.world.now -= timedelta(minutes=6)
    refused, _ = keyholder.ask(*honest(signer))
    assert (refused["ok"], refused["code"]) == (False, "clock")
    assert keyholder.operations == 0
