# SPDX-License-Identifier: Apache-2.0
"""A gate with its own log's key and an honest witness shows a leaf that is not in the log."""

from __future__ import annotations

from dataclasses import replace

import pytest

from signwright.policy.succession import policy_leaf
from signwright.transparency.proof import TlogProof
from tests.support.doors import Door


def test_leaf_under_the_proof_of_another_uses_no_key(door: Door) -> None:
    """The checkpoint is witnessed, and continues all that was seen; the leaf never went in."""
    envelope = door.operation("anna", "ben")
    leaf = door.leaf(envelope)
    proof, rows = door.logged(b"something else")
    answer, _ = door.ask({"verb": "key-operation", "consistency": rows}, [envelope.encode(), leaf, proof])
    assert answer["ok"] is False
    assert "inclusion proof" in answer["message"]
    assert door.operations == 0


@pytest.mark.parametrize("change", ["index", "no path", "another path"])
def test_leaf_at_another_place_uses_no_key(door: Door, change: str) -> None:
    envelope = door.operation("anna", "ben")
    leaf = door.leaf(envelope)
    proof, rows = door.logged(leaf)
    honest = TlogProof.parse(proof)
    wrong = {
        "index": replace(honest, index=honest.index - 1),
        "no path": replace(honest, path=()),
        "another path": replace(honest, path=(bytes(32), *honest.path[1:])),
    }[change]
    message = {"verb": "key-operation", "consistency": rows}
    answer, _ = door.ask(message, [envelope.encode(), leaf, wrong.encode()])
    assert answer["ok"] is False
    assert "inclusion proof" in answer["message"]
    assert door.operations == 0
    answer, _ = door.ask(message, [envelope.encode(), leaf, proof])
    assert answer["ok"], answer


@pytest.mark.parametrize("names", [None, {}, "ab", ["organisation"], []])
def test_policy_whose_documents_are_not_listed_is_refused(door: Door, names: object) -> None:
    offer = door.second
    leaf = policy_leaf(door.first, door.policy, now=door.keepers.world.now).encode()
    parts = [offer.root.encode(), offer.policy.encode(), *offer.documents.values(), leaf, door.logged(leaf)[0]]
    answer, _ = door.ask({"verb": "policy", "documents": names}, parts)
    assert answer["ok"] is False
    assert "documents" in answer["message"]
