# SPDX-License-Identifier: Apache-2.0
"""Signed notes, against the examples of c2sp.org/signed-note and of golang.org/x/mod/sumdb/note."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signwright.errors import LimitError, MalformedError, SignwrightError, UsageError, VerificationError
from signwright.transparency.note import (
    COSIGNATURE_V1,
    MAX_NOTE,
    MAX_SIGNATURES,
    Note,
    NoteSignature,
    VerifierKey,
    parse_note,
    verify_note,
)
from signwright.transparency.signing import SignerKey, add_signatures, sign_note, sign_text

SPEC_KEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
SPEC_NOTE = (
    "This is an example message.\n\n— example.com/foo "
    "Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
).encode()
GO_KEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_SECRET = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
GO_SECOND_KEY = "EnochRoot+af0cfe78+ATtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop"
GO_TEXT = b"If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
GO_LINE = (
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
).encode()
GO_SECOND_LINE = (
    "— EnochRoot rwz+eBzmZa0SO3NbfRGzPCpDckykFXSdeX+MNtCOXm2/5n2tiOHp+vAF1aGrQ5ovTG01oOTGwnWLox33WWd1RvMc+QQ=\n"
).encode()
GO_NOTE = GO_TEXT + b"\n" + GO_LINE + GO_SECOND_LINE

PETER, ENOCH = VerifierKey.parse(GO_KEY), VerifierKey.parse(GO_SECOND_KEY)


def verified(content: bytes, *keys: VerifierKey) -> tuple[VerifierKey, ...]:
    return verify_note(parse_note(content), keys)


def test_the_note_of_the_specification_verifies_under_its_key():
    key = VerifierKey.parse(SPEC_KEY)
    assert str(key) == SPEC_KEY
    assert verified(SPEC_NOTE, key) == (key,)
    assert parse_note(SPEC_NOTE).text == b"This is an example message.\n"
    assert parse_note(SPEC_NOTE).encode() == SPEC_NOTE


def test_the_published_secret_key_makes_the_published_signature():
    key = SignerKey.parse(GO_SECRET, algorithm=1)
    assert key.encode() == GO_SECRET
    assert str(key.verifier) == GO_KEY
    assert sign_note(GO_TEXT, key) == GO_TEXT + b"\n" + GO_LINE


def test_a_secret_key_does_not_show_its_seed():
    key = SignerKey.parse(GO_SECRET, algorithm=1)
    assert key.seed.hex() not in repr(key)
    assert repr(key.seed) not in repr(key)
    with pytest.raises(MalformedError) as problem:
        SignerKey.parse(GO_SECRET[:-1] + "!", algorithm=1)
    assert GO_SECRET[40:60] not in problem.value.message


def test_two_known_keys_are_both_found_and_an_unknown_one_is_ignored():
    assert verified(GO_NOTE, PETER, ENOCH) == (PETER, ENOCH)
    assert verified(GO_NOTE, ENOCH) == (ENOCH,)


def test_a_wrong_signature_by_a_known_key_makes_the_note_worthless():
    broken = GO_NOTE.replace(b"rwz+eBzmZa0S", b"rwz+eBzmZa1S")
    assert broken != GO_NOTE
    assert verified(broken, PETER) == (PETER,), "unknown keys are not judged"
    with pytest.raises(VerificationError, match="wrong signature by EnochRoot"):
        verified(broken, PETER, ENOCH)


def test_a_second_line_of_a_known_key_must_be_right_too():
    second = NoteSignature(PETER.name, PETER.key_id, bytes(64))
    with pytest.raises(VerificationError):
        verified(add_signatures(GO_NOTE, [second]), PETER)


def test_a_note_without_a_known_signature_is_refused():
    for keys in [(), (VerifierKey.parse(SPEC_KEY),)]:
        with pytest.raises(VerificationError, match="not signed by a known key") as problem:
            verified(GO_NOTE, *keys)
        assert problem.value.code == "unsigned-note"


def test_the_name_alone_or_the_key_id_alone_does_not_make_a_key_known():
    signature = parse_note(GO_NOTE).signatures[0]
    renamed = NoteSignature("PeterNeuman", signature.key_id, signature.value)
    other_id = NoteSignature(signature.name, b"\0\0\0\0", signature.value)
    for line in (renamed, other_id):
        with pytest.raises(VerificationError):
            verified(Note(GO_TEXT, (line,)).encode(), PETER)


def test_a_cosignature_key_never_verifies_a_plain_signature():
    key = VerifierKey("PeterNeumann", COSIGNATURE_V1, PETER.public_key)
    value = parse_note(GO_NOTE).signatures[0].value
    content = Note(GO_TEXT, (NoteSignature(key.name, key.key_id, value),)).encode()
    with pytest.raises(VerificationError, match="cosignatures only"):
        verified(content, key)
    with pytest.raises(MalformedError):
        VerifierKey.parse(str(key))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b"text\n",
        b"text\n\n",
        b"text without an empty line\n" + GO_LINE,
        GO_TEXT + b"\n" + GO_LINE[:-1],
        GO_TEXT + b"\n" + GO_LINE + b"\n",
        GO_TEXT + b"\n" + GO_LINE + b"not a signature line\n",
        GO_TEXT + b"\r\n\n" + GO_LINE,
        b"\x00" + GO_NOTE,
        b"\t" + GO_NOTE,
        b"\xff" + GO_NOTE,
        GO_TEXT + b"\n" + GO_LINE.replace("—".encode(), b"-"),
        GO_TEXT + b"\n" + GO_LINE.replace(b"PeterNeumann", b"Peter+Neumann"),
        GO_TEXT + b"\n" + GO_LINE.replace(b"PeterNeumann", "Peter\u00a0Neumann".encode()),
        GO_TEXT + b"\n" + GO_LINE.replace(b"PeterNeumann", b""),
        GO_TEXT + b"\n" + GO_LINE.replace(b"nAM=", b"nAM"),
        GO_TEXT + b"\n" + GO_LINE.replace(b"nAM=", b"nAN="),
        GO_TEXT + "\n— PeterNeumann AAAAAA==\n".encode(),
    ],
)
def test_malformed_notes_are_refused(content: bytes):
    with pytest.raises(MalformedError):
        parse_note(content)


def test_empty_lines_belong_to_the_text():
    key = SignerKey.parse(GO_SECRET, algorithm=1)
    for text in (b"\n", b"\n\n\n", b"one\n\n\ntwo\n", "größe\n".encode()):
        content = sign_note(text, key)
        assert parse_note(content).text == text
        assert verified(content, PETER) == (PETER,)


@pytest.mark.parametrize("text", [b"", b"no newline", b"tab\there\n", b"\xff\n"])
def test_text_that_no_reader_would_accept_is_not_signed(text: bytes):
    with pytest.raises((UsageError, MalformedError)):
        sign_note(text, SignerKey.parse(GO_SECRET, algorithm=1))


def test_sixteen_signatures_of_post_quantum_length_are_accepted_and_endless_ones_are_not():
    big = tuple(NoteSignature(f"key{n}", bytes(4), bytes(2420)) for n in range(16))
    assert len(parse_note(Note(GO_TEXT, big).encode()).signatures) == 16
    many = tuple(NoteSignature(f"key{n}", bytes(4), b"x") for n in range(MAX_SIGNATURES + 1))
    with pytest.raises(MalformedError):
        parse_note(Note(GO_TEXT, many).encode())
    with pytest.raises(LimitError):
        parse_note(b"a" * MAX_NOTE + GO_NOTE)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "PeterNeumann",
        "PeterNeumann+c74f20a3",
        "PeterNeumann+c74f20a4+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        "PeterNeumann+C74F20A3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        "Peter Neumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        "+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10",
        "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW\n",
    ],
)
def test_malformed_verifier_keys_are_refused(text: str):
    with pytest.raises(MalformedError):
        VerifierKey.parse(text)


def test_a_key_whose_base64_holds_a_plus_survives():
    for number in range(400):
        key = SignerKey("plus.example/k", 1, number.to_bytes(32, "big")).verifier
        if "+" in str(key).split("+", 2)[2]:
            assert VerifierKey.parse(str(key)) == key
            return
    pytest.fail("no such key")


def test_truncation_at_every_byte_never_verifies():
    for end in range(len(SPEC_NOTE)):
        with pytest.raises(SignwrightError):
            verified(SPEC_NOTE[:end], VerifierKey.parse(SPEC_KEY))


def test_every_flipped_bit_is_noticed():
    key = VerifierKey.parse(SPEC_KEY)
    for at in range(len(SPEC_NOTE)):
        for bit in range(8):
            changed = bytearray(SPEC_NOTE)
            changed[at] ^= 1 << bit
            with pytest.raises(SignwrightError):
                verified(bytes(changed), key)


@given(st.binary(max_size=300) | st.text(max_size=200).map(lambda text: f"{text}\n\n— a YWFhYWE=\n".encode()))
def test_whatever_parses_is_written_back_byte_for_byte(content: bytes):
    try:
        note = parse_note(content)
    except MalformedError:
        return
    assert note.encode() == content


def test_base64_has_one_written_form():
    line = base64.b64encode(bytes(70)).decode()
    assert parse_note(f"x\n\n— a {line}\n".encode()).signatures[0].value == bytes(66)
    with pytest.raises(MalformedError):
        parse_note(f"x\n\n— a {line[:-3]}B==\n".encode())


@pytest.mark.parametrize(("algorithm", "seed"), [(2, bytes(32)), (1, bytes(31)), (4, bytes(33))])
def test_secret_key_of_another_algorithm_or_length_is_refused(algorithm: int, seed: bytes):
    with pytest.raises(MalformedError, match="wanted a seed of 32 bytes"):
        SignerKey("log.example", algorithm, seed)


def test_secret_key_under_another_key_id_or_type_is_refused():
    name, key_id, encoded = GO_SECRET.removeprefix("PRIVATE+KEY+").split("+", 2)
    other = f"PRIVATE+KEY+{name}+{int(key_id, 16) ^ 1:08x}+{encoded}"
    with pytest.raises(MalformedError, match="its key id is not its own"):
        SignerKey.parse(other, algorithm=1)
    with pytest.raises(MalformedError, match="of type 0x04"):
        SignerKey.parse(GO_SECRET, algorithm=4)
    with pytest.raises(MalformedError, match="of type 0x01"):
        SignerKey.parse(GO_SECRET.removeprefix("PRIVATE+KEY+"), algorithm=1)


@pytest.mark.parametrize("text", [b"no end of line", b"two\n\nparts", b"a\x01b\n"])
def test_text_that_cannot_be_read_back_is_not_signed(text: bytes):
    with pytest.raises(SignwrightError):
        sign_text(text, SignerKey.parse(GO_SECRET, algorithm=1))


def test_text_that_ends_in_a_signature_line_of_its_own_is_not_signed():
    """It would be read as a shorter text with two signatures."""
    with pytest.raises(UsageError, match="ends in a newline"):
        sign_text(b"short\n\n" + GO_LINE.rstrip(b"\n"), SignerKey.parse(GO_SECRET, algorithm=1))
