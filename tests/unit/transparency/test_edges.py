# SPDX-License-Identifier: Apache-2.0
"""Proofs, notes and cosignatures that hold but for one thing; their makers chose roots, names and times well."""

from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from signwright.errors import ConfigurationError, MalformedError, VerificationError
from signwright.transparency.checkpoint import parse_number
from signwright.transparency.cosignature import Quorum, WitnessKey, check_cosignature, cosignature_message
from signwright.transparency.merkle import (
    EMPTY_ROOT,
    MAX_SIZE,
    leaf_hash,
    node_hash,
    verify_consistency,
    verify_inclusion,
)
from signwright.transparency.note import (
    COSIGNATURE_V1,
    ED25519,
    MAX_NAME,
    NoteSignature,
    VerifierKey,
    check_name,
    parse_note,
    parse_signatures,
)
from signwright.transparency.proof import MAX_EXTRA, TlogProof

A, B, C, D = (leaf_hash(letter) for letter in (b"a", b"b", b"c", b"d"))
AB, CD = node_hash(A, B), node_hash(C, D)
THREE, FOUR = node_hash(AB, C), node_hash(AB, CD)
OTHER = bytes([7]) * 32
KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
PUBLIC = KEY.public_key().public_bytes_raw()
LINE = f"— name {base64.b64encode(bytes(68)).decode()}\n"


# ── proofs ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("index", "size"), [(-1, 1), (1, 1), (0, 0), (0, MAX_SIZE + 1), (-1, 0)])
def test_position_outside_the_tree_is_refused_before_anything_is_hashed(index: int, size: int) -> None:
    with pytest.raises(VerificationError, match="is not in a tree"):
        verify_inclusion(A, index, size=size, root=A, path=[])


def test_root_of_two_leaves_is_no_root_of_one() -> None:
    with pytest.raises(VerificationError, match="too long"):
        verify_inclusion(A, 0, size=1, root=node_hash(OTHER, A), path=[OTHER])


def test_hash_of_another_length_is_refused_in_a_proof_that_leads_to_the_root() -> None:
    with pytest.raises(VerificationError, match="hashes of 32 bytes"):
        verify_inclusion(A, 0, size=2, root=node_hash(A, b"short"), path=[b"short"])


@pytest.mark.parametrize(("old", "new"), [(-1, 4), (4, 3), (1, MAX_SIZE + 1)])
def test_sizes_that_no_log_grows_between_are_refused(old: int, new: int) -> None:
    with pytest.raises(VerificationError, match="cannot have grown"):
        verify_consistency(old, A, new_size=new, new_root=B, path=[])


def test_roots_that_are_no_hashes_are_refused_even_when_they_are_equal() -> None:
    with pytest.raises(VerificationError, match="hashes of 32 bytes"):
        verify_consistency(1, b"x", new_size=1, new_root=b"x", path=[])


def test_empty_tree_has_one_root_also_as_the_newer_tree() -> None:
    with pytest.raises(VerificationError, match="the hash of nothing"):
        verify_consistency(0, EMPTY_ROOT, new_size=0, new_root=OTHER, path=[])


def test_consistency_without_hashes_is_refused() -> None:
    with pytest.raises(VerificationError, match="the path is empty"):
        verify_consistency(3, THREE, new_size=4, new_root=FOUR, path=[])


def test_consistency_path_goes_exactly_to_the_root() -> None:
    path = [C, D, AB]
    verify_consistency(3, THREE, new_size=4, new_root=FOUR, path=path)
    higher = node_hash(OTHER, THREE), node_hash(OTHER, FOUR)
    with pytest.raises(VerificationError, match="too long"):
        verify_consistency(3, higher[0], new_size=4, new_root=higher[1], path=[*path, OTHER])
    with pytest.raises(VerificationError, match="does not continue"):
        verify_consistency(3, THREE, new_size=8, new_root=FOUR, path=path)


# ── notes ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "algorithm", "public_key"),
    [("name", 9, PUBLIC), ("name", ED25519, PUBLIC[:31]), ("name", ED25519, PUBLIC + b"x"), ("a b", ED25519, PUBLIC)],
    ids=["algorithm", "short", "long", "name"],
)
def test_key_that_is_none_is_not_made(name: str, algorithm: int, public_key: bytes) -> None:
    with pytest.raises(MalformedError) as refused:
        VerifierKey(name, algorithm, public_key)
    assert refused.value.code == "bad-note-key"


def test_key_of_another_type_is_refused_even_under_the_id_of_the_wanted_one() -> None:
    key_id = VerifierKey("name", ED25519, PUBLIC).key_id.hex()
    with pytest.raises(MalformedError, match="wanted type 0x01"):
        VerifierKey.parse(f"name+{key_id}+{base64.b64encode(bytes([COSIGNATURE_V1]) + PUBLIC).decode()}")


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\x00b", "a\x7f\u2028", "a" * (MAX_NAME + 1)], ids=ascii)
def test_name_that_could_be_read_as_something_else_is_refused(name: str) -> None:
    with pytest.raises(MalformedError):
        check_name(name)


def test_longest_name_is_a_name() -> None:
    assert check_name("a" * MAX_NAME)


def test_signature_lines_without_a_text_are_no_note() -> None:
    assert parse_signatures(LINE)
    with pytest.raises(MalformedError):
        parse_note(LINE.encode())


def test_signature_line_that_ends_in_anything_but_a_newline_is_refused() -> None:
    with pytest.raises(MalformedError, match="ending in a newline"):
        parse_signatures(LINE.rstrip("\n") + "x")


def test_signature_line_without_its_dash_is_refused() -> None:
    with pytest.raises(MalformedError, match="not a signature line"):
        parse_signatures(LINE.removeprefix("— "))


def test_endless_number_is_refused_before_it_is_converted() -> None:
    with pytest.raises(MalformedError):
        parse_number("1" * 5000, "size")


# ── cosignatures ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_quorum_of_outside_operators_is_not_met_by_local_witnesses() -> None:
    local = WitnessKey("w", PUBLIC, "here", outside=False)
    with pytest.raises(ConfigurationError):
        Quorum((local,), outside=1, local=0)


@pytest.mark.parametrize(("outside", "local"), [(-1, 0), (0, -1), (0, 2)])
def test_quorum_of_impossible_numbers_is_refused(outside: int, local: int) -> None:
    witness = WitnessKey("w", PUBLIC, "here", outside=False)
    with pytest.raises(ConfigurationError):
        Quorum((witness,), outside=outside, local=local)


def cosigned(time: int) -> NoteSignature:
    value = time.to_bytes(8, "big") + KEY.sign(cosignature_message(b"text\n", time))
    return NoteSignature("w", bytes(4), value)


def test_cosignature_names_a_time_that_exists() -> None:
    key = VerifierKey("w", COSIGNATURE_V1, PUBLIC)
    assert check_cosignature(b"text\n", cosigned(1), key).year == 1970
    for time in (0, 253_402_300_800, (1 << 64) - 1):
        with pytest.raises(VerificationError, match="not a cosignature"):
            check_cosignature(b"text\n", cosigned(time), key)


def test_cosignature_by_a_key_for_notes_is_none() -> None:
    with pytest.raises(VerificationError, match="not a cosignature"):
        check_cosignature(b"text\n", cosigned(1), VerifierKey("w", ED25519, PUBLIC))


# ── tlog-proofs ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "content",
    [
        b"c2sp.org/tlog-proof@v1\nindex 0\n\n",
        b"c2sp.org/tlog-proof@v1\nindex 0",
        b"c2sp.org/tlog-proof@v2\nindex 0\n\ncheckpoint\n",
        b"c2sp.org/tlog-proof@v1\n\ncheckpoint\n",
        b"c2sp.org/tlog-proof@v1\n5\n\ncheckpoint\n",
        b"c2sp.org/tlog-proof@v1\nextra " + base64.b64encode(bytes(MAX_EXTRA + 1)) + b"\nindex 0\n\ncheckpoint\n",
    ],
    ids=["no checkpoint", "no end", "another version", "no index", "a bare number", "long extra"],
)
def test_proof_that_lacks_one_thing_is_malformed(content: bytes) -> None:
    assert TlogProof.parse(b"c2sp.org/tlog-proof@v1\nindex 0\n\ncheckpoint\n").index == 0
    with pytest.raises(MalformedError):
        TlogProof.parse(content)
