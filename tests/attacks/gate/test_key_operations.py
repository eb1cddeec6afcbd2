# SPDX-License-Identifier: Apache-2.0
"""A use of a key that is no release, through the gate: keepers sign for it, the log has it first and last."""

from __future__ import annotations

import asyncio
import base64
import secrets
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509

from signwright.errors import SignwrightError
from signwright.model.framing import Frame
from signwright.model.times import format_time
from signwright.policy.key_operations import check_key_operation, read_key_operation
from signwright.signer.gate.bootstrap import Gate
from signwright.signer.gate.cycle import MAX_ATTEMPTS
from signwright.statements.dsse import Envelope
from signwright.statements.models import Halt, KeyOperation
from signwright.statements.writing import statement_payload
from signwright.transparency.leaf import ResultLeaf, parse_leaf
from signwright.transparency.tiles import parse_bundle
from tests.support.gates import Courier, GateSite
from tests.support.keyholders import CountingKeyholder
from tests.support.world import sign_ssh

WHO = {"common-name": "Five People Software", "country": "AT"}


class WithKeyOperations(CountingKeyholder):
    """Checks them like the real one; ``unsound``: what it signs is something else; ``broken``: it signs nothing."""

    unsound = False
    broken = False

    def answer(self, frame: Frame) -> tuple[dict[str, Any], Sequence[bytes]]:
        if frame.message["verb"] != "key-operation":
            return super().answer(frame)
        try:
            asked = read_key_operation(frame.message, frame.parts)
            approved = check_key_operation(self.standing.may_sign(now=self.now()), self, asked, now=self.now())
        except SignwrightError as problem:
            return {"ok": False, "code": problem.code, "message": problem.message}, ()
        if self.broken:
            return {"ok": False, "code": "keystore", "message": "the token is gone"}, ()
        self.claims[approved.claim.leaf_index] = (approved.claim.request, 0, approved.claim.attempt)
        self.position = (approved.checkpoint.size, approved.checkpoint.root)
        self.operations += 1
        (content,) = approved.contents
        signed = self.identities["release"].sign(content)
        return {"ok": True}, [bytes(len(signed)) if self.unsound else signed]


@pytest.fixture
def keyholder(site: GateSite) -> WithKeyOperations:
    made = WithKeyOperations(site.world, site.root_sha256, now=site.now)
    site.keyholder = made
    return made


def operation(site: GateSite, *, signer: Any = None, **changes: Any) -> Envelope:
    values: dict[str, Any] = {
        "key": "release",
        "operation": "csr",
        "parameters": WHO,
        "nonce": secrets.token_hex(16),
        "created": format_time(site.world.now),
        "expires": format_time(site.world.now + timedelta(hours=1)),
    }
    payload = statement_payload(KeyOperation(**(values | changes)), [("policy", site.policy.sha256)])
    return sign_ssh(payload, signer or site.world.keeper, "key-operation")


async def ask(courier: Courier, envelope: Envelope) -> dict[str, Any]:
    return dict((await courier.call({"type": "key-operation"}, [envelope.encode()])).message)


def newest(gate: Gate) -> Any:
    size = gate.parts.log.size
    return parse_leaf(parse_bundle(gate.parts.log.files.read(f"tile/entries/000.p/{size}"), size)[-1])


def test_request_is_made_logged_and_counted(site: GateSite, keyholder: WithKeyOperations) -> None:
    async def scenario() -> None:
        async with site.run() as (gate, courier):
            answer = await ask(courier, operation(site))
            assert answer["ok"], answer
            request = x509.load_der_x509_csr(base64.b64decode(answer["request"]))
            assert request.is_signature_valid
            assert request.subject.rfc4514_string() == "CN=Five People Software,C=AT"
            leaf = newest(gate)
            assert isinstance(leaf, ResultLeaf)
            assert (leaf.outcome, leaf.intent) == ("signed", answer["leaf_index"])
            assert (len(leaf.signature_sha256), len(leaf.result_sha256)) == (1, 1)
            assert gate.parts.state.open_intents() == []
            assert keyholder.operations == 1

    asyncio.run(scenario())


def test_operation_that_no_keeper_signed_is_not_even_logged(site: GateSite, keyholder: WithKeyOperations) -> None:
    async def scenario() -> None:
        async with site.run() as (gate, courier):
            size = gate.parts.log.size
            answer = await ask(courier, operation(site, signer=site.world.people["alice"]))
            assert not answer["ok"]
            assert gate.parts.log.size == size
            assert keyholder.operations == 0

    asyncio.run(scenario())


@pytest.mark.parametrize("how", ["broken", "unsound"])
def test_operation_that_fails_has_three_attempts_and_each_ends_in_the_log(
    site: GateSite, keyholder: WithKeyOperations, how: str
) -> None:
    setattr(keyholder, how, True)

    async def scenario() -> None:
        async with site.run() as (gate, courier):
            envelope = operation(site)
            for _ in range(MAX_ATTEMPTS):
                answer = await ask(courier, envelope)
                assert not answer["ok"]
                leaf = newest(gate)
                assert isinstance(leaf, ResultLeaf)
                assert leaf.outcome == "failed"
                assert len(leaf.signature_sha256) == (1 if how == "unsound" else 0)
                assert leaf.result_sha256 == ()
                assert gate.parts.state.open_intents() == []
            size, used = gate.parts.log.size, keyholder.operations
            spent = await ask(courier, envelope)
            assert (spent["ok"], spent["code"]) == (False, "attempts-used")
            assert (gate.parts.log.size, keyholder.operations) == (size, used)

    asyncio.run(scenario())


def test_halted_gate_makes_no_request(site: GateSite, keyholder: WithKeyOperations) -> None:
    said = Halt(reason="drill", nonce=secrets.token_hex(16), created=format_time(site.world.now))
    halt = sign_ssh(statement_payload(said, [("policy-root", site.root_sha256)]), site.world.keeper, "halt")

    async def scenario() -> None:
        async with site.run() as (gate, courier):
            halted = await courier.call({"type": "halt"}, [halt.encode()])
            assert halted.message["ok"], halted.message
            size = gate.parts.log.size
            answer = await ask(courier, operation(site))
            assert (answer["ok"], answer["code"]) == (False, "halted")
            assert gate.parts.log.size == size
            assert keyholder.operations == 0

    asyncio.run(scenario())
