# SPDX-License-Identifier: Apache-2.0
"""A custodian's statement and what it is about: one written form each, strict reading, nothing half."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signwright.errors import LimitError, MalformedError, SignwrightError
from signwright.model.spoken import spoken
from signwright.statements.custodian import (
    MAX_CONFIRMED,
    Confirmation,
    custodian_payload,
    parse_custodian,
    read_shown,
    shown_sha256,
)
from signwright.statements.dsse import Envelope
from signwright.statements.parse import MAX_DOCUMENT
from tests.support.custodians import HEX, T, shown


def confirmation(**changes: Any) -> Confirmation:
    values = {"decision": "confirm", "person": "carol", "challenge": HEX[0], "shown": (HEX[1],), "created": T}
    return Confirmation(**(values | changes))


def parsed(payload: bytes) -> Any:
    return parse_custodian(Envelope(payload, ()))


def edited(payload: bytes, **changes: Any) -> bytes:
    return json.dumps(json.loads(payload) | changes).encode()


def test_statement_names_each_request_with_what_was_shown_of_it() -> None:
    payload = custodian_payload(confirmation(shown=(HEX[1], HEX[2])), [HEX[3], HEX[4]])
    statement = parsed(payload)
    assert statement.requests == ((HEX[3], HEX[1]), (HEX[4], HEX[2]))
    assert statement.digest != parsed(custodian_payload(confirmation(), [HEX[3]])).digest


def test_as_many_as_a_list_holds_fit_into_one_statement_and_not_one_more() -> None:
    most = HEX[:MAX_CONFIRMED]
    assert len(parsed(custodian_payload(confirmation(shown=tuple(most)), most)).requests) == MAX_CONFIRMED
    with pytest.raises(SignwrightError):
        custodian_payload(confirmation(shown=tuple(most)), HEX)
    with pytest.raises(ValueError, match="shown"):
        confirmation(shown=tuple(HEX))


@pytest.mark.parametrize(
    ("said", "requests"),
    [
        ({}, [HEX[3], HEX[4]]),
        ({"shown": (HEX[1], HEX[2])}, [HEX[3]]),
        ({"shown": (HEX[1], HEX[2])}, [HEX[3], HEX[3]]),
        ({"decision": "deny"}, [HEX[3]]),
        ({"reason": "why not"}, [HEX[3]]),
    ],
    ids=["more requests", "more shown", "one twice", "a denial without a reason", "a confirmation with one"],
)
def test_statement_that_does_not_fit_together_is_refused(said: dict[str, Any], requests: list[str]) -> None:
    with pytest.raises(MalformedError):
        custodian_payload(confirmation(**said), requests)


def test_statement_of_another_type_is_refused() -> None:
    payload = custodian_payload(confirmation(), [HEX[3]])
    other = edited(payload, predicateType="https://signwright.dev/approval/v1")
    with pytest.raises(MalformedError, match="statement of type") as refused:
        parsed(other)
    assert refused.value.code == "wrong-statement-type"


@pytest.mark.parametrize("member", ["predicate", "subject", "predicateType", "_type"])
def test_statement_without_a_member_or_with_one_more_is_refused(member: str) -> None:
    payload = custodian_payload(confirmation(), [HEX[3]])
    value = json.loads(payload)
    del value[member]
    for content in (json.dumps(value).encode(), edited(payload, more=1)):
        with pytest.raises(MalformedError):
            parsed(content)


@given(st.integers(min_value=0), st.integers(min_value=0, max_value=7))
def test_cut_and_flipped_statements_are_refused_or_say_something_else(at: int, bit: int) -> None:
    payload = custodian_payload(confirmation(), [HEX[3]])
    with pytest.raises(SignwrightError):
        parsed(payload[: at % len(payload)])
    flipped = bytearray(payload)
    flipped[at % len(payload)] ^= 1 << bit
    try:
        found = parsed(bytes(flipped))
    except SignwrightError:
        return
    assert found.digest != parsed(payload).digest


@given(st.integers(min_value=0), st.integers(min_value=0, max_value=7))
def test_cut_and_flipped_lists_are_refused_or_have_another_digest(at: int, bit: int) -> None:
    content = shown().encode()
    with pytest.raises(SignwrightError):
        read_shown(content[: at % len(content)])
    flipped = bytearray(content)
    flipped[at % len(content)] ^= 1 << bit
    assert shown_sha256(bytes(flipped)) != shown_sha256(content)
    try:
        assert read_shown(bytes(flipped)) != shown()
    except SignwrightError:
        return


def test_what_is_shown_survives_and_each_field_counts() -> None:
    content = shown().encode()
    assert read_shown(content) == shown()
    others = [shown(content_read=False), shown(derived=True), shown(exceptions=()), shown(approvals=()), shown(key="x")]
    assert len({shown_sha256(one.encode()) for one in [shown(), *others]}) == len(others) + 1


def test_list_that_nobody_could_read_is_refused() -> None:
    one = shown().artifacts[0].model_copy(update={"options": {"text": "x" * 2048}})
    with pytest.raises(LimitError):
        read_shown(shown(artifacts=(one,) * (MAX_DOCUMENT // 2048)).encode())


def test_digest_to_read_aloud_is_eight_groups_of_four_of_its_first_160_bits() -> None:
    said = spoken(HEX[0])
    assert [len(group) for group in said.split("-")] == [4] * 8
    assert base64.b32decode(said.replace("-", "").upper()) == bytes.fromhex(HEX[0])[:20]
