# SPDX-License-Identifier: Apache-2.0
"""Attacks on whoever counts an authorisation of several waves again: each is there, in its turn and in its time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest

from signwright.client.authorisation import LoggedIntent, open_intent, recount
from signwright.errors import VerificationError
from signwright.model.operation import DerivedOperation, Operation, operation_list
from signwright.policy import documents as d
from signwright.policy.facts import gather
from signwright.policy.intent import intent_leaf, requested_operations
from signwright.statements.bundle import Authorisation, LoggedLeaf, Wave, blob
from signwright.statements.models import Request, RequestedArtifact, parse_statement
from signwright.transparency.proof import TlogProof
from tests.support.gates import taking
from tests.support.receipts import SignedWorld

CONTENT = b"artifact"
MEMBER = {"path": "native/*", "action": "sign", "format": "pe"}
RULE = d.ArtifactRule.model_validate({"name": "*.jar", "format": "jar", "members": [MEMBER]})


class _Waves(SignedWorld):
    """One request of two waves, approved by two people."""

    def __post_init__(self) -> None:
        super().__post_init__()
        taking(self.world, RULE, modes=("artifact",), derived="allow")
        self.load()
        member = self.world.operation(CONTENT).model_copy(update={"inner_path": "native/lib.dll"})
        later = DerivedOperation(template="jar", wave=1, algorithm="sha256")
        artifact = RequestedArtifact(size=8, format="jar", operations=(member,), derived=(later,))
        self.asked = self.world.request(files={"a.jar": CONTENT}, artifacts=[artifact])
        seen = {"policy": self.policy, "checkpoint": self.log.seen}
        self.approvals = [self.world.approval(self.asked, name, **seen) for name in ("alice", "bob")]
        self.evidence = [self.world.scan(CONTENT), self.world.freshness(root_sha256=self.parts[3])]

    def told(self) -> Authorisation:
        return self.authorisation(self.asked, self.approvals, self.evidence)

    def intent(self, wave: int, *, attempt: int = 1, hours: float = 0, **changes: Any) -> LoggedIntent:
        """Logged and cosigned so much later."""
        time = self.now + timedelta(hours=hours)
        words = {"approvals": self.approvals, "evidence": self.evidence}
        facts = gather(self.policy, self.asked, now=time, **words)
        written = requested_operations(parse_statement(self.asked, Request).predicate)
        if wave:
            written = operation_list([(0, Operation(template="jar", digest=f"sha256:{'ab' * 32}"))])
        told = {"wave": wave, "attempt": attempt, "profile": 0, "sandbox": "none", "signing_time": time}
        leaf = intent_leaf(self.policy, facts, operations=written, **told).model_copy(update=changes)
        index = self.log.append(leaf.encode())
        proof = TlogProof(index, tuple(self.log.tree().inclusion(index)), self.log.note(time))
        logged = LoggedLeaf(leaf=blob(leaf.encode()), proof=blob(proof.encode()))
        return open_intent(Wave(intent=logged, operations=blob(written)), self.trust().log_trust)


@pytest.fixture
def world() -> _Waves:
    return _Waves()


def counted(world: _Waves, intents: Sequence[LoggedIntent]) -> str:
    """Code of the refusal, "ok" where all holds."""
    try:
        recount(world.told(), intents, policy_root_sha256=world.parts[3])
    except VerificationError as problem:
        return problem.code
    return "ok"


def test_all_waves_of_one_attempt_are_counted(world: _Waves) -> None:
    assert counted(world, [world.intent(0), world.intent(1)]) == "ok"
    assert counted(world, [world.intent(0, attempt=2), world.intent(1, attempt=2, hours=1)]) == "ok"


@pytest.mark.parametrize(
    ("make", "code"),
    [
        pytest.param(lambda w: [w.intent(0)], "wrong-intent", id="the-derived-one-left-out"),
        pytest.param(lambda w: [w.intent(1)], "wrong-intent", id="the-approved-one-left-out"),
        pytest.param(lambda w: [w.intent(0), w.intent(0)], "wrong-intent", id="one-twice"),
        pytest.param(lambda w: [w.intent(0), w.intent(1), w.intent(1)], "wrong-intent", id="the-derived-one-twice"),
        pytest.param(lambda w: [w.intent(0), w.intent(1, attempt=2)], "wrong-intent", id="of-two-attempts"),
        pytest.param(lambda w: [w.intent(1), w.intent(0)][::-1], "wrong-intent", id="logged-before-what-it-follows"),
        pytest.param(lambda w: [w.intent(0), w.intent(1, derived=False)], "wrong-intent", id="said-to-be-approved"),
        pytest.param(lambda w: [w.intent(0), w.intent(1, hours=30)], "not-authorised", id="when-approvals-had-ended"),
    ],
)
def test_waves_that_do_not_belong_together_are_refused(
    world: _Waves, make: Callable[[_Waves], list[LoggedIntent]], code: str
) -> None:
    assert counted(world, make(world)) == code


def test_policy_that_does_not_allow_it_is_not_outvoted_by_the_log() -> None:
    world = _Waves()
    taking(world.world, RULE, modes=("artifact",), derived="refuse")
    world.load()
    seen = {"policy": world.policy, "checkpoint": world.log.seen}
    world.approvals = [world.world.approval(world.asked, name, **seen) for name in ("alice", "bob")]
    assert counted(world, [world.intent(0), world.intent(1)]) == "not-authorised"
