# SPDX-License-Identifier: Apache-2.0
"""Leaves: one written form, strict reading, at most 4 KiB."""

from __future__ import annotations

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signwright.errors import LimitError, MalformedError, SignwrightError
from signwright.transparency.leaf import (
    MAX_LEAF,
    MAX_LISTED,
    CustodianLeaf,
    DenyLeaf,
    EpochLeaf,
    GenesisLeaf,
    HubEventsLeaf,
    IntentLeaf,
    Leaf,
    PolicyLeaf,
    ResultLeaf,
    fold_digests,
    parse_intent,
    parse_leaf,
)

TIME = "2026-11-21T09:30:00Z"
HEX = [hashlib.sha256(b"%d" % number).hexdigest() for number in range(40)]


def intent(**changes: object) -> IntentLeaf:
    fields: dict[str, object] = {
        "request": HEX[0],
        "wave": 0,
        "attempt": 1,
        "operations_sha256": HEX[1],
        "key": HEX[2],
        "kind": "release",
        "trial": False,
        "policy_sha256": HEX[3],
        "policy_version": 7,
        "approvals": HEX[4:6],
        "evidence": HEX[6:7],
        "mode": "artifact",
        "content_seen": True,
        "derived": False,
        "exceptions": ["software-release-key"],
        "profile": 1,
        "sandbox": "landlock",
        "key_protection": "claimed",
        "signing_time": TIME,
    }
    return IntentLeaf.model_validate(fields | changes)


LEAVES: list[Leaf] = [
    GenesisLeaf(root_sha256=HEX[0], origin="log.example/signer", profile=1, trial=True, time=TIME),
    PolicyLeaf(
        policy_sha256=HEX[0], policy_version=2, root_sha256=HEX[1], root_version=1, weakening=("quorum",), time=TIME
    ),
    intent(),
    ResultLeaf(
        intent=3,
        request=HEX[0],
        wave=0,
        attempt=1,
        outcome="signed",
        signature_sha256=(HEX[1],),
        result_sha256=(HEX[2],),
        timestamps="local",
        time=TIME,
    ),
    DenyLeaf(request=HEX[0], codes=("approvals", "scan"), count=2, time=TIME),
    CustodianLeaf(statement=HEX[0], requests=(HEX[1], HEX[2]), time=TIME),
    HubEventsLeaf(head=HEX[0], count=0, time=TIME),
    EpochLeaf(time=TIME),
]


@pytest.mark.parametrize("leaf", LEAVES, ids=lambda leaf: leaf.type)
def test_every_type_survives_writing_and_reading(leaf: Leaf):
    content = leaf.encode()
    assert parse_leaf(content) == leaf
    assert parse_leaf(content).encode() == content
    assert content.isascii()
    assert content == json.dumps(json.loads(content), separators=(",", ":"), sort_keys=True).encode()


def test_the_written_form_of_an_intent_is_pinned():
    content = intent().encode()
    assert content.startswith(b'{"approvals":["')
    assert hashlib.sha256(content).hexdigest() == "67c52287230c3a921ce521ed07100aa12a1b83a0e11ef0be174b23d082656532"


@pytest.mark.parametrize("leaf", LEAVES, ids=lambda leaf: leaf.type)
def test_truncation_at_every_byte_is_refused(leaf: Leaf):
    content = leaf.encode()
    for end in range(len(content)):
        with pytest.raises(MalformedError):
            parse_leaf(content[:end])


@pytest.mark.parametrize("leaf", LEAVES, ids=lambda leaf: leaf.type)
def test_no_flipped_bit_reads_as_the_same_leaf(leaf: Leaf):
    content = leaf.encode()
    for at in range(len(content) * 8):
        changed = bytearray(content)
        changed[at // 8] ^= 1 << at % 8
        try:
            assert parse_leaf(bytes(changed)) != leaf
        except SignwrightError:
            pass


@pytest.mark.parametrize("leaf", LEAVES, ids=lambda leaf: leaf.type)
def test_a_missing_or_an_unknown_member_is_refused(leaf: Leaf):
    members = json.loads(leaf.encode())
    for name in members:
        without = {key: value for key, value in members.items() if key != name}
        with pytest.raises(MalformedError):
            parse_leaf(_written(without))
    with pytest.raises(MalformedError):
        parse_leaf(_written(members | {"comment": "hello"}))


def _written(members: dict[str, object]) -> bytes:
    return json.dumps(members, separators=(",", ":"), sort_keys=True).encode()


def test_other_written_forms_of_the_same_leaf_are_refused():
    leaf = EpochLeaf(time=TIME)
    content = leaf.encode()
    for other in [
        content + b"\n",
        b" " + content,
        content.replace(b":", b": "),
        b'{"v":1,"type":"epoch","time":"2026-11-21T09:30:00Z"}',
        content.replace(b"epoch", b"\\u0065poch"),
        content.replace(b'"v":1', b'"v":true'),
        content.replace(b'"v":1', b'"v":1.0'),
        content.replace(b'"v":1', b'"v":"1"'),
        content.replace(b'"v":1', b'"v":1,"v":1'),
        content.replace(b'"v":1', b'"v":2'),
        content.replace(b"epoch", b"EPOCH"),
        "{}".encode("utf-16"),
        b"[]",
        b"null",
        b'{"type":["epoch"]}',
    ]:
        with pytest.raises(MalformedError):
            parse_leaf(other)


@pytest.mark.parametrize(
    "changes",
    [
        {"request": HEX[0].upper()},
        {"request": HEX[0] + "\n"},
        {"request": HEX[0][:-1]},
        {"wave": -1},
        {"wave": True},
        {"wave": 1 << 53},
        {"attempt": 0},
        {"attempt": 4},
        {"kind": "prod"},
        {"trial": 1},
        {"mode": "hash"},
        {"approvals": HEX[: MAX_LISTED + 1]},
        {"approvals": "".join(HEX[:2])},
        {"exceptions": ["Name With Spaces"]},
        {"exceptions": ["a"] * 17},
        {"sandbox": ""},
        {"key_protection": "hardware"},
        {"signing_time": "2026-11-21T09:30:00+00:00"},
        {"signing_time": "2026-11-21T09:30:00.5Z"},
        {"signing_time": "2026-02-30T09:30:00Z"},
        {"signing_time": "٢026-11-21T09:30:00Z"},
        {"signing_time": 1},
    ],
)
def test_wrong_values_are_refused(changes: dict[str, object]):
    members = json.loads(intent().encode()) | changes
    with pytest.raises(MalformedError):
        parse_leaf(_written(members))


def test_only_an_intent_is_an_intent():
    assert parse_intent(intent().encode()) == intent()
    with pytest.raises(MalformedError, match="found epoch; wanted intent"):
        parse_intent(EpochLeaf(time=TIME).encode())


def test_leaves_are_at_most_4_kib():
    full = intent(approvals=HEX[:MAX_LISTED], evidence=HEX[:MAX_LISTED])
    with pytest.raises(LimitError):
        intent(
            approvals=HEX[:MAX_LISTED],
            evidence=HEX[:MAX_LISTED],
            exceptions=[f"exception-{'x' * 40}-{number}" for number in range(16)],
        ).encode()
    assert len(full.encode()) <= MAX_LEAF
    with pytest.raises(LimitError):
        parse_leaf(b" " * (MAX_LEAF + 1))


def test_long_lists_of_results_are_folded_into_one_digest_each():
    assert fold_digests(HEX[:2], []) == (True, (tuple(HEX[:2]), ()))
    listed, (signatures, results) = fold_digests(HEX[:30], HEX[:1])
    assert not listed
    assert signatures == (hashlib.sha256(b"".join(bytes.fromhex(one) for one in HEX[:30])).hexdigest(),)
    assert results == (hashlib.sha256(bytes.fromhex(HEX[0])).hexdigest(),)


@given(
    st.binary(max_size=200)
    | st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists).map(
        lambda value: json.dumps({"type": "epoch", "v": value}).encode()
    )
)
def test_whatever_comes_in_is_a_leaf_or_a_clean_error(content: bytes):
    try:
        assert parse_leaf(content).encode() == content
    except (MalformedError, LimitError):
        pass
