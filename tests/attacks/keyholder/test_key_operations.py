# SPDX-License-Identifier: Apache-2.0
"""A hostile gate asks for key operations that are no release: only what two of two keepers signed reaches the key."""

from __future__ import annotations

import base64
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509

from signwright.envelopes.base import SignerContext
from signwright.envelopes.certification_request import certification_request
from signwright.model.times import format_time
from signwright.statements.dsse import Envelope
from signwright.statements.models import Halt
from signwright.statements.writing import statement_payload
from tests.support.doors import WHO, Door
from tests.support.roots import signed


def test_request_that_both_keepers_signed_is_made_once(door: Door) -> None:
    envelope = door.operation("anna", "ben")
    leaf = door.leaf(envelope)
    answer, (value,) = door.use(envelope, leaf=leaf)
    assert answer["ok"], answer
    key = door.policy.keys.keys["release"]
    context = SignerContext((), base64.b64decode(key.public_key), door.keepers.world.now)
    request = x509.load_der_x509_csr(certification_request(WHO, context, value))
    assert request.is_signature_valid
    assert request.subject.rfc4514_string() == "CN=Five People Software,O=Five People Ltd,C=AT"
    again, _ = door.use(envelope, leaf=leaf)
    assert (again["ok"], again["code"]) == (False, "wrong-attempt")
    assert door.operations == 1


Lie = Callable[[Door], tuple[dict[str, Any], tuple[bytes, ...]]]


def one_keeper_of_two(door: Door) -> Any:
    return door.use(door.operation("anna"))


def one_keeper_twice(door: Door) -> Any:
    return door.use(door.operation("anna", "anna"))


def keeper_and_stranger(door: Door) -> Any:
    return door.use(door.operation("anna", "mallory"))


def edited_after_they_signed(door: Door) -> Any:
    honest = door.operation("anna", "ben")
    edited = Envelope(honest.payload.replace(b"Five People Ltd", b"Mallory Limite"), honest.signatures)
    return door.use(edited)


def signatures_of_another_kind_of_statement(door: Door) -> Any:
    """The same keepers' policy signature does not count for a key operation."""
    honest = door.operation("anna", "ben")
    keys = [door.keepers.keys[name] for name in ("anna", "ben")]
    return door.use(signed(honest.payload, keys, "policy"), leaf=door.leaf(honest))


def policy_of_yesterday(door: Door) -> Any:
    return door.use(door.operation("anna", "ben", policy_sha256=door.first.sha256))


def key_that_is_not_in_the_policy(door: Door) -> Any:
    return door.use(door.operation("anna", "ben", key="somebody"), leaf=door.leaf(door.operation("anna")))


def raw_key(door: Door) -> Any:
    """A raw key would sign the request's bytes for whatever else they are."""
    return door.use(door.operation("anna", "ben", key="test-raw"), leaf=door.leaf(door.operation("anna")))


def key_of_another_statement(door: Door) -> Any:
    """Signed for the test key; the leaf, and what would be signed, is for the release key."""
    return door.use(door.operation("anna", "ben", key="test"), leaf=door.leaf(door.operation("anna")))


def unknown_parameter(door: Door) -> Any:
    envelope = door.operation("anna", "ben", parameters={**WHO, "extension": "CA:TRUE"})
    return door.use(envelope, leaf=door.leaf(door.operation("anna")))


def no_common_name(door: Door) -> Any:
    envelope = door.operation("anna", "ben", parameters={"organisation": "Five People Ltd"})
    return door.use(envelope, leaf=door.leaf(door.operation("anna")))


def name_that_is_no_text(door: Door) -> Any:
    envelope = door.operation("anna", "ben", parameters={"common-name": 7})
    return door.use(envelope, leaf=door.leaf(door.operation("anna")))


def expired(door: Door) -> Any:
    return door.use(door.operation("anna", "ben", hours=(-3, -1)))


def a_week_old(door: Door) -> Any:
    return door.use(door.operation("anna", "ben", hours=(-7 * 24 - 1, 24)))


def from_tomorrow(door: Door) -> Any:
    return door.use(door.operation("anna", "ben", hours=(1, 24)))


def leaf_of_another_operation(door: Door) -> Any:
    return door.use(door.operation("anna", "ben"), leaf=door.leaf(door.operation("anna", "ben")))


def leaf_that_is_none(door: Door) -> Any:
    return door.use(door.operation("anna", "ben"), leaf=b"genesis")


def leaf_that_nobody_witnessed(door: Door) -> Any:
    return door.use(door.operation("anna", "ben"), witnessed=False)


def fourth_attempt(door: Door) -> Any:
    envelope = door.operation("anna", "ben")
    return door.use(envelope, leaf=door.leaf(envelope).replace(b'"attempt":1', b'"attempt":4'))


def more_parts_than_wanted(door: Door) -> Any:
    envelope = door.operation("anna", "ben")
    leaf = door.leaf(envelope)
    proof, rows = door.logged(leaf)
    return door.ask({"verb": "key-operation", "consistency": rows}, [envelope.encode(), leaf, proof, b"more"])


def log_without_what_was_seen(door: Door) -> Any:
    envelope = door.operation("anna", "ben")
    leaf = door.leaf(envelope)
    proof, _ = door.logged(leaf)
    return door.ask({"verb": "key-operation", "consistency": []}, [envelope.encode(), leaf, proof])


def policy_that_expired(door: Door) -> Any:
    """Fresh words under a policy that nobody renewed."""
    door.keepers.world.now += timedelta(days=4000)
    return door.use(door.operation("anna", "ben"))


LIES: dict[Lie, str] = {
    policy_that_expired: "policy-expired",
    one_keeper_of_two: "too-few-keepers",
    one_keeper_twice: "too-few-keepers",
    keeper_and_stranger: "too-few-keepers",
    edited_after_they_signed: "bad-signature",
    signatures_of_another_kind_of_statement: "wrong-namespace",
    policy_of_yesterday: "other-policy",
    key_that_is_not_in_the_policy: "no-key",
    raw_key: "key-family",
    key_of_another_statement: "wrong-intent",
    unknown_parameter: "bad-csr",
    no_common_name: "bad-csr",
    name_that_is_no_text: "bad-csr",
    expired: "request-expired",
    a_week_old: "request-expired",
    from_tomorrow: "request-expired",
    leaf_of_another_operation: "wrong-intent",
    leaf_that_is_none: "bad-json",
    leaf_that_nobody_witnessed: "no-quorum",
    fourth_attempt: "bad-field",
    more_parts_than_wanted: "malformed",
    log_without_what_was_seen: "log-fork",
}


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie.__name__)
def test_lie_is_refused_without_use_of_the_key(door: Door, lie: Lie) -> None:
    answer, parts = lie(door)
    assert (answer["ok"], answer["code"]) == (False, LIES[lie]), answer
    assert parts == ()
    assert door.operations == 0


def test_operation_that_was_logged_before_this_keyholder_came_up_is_refused(door: Door) -> None:
    """Everything else about it is right: it was made for a state that may be gone."""
    envelope = door.operation("anna", "ben")
    leaf = door.leaf(envelope)
    proof, rows = door.logged(leaf)
    door.start()
    answer, _ = door.ask({"verb": "key-operation", "consistency": rows}, [envelope.encode(), leaf, proof])
    assert answer["ok"] is False
    assert door.operations == 0


def test_halted_keyholder_makes_no_request(door: Door) -> None:
    now = format_time(door.keepers.world.now)
    payload = statement_payload(
        Halt(reason="a stolen laptop", nonce="00" * 16, created=now), [("policy-root", door.policy.root_sha256)]
    )
    halted, _ = door.ask({"verb": "halt"}, [signed(payload, [door.keepers.keys["ben"]], "halt").encode()])
    assert halted["ok"], halted
    answer, _ = door.use(door.operation("anna", "ben"))
    assert (answer["ok"], answer["code"]) == (False, "halted")
    assert door.operations == 0
