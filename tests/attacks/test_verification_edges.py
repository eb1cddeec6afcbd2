# SPDX-License-Identifier: Apache-2.0
"""Attacks on a verifier by whoever owns the receipt key and the log: each lie is found by the check about it."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from signwright.policy import documents as d
from signwright.statements.bundle import envelope_blob
from signwright.statements.models import SeenCheckpoint
from signwright.statements.writing import sign_ed25519, statement_payload
from tests.support.pki import Pki
from tests.support.receipts import Made, SignedWorld, failures
from tests.support.signing import MemoryLog
from tests.support.world import ORIGIN


@pytest.fixture
def world() -> SignedWorld:
    return SignedWorld()


def failed(made: Made, world: SignedWorld, **trust: object) -> dict[str, str]:
    return failures(made.checks(world.trust(**trust), at=world.now))


def test_file_without_receipt_still_needs_a_trusted_certificate(world: SignedWorld) -> None:
    bare = world.make("cms").but(bundle=None)
    assert failed(bare, world) == {}
    strangers = SignedWorld(pki=Pki("other")).trust().code_signing_roots
    assert failed(bare, world, code_signing_roots=strangers) == {"certificate": "certificate-chain"}


def test_receipt_for_other_bytes_around_the_same_signature_is_refused(world: SignedWorld) -> None:
    made = world.make("pe")
    payload = statement_payload(made.receipt, [("file.pe", "00" * 32)])
    receipt = envelope_blob(sign_ed25519(payload, world.world.receipts))
    assert failed(made.with_bundle(receipt=receipt), world) == {"file": "wrong-file"}


def test_receipt_of_no_signature_at_all_is_refused(world: SignedWorld) -> None:
    found = failed(world.make("cms", receipt_changes={"envelopes_sha256": ()}), world)
    assert found.get("file") == "wrong-file" or "receipt" in found


def test_receipt_of_an_artifact_that_the_request_has_not_is_refused(world: SignedWorld) -> None:
    found = failed(world.make("cms", receipt_changes={"artifact": 1}), world)
    assert found == {"operation": "wrong-operation", "authorisation": "wrong-receipt"}


def test_intent_that_nobody_cosigned_has_no_time_whatever_the_trust_file_wants(world: SignedWorld) -> None:
    made = world.make("cms", witnesses=[])
    assert failed(made, world, quorum=d.Quorum(outside=0, local=0)) == {"log": "wrong-time"}


def test_logged_operations_that_are_no_list_are_refused(world: SignedWorld) -> None:
    assert failed(world.make("cms", operations=b"{}"), world)["operation"] == "bad-operations"


@dataclass
class _Seen:
    origin: str
    ahead: int


class _ToldLog(MemoryLog):
    """A log whose approvers were shown something else."""

    told: _Seen

    @property
    def seen(self) -> SeenCheckpoint:
        return SeenCheckpoint(origin=self.told.origin, size=self.frontier.size + self.told.ahead, root="11" * 32)


@pytest.mark.parametrize(
    ("told", "code"),
    [
        (_Seen("elsewhere", 0), "log-rollback"),
        (_Seen(ORIGIN, 2), "log-rollback"),
        (_Seen(ORIGIN, 1), "bad-proof"),
    ],
    ids=["another log", "a longer log", "another root of the same size"],
)
def test_approvers_who_saw_something_else_than_the_log_refuse(world: SignedWorld, told: _Seen, code: str) -> None:
    log = _ToldLog(world.world)
    log.told = told
    log.append(b"genesis", b"policy")
    world.log = log
    assert failed(world.make("cms"), world) == {"authorisation": code}
