# SPDX-License-Identifier: Apache-2.0
"""What is no JSON: notes, checkpoints, proofs, tiles, keys and frames, cut at each byte, altered and too long."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from signwright.errors import LimitError, MalformedError, SignwrightError, VerificationError
from signwright.model.framing import MAX_HEADER, decode_frame, encode_frame, header_length, parse_header
from signwright.statements.keys import verifying_key
from signwright.transparency.checkpoint import Checkpoint
from signwright.transparency.note import MAX_NOTE, VerifierKey, parse_note
from signwright.transparency.proof import MAX_PROOF, TlogProof
from signwright.transparency.tiles import Tile, bundle_entry, parse_bundle, split_tile
from signwright.transparency.witnessing import MAX_ANSWER, MAX_BODY, AddCheckpoint, parse_answer, parse_size
from tests.support.bad_input import BAD_CHARACTERS
from tests.support.logs import MemoryLog, log_key, trust_in, witness_key
from tests.support.samples import samples, world
from tests.support.world import ssh_line

LEAVES = [sample.content for name, sample in samples().items() if name.startswith("leaf ")]
LOG = MemoryLog(LEAVES)
NOTE = LOG.note(witnesses=["w1"])
WITNESS = witness_key("w1")
TRUST = trust_in(WITNESS, outside=1)
PROOF = LOG.proof(3, witnesses=["w1"])
COSIGNATURE = NOTE.splitlines(keepends=True)[-1]
BUNDLE = b"".join(map(bundle_entry, LEAVES))
TILE = LOG.files[Tile(0, 0, len(LEAVES)).path]


@dataclass(frozen=True)
class Sample:
    """``written``: back to bytes, where there is one written form; ``limit``: of bytes, 0 where a width bounds it."""

    content: bytes
    read: Callable[[bytes], object]
    written: Callable[[object], bytes] | None = None
    limit: int = 0


def text(content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as problem:
        raise MalformedError("not UTF-8") from problem


SAMPLES = {
    "note": Sample(NOTE, parse_note, lambda note: note.encode(), MAX_NOTE),
    "cosigned checkpoint": Sample(NOTE, TRUST.verify, None, MAX_NOTE),
    "checkpoint text": Sample(LOG.checkpoint().text(), Checkpoint.parse, lambda c: c.text()),
    "tlog-proof": Sample(PROOF.encode(), lambda c: TlogProof.parse(c).verify(LEAVES[3], TRUST), None, MAX_PROOF),
    "add-checkpoint": Sample(
        AddCheckpoint(3, PROOF.path, NOTE).encode(),
        lambda c: (AddCheckpoint.parse(c), TRUST.verify(AddCheckpoint.parse(c).checkpoint)),
        None,
        MAX_BODY,
    ),
    "witness's answer": Sample(
        COSIGNATURE, lambda c: parse_answer(c, checkpoint=NOTE, witness=WITNESS), None, MAX_ANSWER
    ),
    "witness's size": Sample(b"1234\n", parse_size, lambda n: b"%d\n" % n, 32),
    "entry bundle": Sample(
        BUNDLE,
        lambda c: parse_bundle(c, len(LEAVES)),
        lambda e: b"".join(map(bundle_entry, e)),
    ),
    "tile": Sample(TILE, lambda c: split_tile(c, len(LEAVES)), b"".join),
    "tile path": Sample(b"tile/0/x001/234.p/17", lambda c: Tile.parse(text(c)), lambda t: t.path.encode()),
    "verifier key": Sample(
        str(log_key().verifier).encode(), lambda c: VerifierKey.parse(text(c)), lambda k: str(k).encode()
    ),
    "machine's key": Sample(
        samples()["document services"].value["gate_key"].encode(),
        lambda c: verifying_key(text(c)),
        lambda k: k.text.encode(),
    ),
    "person's key": Sample(
        ssh_line(world().keeper).encode(),
        lambda c: verifying_key(text(c)),
    ),
    "frame": Sample(encode_frame({"type": "sign", "id": 1, "parts": [0, 1]}, [b"request", b"approval"]), decode_frame),
}
#: What can be cut to another that is good: a path, a number, a note after one of its signatures.
STILL_GOOD = {"tile path", "witness's size", "note"}


@pytest.fixture(params=SAMPLES)
def sample(request):
    return request.param, SAMPLES[request.param]


def test_the_sample_is_read_and_written_again(sample):
    _, one = sample
    found = one.read(one.content)
    assert one.written is None or one.written(found) == one.content


def test_a_cut_at_each_byte_is_refused(sample):
    name, one = sample
    for length in range(len(one.content)):
        try:
            found = one.read(one.content[:length])
        except SignwrightError:
            continue
        assert name in STILL_GOOD, f"cut at byte {length}: accepted"
        assert one.written is not None
        assert one.written(found) == one.content[:length]


def test_any_altered_byte_is_refused_or_is_what_it_says(sample):
    name, one = sample
    for at in range(len(one.content)):
        for value in (one.content[at] ^ 1, one.content[at] ^ 0x20, 0, 0x0A, 0x80, 0xFF):
            altered = one.content[:at] + bytes([value]) + one.content[at + 1 :]
            try:
                found = one.read(altered)
            except SignwrightError:
                continue
            assert one.written is None or one.written(found) == altered, f"{name}: byte {at} = {value}"


def test_control_and_bidi_characters_are_refused_or_stay_what_they_are(sample):
    _, one = sample
    for at in range(0, len(one.content), max(1, len(one.content) // 40)):
        for character in BAD_CHARACTERS:
            altered = one.content[:at] + character.encode() + one.content[at:]
            try:
                found = one.read(altered)
            except SignwrightError:
                continue
            assert one.written is None or one.written(found) == altered


def test_more_than_the_limit_is_refused(sample):
    name, one = sample
    if one.limit:
        with pytest.raises((LimitError, MalformedError)):
            one.read(one.content + b"A" * one.limit)
    elif name not in {"tile path", "person's key"}:
        with pytest.raises(SignwrightError):
            one.read(one.content + b"A" * (4 << 20)) if name != "frame" else header_length(b"\xff\xff\xff\xff")


@pytest.mark.parametrize("number", ["01", "+1", "-1", "1.0", "1e3", "\u0661", "", " 1", "9" * 19, "9" * 5000, "0x1"])
def test_a_number_in_another_notation_is_refused(number):
    lines = LOG.checkpoint().text().split(b"\n")
    with pytest.raises(MalformedError):
        Checkpoint.parse(b"\n".join([lines[0], number.encode(), *lines[2:]]))
    with pytest.raises(MalformedError):
        TlogProof.parse(PROOF.encode().replace(b"index 3", f"index {number}".encode()))
    with pytest.raises(MalformedError):
        AddCheckpoint.parse(f"old {number}\n\n".encode() + NOTE)


@pytest.mark.parametrize(
    "header",
    [
        *(b"", b"{", b"[]", b"null", b"1", b'"x"', b"\xff", b"[" * 100_000, b'{"a":' * 100_000, b'{"message":{}}'),
        *(b'{"parts":[]}', b'{"message":[],"parts":[]}', b'{"message":{},"parts":{}}', b'{"message":{},"parts":["1"]}'),
        *(b'{"message":{},"parts":[-1]}', b'{"message":{},"parts":[1.0]}', b'{"message":{},"parts":[true]}'),
        *(b'{"message":{},"parts":[null]}', b'{"message":{},"parts":[NaN]}', b'{"message":{},"parts":[1e400]}'),
        *(b'{"message":{},"parts":[%s]}' % (b"9" * 5000), b'{"message":{},"parts":[67108865]}'),
        b'{"message":{},"parts":[%s]}' % b",".join([b"0"] * 5000),
    ],
)
def test_a_wrong_header_of_a_frame_is_refused_before_anything_is_allocated(header):
    with pytest.raises((MalformedError, LimitError)):
        parse_header(header)


def test_a_frame_that_announces_too_much_is_refused_from_its_first_four_bytes():
    for length in (0, MAX_HEADER + 1, 0xFFFFFFFF):
        with pytest.raises(LimitError):
            header_length(length.to_bytes(4, "big"))


def test_a_cosignature_of_another_text_is_refused():
    with pytest.raises((VerificationError, MalformedError)):
        TRUST.verify(NOTE.replace(b"log.example", b"log.examplf"))
