# SPDX-License-Identifier: Apache-2.0
"""A gate, or whoever carries for it, that shows the keyholder the freshness statement that suits it best."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from signwright.model.framing import decode_frame
from signwright.model.times import format_time
from signwright.policy import documents as d
from signwright.policy.standing import Standing
from signwright.statements.dsse import Envelope
from tests.attacks.keyholder.test_hostile_gate import Keyholder, honest, keyholder
from tests.support.roots import HeldPolicy, Keepers
from tests.support.signing import SignerWorld

__all__ = ["keyholder"]
HALT = "ab" * 32


def freshness(signer: SignerWorld, number: int, created: datetime | None = None, **changes: Any) -> Envelope:
    created = created or signer.world.now
    times = {"created": format_time(created), "expires": format_time(created + timedelta(hours=24))}
    return signer.world.freshness(number, root_sha256=signer.parts[3], **(times | changes))


def says(held: Keyholder, shown: Envelope) -> str:
    """``ok`` or the code of the refusal, for a release in due form with this freshness statement."""
    held.signer.freshness = shown
    answer, _ = held.ask(*honest(held.signer))
    return "ok" if answer["ok"] else str(answer["code"])


def test_release_with_a_freshness_statement_that_lists_a_halt_is_refused(keyholder: Keyholder) -> None:
    """The halt itself never came: somebody held it back."""
    assert says(keyholder, freshness(keyholder.signer, 2, halts=(HALT,))) == "halted"
    assert keyholder.operations == 0
    assert says(keyholder, freshness(keyholder.signer, 3)) == "ok"


def test_number_that_leaves_no_higher_one_is_refused(keyholder: Keyholder) -> None:
    """A stolen freshness key cannot use the numbers up: none is above its own second."""
    last = (1 << 53) - 1
    seconds = int(keyholder.signer.world.now.timestamp())
    assert says(keyholder, freshness(keyholder.signer, last)) == "unverified-statement"
    assert says(keyholder, freshness(keyholder.signer, seconds + 1)) == "unverified-statement"
    ahead = keyholder.signer.world.now + timedelta(days=1)
    assert says(keyholder, freshness(keyholder.signer, seconds + 86400, ahead)) == "freshness"
    assert keyholder.operations == 0
    assert says(keyholder, freshness(keyholder.signer, seconds)) == "ok"


def live(signer: SignerWorld, version_changes: dict[str, Any]) -> Any:
    organisation = signer.world.documents()["organisation"]
    assert isinstance(organisation, d.Organisation)
    return signer.world.with_documents(
        organisation=organisation.model_copy(update={"live": True, **version_changes})
    ).policy_parts()


def weakened(held: Keyholder) -> tuple[dict[str, Any], list[bytes]]:
    """The organisation is live, and a policy that weakens was logged and cosigned: as it is handed over."""
    signer = held.signer
    assert held.load_policy(live(signer, {}))["ok"] is True
    parts = live(signer, {"freshness_hours": 30})
    message = signer.policy_message(parts)
    answer = held.ask(*message)[0]
    assert (answer["ok"], answer["code"]) == (False, "policy-waits")
    signer.loaded_policy(parts)
    assert signer.loaded is not None
    signer.policy = signer.loaded
    return message


def test_weaker_policy_wants_a_freshness_statement_from_after_its_delay(keyholder: Keyholder) -> None:
    """Keepers recall it in time, with a newer policy that is withheld, and with what they say in the next statement:
    the statement from before the recall is still young, and must not serve."""
    message = weakened(keyholder)
    world = keyholder.signer.world
    logged = world.now
    world.now = logged + timedelta(hours=25)
    assert keyholder.ask(*message)[0]["ok"] is True
    in_force = logged + timedelta(hours=24)
    assert says(keyholder, freshness(keyholder.signer, 2, in_force - timedelta(seconds=1))) == "freshness"
    recalled = freshness(keyholder.signer, 3, minimum_policy_version=keyholder.signer.policy.version + 1)
    assert says(keyholder, recalled) == "stale-policy"
    assert keyholder.operations == 0
    assert says(keyholder, freshness(keyholder.signer, 4, in_force)) == "ok"


def test_policy_that_did_not_wait_needs_no_newer_freshness(keyholder: Keyholder) -> None:
    signer = keyholder.signer
    parts = live(signer, {})
    assert keyholder.load_policy(parts)["ok"] is True
    assert signer.loaded is not None
    signer.policy = signer.loaded
    assert says(keyholder, freshness(signer, 2, signer.world.now - timedelta(hours=23))) == "ok"


def test_end_of_the_delay_outlives_the_process(tmp_path: Path) -> None:
    keepers = Keepers()
    held = HeldPolicy(tmp_path, keepers)
    held.offer(keepers.first())
    root = keepers.root(1, ("anna",))
    held.offer(keepers.policy(keepers.genesis, root, "anna", version=2, live=True))
    assert held.standing.in_force().in_force_from is None
    held.offer(keepers.policy(keepers.genesis, root, "anna", version=3, live=False), hours=24.1)
    wanted = keepers.world.now + timedelta(hours=24)
    assert held.standing.in_force().in_force_from == wanted
    stored = held.state.newest_policy()
    assert stored is not None
    again = Standing(held.state, profile=0, nonce="11" * 16, policy=decode_frame(stored))
    assert again.in_force().in_force_from == wanted


@pytest.mark.parametrize("said", ["2020-01-01T00:00:00Z", None])
def test_gate_does_not_say_when_the_delay_ended(tmp_path: Path, said: str | None) -> None:
    """What it writes into its message is not what is remembered."""
    keepers = Keepers()
    held = HeldPolicy(tmp_path, keepers)
    held.offer(keepers.first())
    root = keepers.root(1, ("anna",))
    held.offer(keepers.policy(keepers.genesis, root, "anna", version=2, live=True))
    held.said = {"in_force_from": said}
    held.offer(keepers.policy(keepers.genesis, root, "anna", version=3, live=False), hours=24.1)
    assert held.standing.in_force().in_force_from == keepers.world.now + timedelta(hours=24)
