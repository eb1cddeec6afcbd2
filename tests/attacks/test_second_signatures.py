# SPDX-License-Identifier: Apache-2.0
"""A file that somebody else signed too, and what a verifier says of each signature, stamp and check."""

from __future__ import annotations

import base64

import pytest

from signwright.formats.pe import Existing, PeFormat, PeOptions
from signwright.model.patch import Patched
from signwright.model.view import BytesView
from signwright.policy import documents as d
from signwright.readers.pe import PeReader
from tests.support.pki import Pki
from tests.support.receipts import SOURCES, Made, SignedWorld, failures

HONEST = ["signature", "receipt", "file", "timestamp", "certificate", "log", "operation", "conditions", "authorisation"]


@pytest.fixture(scope="module")
def world() -> SignedWorld:
    return SignedWorld()


def beside_a_strangers(world: SignedWorld, ours: Made) -> bytes:
    """The program with a stranger's signature, to which ours was appended."""
    (signature,) = PeReader().read(BytesView(ours.view)).signatures
    stranger = Pki("stranger").code_signing("p256")
    first, _, _ = world.sign("pe", SOURCES["pe"], signer=stranger)
    source = BytesView(first)
    prepared = PeFormat().prepare(source, world.test_identity.chain, PeOptions(existing=Existing.APPEND))
    result = Patched(source, PeFormat().embed(prepared, [signature.envelope]))
    return result.read(0, result.size)


def said(made: Made, world: SignedWorld, name: str) -> list[str]:
    return [check.text for check in made.checks(world.trust(), at=world.now) if check.name == name]


def test_every_check_of_an_honest_file_is_told_once(world: SignedWorld) -> None:
    checks = world.make("pe").checks(world.trust(), at=world.now)
    assert [check.name for check in checks] == HONEST
    assert all(check.ok for check in checks)


def test_signature_of_a_stranger_beside_ours_is_told_and_changes_nothing(world: SignedWorld) -> None:
    """The receipt speaks of the envelope that was made for it; another key's signature is no lie about it."""
    ours = world.make("pe", mode="digest")
    both = ours.but(view=beside_a_strangers(world, ours))
    assert failures(both.checks(world.trust(), at=world.now)) == {}
    assert said(ours, world, "certificate") != said(both, world, "certificate")
    assert said(both, world, "certificate")[-1].endswith("signed too; this receipt is not about that")
    assert not any("signed too" in text for text in said(ours, world, "certificate"))
    assert len(said(both, world, "timestamp")) == 1, "the stranger's is not looked at"


def test_receipt_of_a_signature_that_is_not_in_the_file_is_refused(world: SignedWorld) -> None:
    stranger = world.make("pe", mode="digest", signer=Pki("stranger").code_signing("p256"))
    found = failures(world.make("pe", mode="digest").but(view=stranger.view).checks(world.trust(), at=world.now))
    assert found.keys() >= {"file", "operation"}


def test_raw_signature_is_said_to_have_neither_timestamp_nor_certificate(world: SignedWorld) -> None:
    raw = world.make("raw")
    assert said(raw, world, "timestamp") == ["none in this signature"]
    (text,) = said(raw, world, "certificate")
    assert text.startswith("none: a raw signature")


def test_each_authority_that_did_not_make_the_stamp_is_named(world: SignedWorld) -> None:
    stranger = base64.b64encode(Pki("stranger").root).decode()
    others = tuple(d.TimestampAuthority(name=n, anchors=(stranger,), outside=True) for n in ("one", "two"))
    made = world.make("pe")
    (check,) = [
        c for c in made.checks(world.trust(timestamp_authorities=others), at=world.now) if c.name == "timestamp"
    ]
    assert check.ok is False
    assert check.text.startswith("one: ")
    assert "; two: " in check.text
    known = (*others, *world.trust().timestamp_authorities)
    assert failures(made.checks(world.trust(timestamp_authorities=known), at=world.now)) == {}
