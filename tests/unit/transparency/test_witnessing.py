# SPDX-License-Identifier: Apache-2.0
"""Messages between a log and a witness (c2sp.org/tlog-witness)."""

from __future__ import annotations

import pytest

from signwright.errors import LimitError, MalformedError, VerificationError
from signwright.transparency.note import NoteSignature, parse_note
from signwright.transparency.signing import add_signatures, cosign
from signwright.transparency.witnessing import (
    MAX_BODY,
    AddCheckpoint,
    add_checkpoint_body,
    parse_answer,
    parse_size,
)
from tests.support.logs import NOW, MemoryLog, trust_in, witness_key, witness_signer

SPEC_BODY = """old 20852014
PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=
jrJZDmY8Y7SyJE0MWLpLozkIVMSMZcD5kvuKxPC3swk=
5+pKlUdi2LeF/BcMHBn+Ku6yhPGNCswZZD1X/6QgPd8=
/6WVhPs2CwSsb5rYBH5cjHV/wSmA79abXAwhXw3Kj/0=

example.com/behind-the-sofa
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
""".encode()  # noqa: E501

LOG = MemoryLog([b"a", b"b", b"c"])
LINE = cosign(LOG.checkpoint(), witness_signer("w"), time=NOW)


def test_the_body_of_the_specification_is_read_and_written():
    asked = AddCheckpoint.parse(SPEC_BODY)
    assert asked.old_size == 20852014
    assert len(asked.path) == 4
    assert parse_note(asked.checkpoint).text.startswith(b"example.com/behind-the-sofa\n")
    assert asked.encode() == SPEC_BODY


def test_a_body_without_proof_is_written_as_specified():
    note = LOG.note()
    assert add_checkpoint_body(0, [], checkpoint=note) == b"old 0\n\n" + note
    assert AddCheckpoint.parse(b"old 0\n\n" + note) == AddCheckpoint(0, (), note)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"old 1",
        b"old 1\n",
        b"new 1\n\n",
        b"1\n\nx",
        b"old  1\n\nx",
        b"old 01\n\nx",
        b"old -1\n\nx",
        b"old\n\nx",
        b"old 1\nAAAA\n\nx",
        b"old 1\n!\n\nx",
        SPEC_BODY.replace(b"PlRN", b"PlRN ", 1),
        SPEC_BODY.replace(b"\n", b"\r\n"),
        b"old 1\n" + b"PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=\n" * 64 + b"\nx",
    ],
)
def test_malformed_bodies_are_refused(body: bytes):
    with pytest.raises(MalformedError):
        AddCheckpoint.parse(body)


def test_oversize_bodies_are_refused():
    with pytest.raises(LimitError):
        AddCheckpoint.parse(SPEC_BODY + b"a" * MAX_BODY)


def test_the_cosignature_of_the_asked_witness_is_taken_from_the_answer():
    stranger = cosign(LOG.checkpoint(), witness_signer("stranger"), time=NOW)
    answer = (stranger.line() + LINE.line()).encode()
    lines = parse_answer(answer, checkpoint=LOG.note(), witness=witness_key("w"))
    assert lines == (LINE,)
    assert trust_in(witness_key("w"), outside=1).verify(add_signatures(LOG.note(), lines)).cosigned.times == (NOW,)


def test_an_answer_about_another_checkpoint_is_refused():
    answer = cosign(LOG.checkpoint(2), witness_signer("w"), time=NOW).line().encode()
    with pytest.raises(VerificationError):
        parse_answer(answer, checkpoint=LOG.note(), witness=witness_key("w"))


def test_an_answer_without_the_witness_is_refused():
    answer = cosign(LOG.checkpoint(), witness_signer("stranger"), time=NOW).line().encode()
    with pytest.raises(VerificationError, match="no cosignature by w"):
        parse_answer(answer, checkpoint=LOG.note(), witness=witness_key("w"))


@pytest.mark.parametrize(
    "answer", [b"", b"\n", b"\xff\n", b"<html>", LINE.line().encode()[:-1], LINE.line().encode() + b"\n"]
)
def test_malformed_answers_are_refused(answer: bytes):
    with pytest.raises(MalformedError):
        parse_answer(answer, checkpoint=LOG.note(), witness=witness_key("w"))


def test_an_endless_answer_is_refused():
    with pytest.raises(LimitError):
        parse_answer(LINE.line().encode() * 200, checkpoint=LOG.note(), witness=witness_key("w"))


def test_an_answer_with_zero_time_is_refused():
    zero = NoteSignature(LINE.name, LINE.key_id, bytes(8) + LINE.value[8:])
    with pytest.raises(VerificationError):
        parse_answer(zero.line().encode(), checkpoint=LOG.note(), witness=witness_key("w"))


def test_sizes_are_read_strictly():
    assert parse_size(b"20852163\n") == 20852163
    for answer in (b"", b"\n", b"5", b"05\n", b"5\n\n", b"-5\n", b"5 \n", b"1" * 40 + b"\n"):
        with pytest.raises(MalformedError):
            parse_size(answer)


def test_line_of_another_witness_under_the_same_name_or_key_id_is_dropped():
    other = cosign(LOG.checkpoint(), witness_signer("stranger"), time=NOW)
    for line in (
        NoteSignature(LINE.name, other.key_id, other.value),
        NoteSignature("stranger", LINE.key_id, bytes(72)),
    ):
        answer = (line.line() + LINE.line()).encode()
        assert parse_answer(answer, checkpoint=LOG.note(), witness=witness_key("w")) == (LINE,)


def test_size_ends_in_its_one_newline():
    with pytest.raises(MalformedError, match="wanted a size and a newline"):
        parse_size(b"12x")
    with pytest.raises(MalformedError, match="wanted a size and a newline"):
        parse_size(b"1" * 19 + b"\n" + b"2" * 40)
