# SPDX-License-Identifier: Apache-2.0
"""What approvers are told has changed since the last release."""

from __future__ import annotations

from signwright.client.approve import differences
from signwright.model.operation import DerivedOperation
from signwright.statements.models import Request, RequestedArtifact, Statement, parse_statement
from tests.support.world import World


def asked(world: World, *later: DerivedOperation) -> Statement[Request]:
    artifact = RequestedArtifact(size=8, format="jar", operations=(world.operation(),), derived=later)
    return parse_statement(world.request(files={"a.jar": b"artifact"}, artifacts=[artifact]), Request)


def test_digests_that_nobody_approves_are_told_where_there_were_none_before() -> None:
    world = World()
    later = DerivedOperation(template="jar", wave=1, algorithm="sha256")
    before, after = asked(world), asked(world, later)
    assert differences(before, after)[:-1] == ["a.jar: digests that follow from signatures inside it, 0 → 1"]
    assert differences(after, before)[:-1] == ["a.jar: digests that follow from signatures inside it, 1 → 0"]
    assert differences(after, asked(world, later))[:-1] == []
