# SPDX-License-Identifier: Apache-2.0
"""A keeper looks before signing, and what the gate gives is what was asked for."""

from __future__ import annotations

import base64
from datetime import timedelta

import pytest
from cryptography import x509

from signwright.client import key_operations as operations
from signwright.envelopes.base import SignerContext
from signwright.envelopes.certification_request import certification_request, certification_request_info
from signwright.errors import SignwrightError, VerificationError
from signwright.policy.policy import Policy
from signwright.statements.dsse import Envelope
from signwright.statements.models import KeyOperation, parse_statement
from tests.support.pki import Identity, default_pki
from tests.support.world import World

WHO = {"common-name": "Five People Software", "country": "AT"}


@pytest.fixture(scope="module")
def identity() -> Identity:
    return default_pki().code_signing("p256")


@pytest.fixture(scope="module")
def world(identity: Identity) -> World:
    world = World()
    public = {"public_key": base64.b64encode(identity.public_key).decode()}
    world.keys["release"] = world.default_key("release").model_copy(update=public)
    return world


@pytest.fixture(scope="module")
def policy(world: World) -> Policy:
    return world.policy()


def made(identity: Identity, world: World, names: dict[str, str]) -> bytes:
    context = SignerContext((), identity.public_key, world.now)
    return certification_request(names, context, identity.sign(certification_request_info(names, context)))


def test_request_that_was_asked_for_becomes_pem(identity: Identity, world: World, policy: Policy) -> None:
    envelope = operations.draft_request(policy, "release", WHO, now=world.now, hours=24)
    statement = operations.checked_request(policy, envelope, now=world.now)
    told = operations.in_words(policy, statement)
    assert told.startswith("a certification request for the release key release: country 'AT', common-name")
    pem = operations.pem_of(policy, statement, made(identity, world, WHO))
    assert x509.load_pem_x509_csr(pem).is_signature_valid


@pytest.mark.parametrize(
    "names", [{"common-name": "Mallory"}, {**WHO, "unit": "more"}, {"common-name": WHO["common-name"]}]
)
def test_request_with_another_name_is_not_written(
    identity: Identity, world: World, policy: Policy, names: dict[str, str]
) -> None:
    envelope = operations.draft_request(policy, "release", WHO, now=world.now, hours=24)
    with pytest.raises(VerificationError, match="not the one that was asked for"):
        operations.pem_of(policy, parse_statement(envelope, KeyOperation), made(identity, world, names))


def test_request_of_another_key_or_no_request_is_not_written(world: World, policy: Policy) -> None:
    envelope = operations.draft_request(policy, "release", WHO, now=world.now, hours=24)
    statement = parse_statement(envelope, KeyOperation)
    other = made(default_pki().code_signing("p256", "another"), world, WHO)
    for content in (other, b"", b"0\x00", other[:-1]):
        with pytest.raises(VerificationError):
            operations.pem_of(policy, statement, content)


@pytest.mark.parametrize(
    ("key", "names", "code"),
    [
        ("nobody", WHO, "no-key"),
        ("test-raw", WHO, "key-family"),
        ("release", {"organisation": "no common name"}, "bad-csr"),
        ("release", {**WHO, "country": "Austria"}, "bad-csr"),
        ("release", {**WHO, "extension": "CA"}, "bad-csr"),
        ("release", {"common-name": "x" * 65}, "bad-csr"),
    ],
)
def test_what_the_signer_would_refuse_is_not_drafted(
    world: World, policy: Policy, key: str, names: dict[str, str], code: str
) -> None:
    with pytest.raises(SignwrightError) as refused:
        operations.draft_request(policy, key, names, now=world.now, hours=24)
    assert refused.value.code == code


def test_statement_for_another_policy_or_another_day_is_not_signed(world: World, policy: Policy) -> None:
    envelope = operations.draft_request(policy, "release", WHO, now=world.now, hours=24)
    with pytest.raises(SignwrightError) as refused:
        operations.checked_request(world.policy(), Envelope(envelope.payload, ()), now=world.now)
    assert refused.value.code == "other-policy"
    with pytest.raises(SignwrightError) as refused:
        operations.checked_request(policy, envelope, now=world.now + timedelta(hours=24))
    assert refused.value.code == "request-expired"
