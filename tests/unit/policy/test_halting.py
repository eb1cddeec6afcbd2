# SPDX-License-Identifier: Apache-2.0
"""Which keys a halt names."""

from __future__ import annotations

from signwright.model.times import format_time
from signwright.policy.halting import halting_keys
from signwright.statements.models import Halt
from signwright.statements.writing import statement_payload
from tests.support.world import NOW, World, sign_ssh


def test_halt_names_its_keys_and_one_that_only_its_leaf_tells_of_names_none() -> None:
    world = World()
    said = Halt(reason="drill", nonce="0" * 32, created=format_time(NOW))
    halt = sign_ssh(statement_payload(said, [("policy-root", "00" * 32)]), world.keeper, "halt")
    assert halting_keys(halt.encode()) == {halt.signatures[0].keyid}
    assert halting_keys(b"") == frozenset()
