# SPDX-License-Identifier: Apache-2.0
"""What a custodian's client takes from a gate, and which requests and keys it recognises in it."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from signwright.client.custodian import Listed, name_of, pick, read_list, read_status, signed_word
from signwright.client.ssh_keys import PersonKey
from signwright.errors import AuthenticationError, MalformedError, UsageError
from signwright.model.framing import Frame
from signwright.statements.custodian import parse_custodian, shown_sha256
from signwright.statements.keys import verify_envelope
from tests.support.custodians import HEX, T, person, shown
from tests.support.world import NOW, ssh_line

CAROL = Ed25519PrivateKey.generate()


def status(**changes: Any) -> dict[str, Any]:
    values = {
        "type": "done",
        "id": 1,
        "ok": True,
        "custodian": "release",
        "keys": "any",
        "waiting": 2,
        "most": 24,
        "custodians": {"carol": [key().public.fingerprint]},
        "policy": {"version": 3, "sha256": HEX[0]},
        "halts": [],
    }
    return values | changes


def key() -> PersonKey:
    return person(CAROL)


def listed(*requests: str, **changes: Any) -> Listed:
    parts = tuple(shown(request=request).encode() for request in requests)
    message = status(challenge=HEX[9], since=[T] * len(parts)) | changes
    return read_list(Frame(message, parts))


def test_list_is_read_with_every_request_and_its_names() -> None:
    found = listed(HEX[0], HEX[1])
    assert [row.shown.request for row in found.rows] == HEX[:2]
    name = base64.b32encode(bytes.fromhex(HEX[0][:20])).decode().lower()
    assert found.rows[0].hub_name == f"r-{name}"
    assert found.rows[0].as_json()["shown_sha256"] == shown_sha256(found.rows[0].content)
    assert pick(found, [HEX[0][:8], found.rows[1].hub_name, HEX[0]]) == found.rows


@pytest.mark.parametrize("changes", [{"since": []}, {"more": 1}, {"challenge": "x"}, {"since": [T, T]}, {"policy": {}}])
def test_list_that_is_not_in_its_form_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(MalformedError):
        listed(HEX[0], **changes)


def test_status_that_is_not_in_its_form_is_refused() -> None:
    assert read_status(status()).custodians == {"carol": (key().public.fingerprint,)}
    with pytest.raises(MalformedError):
        read_status(status(custodians={"Carol \x1b[2J": []}))


@pytest.mark.parametrize("reference", ["", HEX[0][:7], "r-", "0" * 8, HEX[0][:8].upper()])
def test_reference_that_names_not_exactly_one_request_is_refused(reference: str) -> None:
    with pytest.raises(UsageError, match="waiting requests begin with"):
        pick(listed(HEX[0], HEX[1]), [reference])


def test_word_is_about_exactly_what_was_shown_and_of_a_custodian() -> None:
    found = listed(HEX[0], HEX[1])
    assert name_of(found.status, key()) == "carol"
    envelope = signed_word(found, found.rows[1:], key(), reason=None, now=NOW)
    assert verify_envelope(envelope, "custodian", [ssh_line(CAROL)])
    statement = parse_custodian(envelope)
    assert statement.requests == ((HEX[1], shown_sha256(found.rows[1].content)),)
    assert (statement.predicate.decision, statement.predicate.challenge) == ("confirm", HEX[9])
    assert parse_custodian(signed_word(found, found.rows, key(), reason="no", now=NOW)).predicate.decision == "deny"
    stranger = person(Ed25519PrivateKey.generate())
    with pytest.raises(AuthenticationError, match="no custodian's under policy version 3"):
        signed_word(found, found.rows, stranger, reason=None, now=NOW)
