# SPDX-License-Identifier: Apache-2.0
"""tlog-proof files (c2sp.org/tlog-proof)."""

from __future__ import annotations

import base64
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signwright.errors import LimitError, MalformedError, SignwrightError, VerificationError
from signwright.transparency.proof import MAX_PROOF, TlogProof
from tests.support.logs import MemoryLog, trust_in, witness_key

LEAVES = [b"leaf %d" % number for number in range(11)]
TRUST = trust_in(witness_key("a"), witness_key("b"), outside=1)
PROOF = MemoryLog(LEAVES).proof(6, witnesses=["a"])
WRITTEN = PROOF.encode()

SPEC_HEAD = b"""c2sp.org/tlog-proof@v1
index 73894
gSKyXoYZUgZ6jduWYrkDOARinOMGJveXjgMkBTcdPlQ=
B95lDa8R83lS8n0eG+o0buTxRKQTYFi//1U8anccXmA=
EKNzoDWG8LGC0Yp9o+sv3qllpMP9uHQ9B20KNL+Q1zs=
RoopEkOdqkYqMB4MJXrbt/hMjOxsVn0IrWjpz1ZMMes=
AHCioX9nLjsrse6YhjRRmk1WUEirVOLLRoOQ6vfO5vk=

example.com/fancylog
109482
sFodV/vSp5O8n9a8QpW6PRY97tfOSW5bsc2Xl/EQi08=
"""


def test_the_example_of_the_specification_is_read_and_written():
    proof = TlogProof.parse(SPEC_HEAD)
    assert proof.index == 73894
    assert [base64.b64encode(value)[:4] for value in proof.path] == [b"gSKy", b"B95l", b"EKNz", b"Roop", b"AHCi"]
    assert proof.checkpoint.startswith(b"example.com/fancylog\n109482\n")
    assert proof.encode() == SPEC_HEAD


def test_extra_is_carried():
    proof = replace(PROOF, extra=b"opaque \x00 bytes")
    assert TlogProof.parse(proof.encode()) == proof
    assert proof.encode().split(b"\n")[1] == b"extra " + base64.b64encode(b"opaque \x00 bytes")


def test_a_cosigned_proof_verifies_for_its_leaf():
    witnessed = TlogProof.parse(WRITTEN).verify(LEAVES[6], TRUST)
    assert witnessed.checkpoint.size == len(LEAVES)
    assert witnessed.cosigned.outside == 1


def test_a_log_of_one_leaf_has_a_proof_without_hashes():
    proof = MemoryLog([b"only"]).proof(0, witnesses=["b"])
    assert proof.path == ()
    TlogProof.parse(proof.encode()).verify(b"only", TRUST)


def test_another_leaf_or_another_index_is_refused():
    with pytest.raises(VerificationError):
        PROOF.verify(LEAVES[5], TRUST)
    for index in [*range(6), *range(7, 14)]:
        with pytest.raises(VerificationError):
            replace(PROOF, index=index).verify(LEAVES[6], TRUST)


def test_a_proof_without_its_quorum_is_refused():
    with pytest.raises(VerificationError, match="cosigned by outside 0"):
        MemoryLog(LEAVES).proof(6).verify(LEAVES[6], TRUST)


def test_a_proof_of_another_log_is_refused():
    other = MemoryLog(LEAVES, origin="other.example/log").proof(6, witnesses=["a"])
    with pytest.raises(VerificationError):
        other.verify(LEAVES[6], TRUST)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"c2sp.org/tlog-proof@v1\n",
        WRITTEN.replace(b"@v1", b"@v2", 1),
        WRITTEN.replace(b"index 6", b"index 06", 1),
        WRITTEN.replace(b"index 6", b"index  6", 1),
        WRITTEN.replace(b"index 6", b"index -6", 1),
        WRITTEN.replace(b"index 6\n", b"", 1),
        WRITTEN.replace(b"index 6\n", b"index 6\nindex 6\n", 1),
        WRITTEN.replace(b"index 6\n", b"extra \nindex 6\n", 1),
        WRITTEN.replace(b"index 6\n", b"index 6\nextra YWFh\n", 1),
        WRITTEN.replace(b"index 6\n", b"index 6\nYWFh\n", 1),
        WRITTEN.replace(b"index 6\n", b"index 6\r\n", 1),
        WRITTEN.replace(b"index 6\n", b"index 6\n" + (base64.b64encode(bytes(32)) + b"\n") * 64, 1),
    ],
)
def test_malformed_proofs_are_refused(content: bytes):
    with pytest.raises(MalformedError):
        TlogProof.parse(content)


def test_oversize_proofs_are_refused():
    with pytest.raises(LimitError):
        TlogProof.parse(WRITTEN + b"a" * MAX_PROOF)


def test_truncation_at_every_byte_is_a_clean_error():
    for end in range(len(WRITTEN)):
        with pytest.raises(SignwrightError):
            TlogProof.parse(WRITTEN[:end]).verify(LEAVES[6], TRUST)


@given(st.integers(0, len(WRITTEN) * 8 - 1))
def test_every_flipped_bit_is_a_clean_error(bit: int):
    changed = bytearray(WRITTEN)
    changed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(SignwrightError):
        TlogProof.parse(bytes(changed)).verify(LEAVES[6], TRUST)
