# SPDX-License-Identifier: Apache-2.0
"""Checkpoints, against the example of c2sp.org/tlog-checkpoint and one of a running log."""

from __future__ import annotations

import base64
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signwright.errors import MalformedError, SignwrightError, VerificationError
from signwright.transparency.checkpoint import Checkpoint, parse_number, verify_checkpoint
from signwright.transparency.note import VerifierKey
from signwright.transparency.signing import SignerKey, sign_checkpoint, sign_note
from tests.support.logs import ORIGIN, MemoryLog, log_key

SPEC_TEXT = b"example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
SUMDB_KEY = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8"
SUMDB_NOTE = (
    "go.sum database tree\n35225469\nvt5T6GaLCXvyHFl9VUvvItR43XZxfLgftEcTyO3eJCQ=\n\n— sum.golang.org "
    "Az3grpukl5AXaVfYkLiDGORx/DN2nlcS5kZHR5uYOBV2KA2HgXpD+gu9HHONebHLAyaKbbTM75QTtPydhKCExixSfwQ=\n"
).encode()
ROOT = base64.b64encode(bytes(32)).decode()


def test_the_checkpoint_of_the_specification_is_read_and_written():
    checkpoint = Checkpoint.parse(SPEC_TEXT)
    assert (checkpoint.origin, checkpoint.size) == ("example.com/behind-the-sofa", 20852163)
    assert checkpoint.root == base64.b64decode("CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=")
    assert checkpoint.text() == SPEC_TEXT


def test_a_checkpoint_of_a_running_log_verifies():
    keys = [VerifierKey.parse(SUMDB_KEY)]
    signed = verify_checkpoint(SUMDB_NOTE, origin="go.sum database tree", keys=keys)
    assert signed.checkpoint.size == 35225469


def test_a_checkpoint_that_was_believed_before_is_refused_to_others_and_when_changed():
    note = sign_checkpoint(Checkpoint(ORIGIN, 1, bytes(32)), log_key())
    key, other = log_key().verifier, SignerKey(ORIGIN, 1, bytes(range(32))).verifier
    for _ in range(2):
        assert verify_checkpoint(note, origin=ORIGIN, keys=[key]).checkpoint.size == 1
        wrong = [
            (note, "other.example/log", key),
            (note, ORIGIN, other),
            (note.replace(b"\n1\n", b"\n2\n"), ORIGIN, key),
        ]
        for content, origin, verifier in wrong:
            with pytest.raises(VerificationError):
                verify_checkpoint(content, origin=origin, keys=[verifier])


def test_another_origin_is_refused_even_under_the_right_key():
    stolen = sign_note(Checkpoint("other.example/log", 1, bytes(32)).text(), log_key())
    with pytest.raises(VerificationError) as problem:
        verify_checkpoint(stolen, origin=ORIGIN, keys=[log_key().verifier])
    assert problem.value.code == "wrong-origin"


def test_another_key_is_refused_even_under_the_right_origin():
    forger = SignerKey(ORIGIN, 1, bytes(range(32)))
    forged = sign_checkpoint(Checkpoint(ORIGIN, 1, bytes(32)), forger)
    with pytest.raises(VerificationError) as problem:
        verify_checkpoint(forged, origin=ORIGIN, keys=[log_key().verifier])
    assert problem.value.code == "unsigned-note"


def test_a_rotated_log_key_verifies_beside_the_old_one():
    new = SignerKey(ORIGIN, 1, bytes(range(32)))
    note = sign_checkpoint(Checkpoint(ORIGIN, 1, bytes(32)), new)
    signed = verify_checkpoint(note, origin=ORIGIN, keys=[log_key().verifier, new.verifier])
    assert signed.checkpoint.origin == ORIGIN


@pytest.mark.parametrize(
    "text",
    [
        "",
        "o\n1\n",
        f"o\n1\n{ROOT}",
        f"\n1\n{ROOT}\n",
        f"o\n01\n{ROOT}\n",
        f"o\n-1\n{ROOT}\n",
        f"o\n+1\n{ROOT}\n",
        f"o\n１\n{ROOT}\n",
        f"o\n1 \n{ROOT}\n",
        f"o\n\n{ROOT}\n",
        f"o\n9223372036854775808\n{ROOT}\n",
        f"o\n1\n{ROOT[:-2]}\n",
        f"o\n1\n{base64.b64encode(bytes(31)).decode()}\n",
        f"o\n1\n{base64.b64encode(bytes(33)).decode()}\n",
        f"o\n1\n{ROOT[:-2]}B=\n",
        f"o\n1\n{ROOT}\n\n",
        f"o\n1\n{ROOT}\nan extension line\n",
        f"{'o' * 256}\n1\n{ROOT}\n",
    ],
)
def test_malformed_checkpoints_and_extension_lines_are_refused(text: str):
    with pytest.raises(MalformedError):
        Checkpoint.parse(text.encode())


def test_text_that_is_not_utf8_is_refused():
    with pytest.raises(MalformedError):
        Checkpoint.parse(b"\xff" + SPEC_TEXT)


@pytest.mark.parametrize("text", ["", "00", "1_0", "٣", "²", "1" * 20, "0x1", " 1"])
def test_only_plain_decimals_are_numbers(text: str):
    with pytest.raises(MalformedError):
        parse_number(text, "size")


@given(st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=60), st.integers(0, 2**63 - 1))
def test_every_checkpoint_survives_writing_and_reading(origin: str, size: int):
    checkpoint = Checkpoint(origin, size, bytes(range(32)))
    assert Checkpoint.parse(checkpoint.text()) == checkpoint


def test_every_flipped_bit_and_truncation_is_noticed():
    note = MemoryLog([b"a", b"b"]).note()
    keys = [log_key().verifier]
    for at in range(len(note)):
        for bit in range(8):
            changed = bytearray(note)
            changed[at] ^= 1 << bit
            with pytest.raises(SignwrightError):
                verify_checkpoint(bytes(changed), origin=ORIGIN, keys=keys)
        with pytest.raises(SignwrightError):
            verify_checkpoint(note[:at], origin=ORIGIN, keys=keys)


@pytest.mark.parametrize("changes", [{"origin": ""}, {"origin": "a\nb"}, {"size": -1}, {"root": bytes(31)}], ids=str)
def test_checkpoint_that_nobody_could_read_is_not_signed(changes: dict[str, object]):
    with pytest.raises(MalformedError):
        sign_checkpoint(replace(Checkpoint(ORIGIN, 1, bytes(32)), **changes), log_key())  # type: ignore[arg-type]
