# SPDX-License-Identifier: Apache-2.0
"""What the keyholder checks of an order, one check at a time, with the keyholder's own memory."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from signwright.errors import DeniedError, LimitError, MalformedError, VerificationError
from signwright.policy.orders import MAX_ATTACHED, Approved, Claim, check_order, read_order
from signwright.policy.reading import Started
from signwright.signer.keyholder.state import State
from signwright.statements.models import RequestedArtifact
from signwright.transparency.checkpoint import Checkpoint
from signwright.transparency.proof import TlogProof
from tests.support.pki import default_pki
from tests.support.signing import SignerWorld
from tests.support.world import ORIGIN, World

CONTENT = b"artifact"


@pytest.fixture
def signer() -> SignerWorld:
    return SignerWorld(default_pki().code_signing("p256"))


@pytest.fixture
def state(tmp_path: Path, signer: SignerWorld) -> State:
    state = State(tmp_path / "state", genesis=signer.parts[3])
    state.started(Started(0, (0, b""), Checkpoint(ORIGIN, 0, b""), newest=0, policy_version=1))
    return state


def order(signer: SignerWorld, **changes: Any) -> tuple[dict[str, Any], list[bytes]]:
    operation = World().operation(CONTENT)
    artifact = RequestedArtifact(size=len(CONTENT), format="pe", operations=(operation,))
    request = changes.pop("request", None) or signer.world.request(files={"setup.exe": CONTENT}, artifacts=[artifact])
    values = {"approvals": signer.approved(request), "evidence": [signer.world.scan(CONTENT)]} | changes
    return signer.order(request, **values)


def check(signer: SignerWorld, state: State, message: dict[str, Any], parts: list[bytes], **how: Any) -> Approved:
    frame = read_order(message, parts)
    return check_order(signer.policy, state, frame, profile=0, now=how.get("now", signer.world.now))


def remember(state: State, *, size: int, root: bytes) -> None:
    state.begin()
    state.claim(Claim(1000, "00" * 32, 0, 1, (), 0), hour=0, size=size, root=root)
    state.commit()


@pytest.mark.parametrize(
    "wrong",
    [
        {"approvals": True},
        {"approvals": "2"},
        {"approvals": None},
        {"evidence": True},
        {"evidence": 1.0},
        {"evidence": None},
        {"consistency": {}},
        {"consistency": ()},
        {"consistency": None},
        {"approvals": -1, "evidence": 4},
        {"approvals": 4, "evidence": -1},
        {"approvals": 3},
        {"evidence": 0},
    ],
    ids=str,
)
def test_order_whose_counts_do_not_add_up_is_malformed(signer: SignerWorld, wrong: dict[str, Any]) -> None:
    message, parts = order(signer)
    with pytest.raises(MalformedError, match="message"):
        read_order(message | wrong, parts)


def test_order_with_too_many_consistency_proofs_is_over_the_limit(signer: SignerWorld) -> None:
    message, parts = order(signer)
    row = {"size": 1, "root": "00" * 32, "hashes": []}
    assert len(read_order(message | {"consistency": [row] * 256}, parts).consistency) == 256
    with pytest.raises(LimitError, match="message"):
        read_order(message | {"consistency": [row] * 257}, parts)


def test_order_for_a_signing_policy_that_does_not_exist_is_refused(signer: SignerWorld, state: State) -> None:
    message, parts = order(signer)
    frame = read_order(message, parts)
    elsewhere = replace(signer.policy, projects={})
    with pytest.raises(DeniedError) as refused:
        check_order(elsewhere, state, frame, profile=0, now=signer.world.now)
    assert refused.value.code == "signing-policy"


def test_late_order_is_refused_even_when_leaf_and_cosignature_agree(signer: SignerWorld, state: State) -> None:
    message, parts = order(signer)
    with pytest.raises(DeniedError) as refused:
        check(signer, state, message, parts, now=signer.world.now + timedelta(minutes=6))
    assert refused.value.code == "wrong-time"


def test_order_is_good_up_to_five_minutes_later(signer: SignerWorld, state: State) -> None:
    message, parts = order(signer)
    assert check(signer, state, message, parts, now=signer.world.now + timedelta(minutes=5)).key_name == "release"


def _smaller_with_the_same_root(signer: SignerWorld) -> tuple[int, bytes]:
    return signer.log.checkpoint.size - 1, signer.log.checkpoint.root


def _same_size_with_another_root(signer: SignerWorld) -> tuple[int, bytes]:
    return signer.log.checkpoint.size, bytes(32)


@pytest.mark.parametrize("remembered", [_smaller_with_the_same_root, _same_size_with_another_root])
def test_log_that_is_not_the_remembered_one_is_refused(
    signer: SignerWorld, state: State, remembered: Callable[[SignerWorld], tuple[int, bytes]]
) -> None:
    message, parts = order(signer)
    size, root = remembered(signer)
    remember(state, size=size, root=root)
    with pytest.raises(DeniedError) as refused:
        check(signer, state, message, parts)
    assert refused.value.code == "log-fork"


def test_consistency_proof_is_found_among_others_by_size_and_root(signer: SignerWorld, state: State) -> None:
    message, parts = order(signer)
    honest = message["consistency"][0]
    decoys = [
        {"size": 1, "root": "00" * 32, "hashes": []},
        {"size": honest["size"], "root": "00" * 32, "hashes": []},
        {"size": 1, "root": honest["root"], "hashes": []},
    ]
    assert check(signer, state, message | {"consistency": [*decoys, honest]}, parts).key_name == "release"
    with pytest.raises(DeniedError) as refused:
        check(signer, state, message | {"consistency": decoys}, parts)
    assert refused.value.code == "log-fork"


@pytest.mark.parametrize("change", ["index", "no path", "another path", "another leaf"])
def test_intent_that_is_not_at_its_place_in_the_log_is_refused(signer: SignerWorld, state: State, change: str) -> None:
    message, parts = order(signer)
    honest = TlogProof.parse(parts[4])
    wrong = {
        "index": replace(honest, index=honest.index - 1),
        "no path": replace(honest, path=()),
        "another path": replace(honest, path=(bytes(32), *honest.path[1:])),
        "another leaf": replace(honest, index=0, path=tuple(signer.log.tree().inclusion(0))),
    }[change]
    with pytest.raises(VerificationError, match="inclusion proof"):
        check(signer, state, message, [*parts[:4], wrong.encode(), *parts[5:]])
    assert check(signer, state, message, parts).key_name == "release"


def test_no_more_envelopes_than_anybody_needs_are_read(signer: SignerWorld) -> None:
    message, parts = order(signer)
    head, word, verdict = parts[:5], parts[5], parts[-1]
    for approvals, evidence in ((MAX_ATTACHED + 1, 0), (0, MAX_ATTACHED + 1)):
        many = [*head, *[word] * approvals, *[verdict] * evidence]
        with pytest.raises(LimitError, match="more than"):
            read_order(message | {"approvals": approvals, "evidence": evidence}, many)
    most = [*head, *[word] * MAX_ATTACHED, *[verdict] * MAX_ATTACHED]
    frame = read_order(message | {"approvals": MAX_ATTACHED, "evidence": MAX_ATTACHED}, most)
    assert (len(frame.approvals), len(frame.evidence)) == (MAX_ATTACHED, MAX_ATTACHED)


@pytest.mark.parametrize(("approvals", "evidence"), [(-1, None), (None, -1)])
def test_counts_that_are_negative_are_refused_though_they_add_up(
    signer: SignerWorld, approvals: int | None, evidence: int | None
) -> None:
    message, parts = order(signer)
    left = len(parts) - 5
    counts = {"approvals": left + 1 if approvals is None else approvals}
    counts["evidence"] = left + 1 if evidence is None else evidence
    assert counts["approvals"] + counts["evidence"] == left
    with pytest.raises(MalformedError, match="do not add up"):
        read_order(message | counts, parts)


@pytest.mark.parametrize("later", [0, 1])
def test_intent_from_before_the_start_of_the_process_is_refused(
    signer: SignerWorld, tmp_path: Path, later: int
) -> None:
    message, parts = order(signer)
    state = State(tmp_path / "later", genesis=signer.parts[3])
    first = TlogProof.parse(parts[4]).index + later
    state.started(Started(first, (0, b""), Checkpoint(ORIGIN, 0, b""), newest=0, policy_version=1))
    with pytest.raises(DeniedError) as refused:
        check(signer, state, message, parts)
    assert refused.value.code == "intent-too-old"


def test_order_for_a_test_needs_no_freshness_statement(tmp_path: Path) -> None:
    world, identity = World(), default_pki().code_signing("p256", "another")
    public, chain = (base64.b64encode(identity.public_key).decode(), map(base64.b64encode, identity.chain))
    world.keys["test"] = world.default_key("test").model_copy(
        update={"public_key": public, "chain": tuple(one.decode() for one in chain)}
    )
    signer = SignerWorld(default_pki().code_signing("p256"), world)
    state = State(tmp_path / "state", genesis=signer.parts[3])
    state.started(Started(0, (0, b""), Checkpoint(ORIGIN, 0, b""), newest=0, policy_version=1))
    artifact = RequestedArtifact(size=len(CONTENT), format="pe", operations=(world.operation(CONTENT),))
    request = world.request("test", files={"setup.exe": CONTENT}, artifacts=[artifact])
    approved = check(signer, state, *order(signer, request=request, approvals=[], evidence=[]))
    assert (approved.key_name, approved.claim.freshness) == ("test", None)
