# SPDX-License-Identifier: Apache-2.0
"""Every check on a token, one wrong token each; flipped and missing bytes."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signwright.errors import ConfigurationError, TimestampError, VerificationError
from signwright.model.digest import Digest
from signwright.timestamps.codes import Check
from signwright.timestamps.der import contents_of
from signwright.timestamps.query import timestamp_query
from signwright.timestamps.reply import token_of_reply
from signwright.timestamps.structure import parse_token
from signwright.timestamps.token import TimestampInfo, imprint_of_token, verify_token
from tests.support.faulty_tsa import POLICY, SERIAL, FaultyTsa
from tests.support.pki import NOW, Pki, default_pki

NONCE = 0xFEDCBA9876543210
IMPRINT = Digest.of(b"a signature value")
QUERY = timestamp_query(IMPRINT, NONCE)
TSA = FaultyTsa(default_pki())
GOOD = token_of_reply(TSA.reply("good", QUERY).body)


def verify(timestamp_token: bytes, **changes: object) -> TimestampInfo:
    wanted: dict[str, object] = {
        "imprint": IMPRINT,
        "nonce": NONCE,
        "anchors": [default_pki().root],
        "not_before": NOW - timedelta(minutes=1),
        "not_after": NOW + timedelta(minutes=1),
        "required_policy_oid": POLICY,
    }
    return verify_token(timestamp_token, **(wanted | changes))  # type: ignore[arg-type]


def test_a_good_token_says_what_was_stamped_when_and_by_whom() -> None:
    info = verify(GOOD)
    assert info.gen_time == NOW
    assert info.accuracy == timedelta(seconds=1)
    assert info.serial_number == SERIAL
    assert info.tsa_policy_oid == POLICY
    assert info.authority == "CN=Example TSA,O=Throwaway test"
    assert info.signer_certificate == TSA.identity.certificate
    assert info.anchor == default_pki().root
    assert info.digest_algorithm == "sha256"
    assert info.imprint == imprint_of_token(GOOD) == IMPRINT


@pytest.mark.parametrize("algorithm", ["sha256", "sha384", "sha512"])
@pytest.mark.parametrize("key_type", ["rsa2048", "p256", "p384"])
def test_every_accepted_key_and_imprint_passes(key_type: str, algorithm: str) -> None:
    imprint = Digest.of(b"content", algorithm)
    issuer = TSA.issuer_of(default_pki().timestamping(key_type))
    timestamp_token = TSA._token(timestamp_query(imprint, NONCE), issuer=issuer)
    assert verify(timestamp_token, imprint=imprint).imprint == imprint


@pytest.mark.parametrize(
    ("mode", "code"),
    [
        ("expired", Check.VALIDITY),
        ("eku-not-critical", Check.KEY_USAGE),
        ("eku-not-alone", Check.KEY_USAGE),
        ("no-eku", Check.KEY_USAGE),
        ("key-usage", Check.KEY_USAGE),
        ("untrusted", Check.CHAIN),
        ("no-intermediate", Check.CHAIN),
        ("weak-key", Check.ALGORITHM),
        ("wrong-signer", Check.SIGNATURE),
        ("no-certificate", Check.NO_CERTIFICATE),
        ("ess-mismatch", Check.SIGNING_CERTIFICATE),
        ("no-ess", Check.SIGNING_CERTIFICATE),
        ("wrong-nonce", Check.NONCE),
        ("no-nonce", Check.NONCE),
        ("wrong-imprint", Check.IMPRINT),
        ("sha1", Check.ALGORITHM),
        ("wrong-policy", Check.POLICY),
        ("wrong-version", Check.VERSION),
        ("critical-extension", Check.EXTENSION),
        ("other-name", Check.TSA_NAME),
        ("future", Check.TIME),
        ("past", Check.TIME),
        ("unsorted", Check.SET_ORDER),
        ("two-signers", Check.SIGNERS),
        ("signed-data-version", Check.VERSION),
        ("not-tst-info", Check.CONTENT_TYPE),
        ("no-message-digest", Check.SIGNED_ATTRIBUTES),
        ("no-content-type", Check.SIGNED_ATTRIBUTES),
        ("wrong-message-digest", Check.MESSAGE_DIGEST),
    ],
)
def test_a_wrong_token_is_refused_with_its_own_code(mode: str, code: Check) -> None:
    with pytest.raises(VerificationError) as refusal:
        verify(token_of_reply(TSA.reply(mode, QUERY).body))
    assert refusal.value.code == code


def test_the_builder_of_wrong_tokens_builds_right_ones_too() -> None:
    assert verify(TSA._built(QUERY)).gen_time == NOW


@pytest.mark.parametrize(
    ("mode", "code"),
    [
        ("garbage", Check.REPLY),
        ("padded-length", Check.REPLY),
        ("too-large", Check.SIZE),
        ("rejection", Check.REJECTED),
        ("waiting", Check.REJECTED),
        ("granted-without-token", Check.REPLY),
    ],
)
def test_a_reply_without_a_token_is_refused_with_its_own_code(mode: str, code: Check) -> None:
    with pytest.raises(TimestampError) as refusal:
        token_of_reply(TSA.reply(mode, QUERY).body)
    assert refusal.value.code == code


def test_a_rejection_names_its_failure_and_text() -> None:
    with pytest.raises(TimestampError, match=r"rejection: bad_alg; no, thank you") as refusal:
        token_of_reply(TSA.reply("rejection", QUERY).body)
    assert refusal.value.details == {"status": "rejection", "failure": ["bad_alg"], "text": ["no, thank you"]}


def test_a_set_out_of_order_is_named() -> None:
    with pytest.raises(VerificationError, match="the SET certificates is not in DER order"):
        verify(token_of_reply(TSA.reply("unsorted", QUERY).body))


def test_a_token_in_ber_is_refused() -> None:
    contents = GOOD[4:]
    with pytest.raises(VerificationError) as refusal:
        verify(b"\x30\x83" + len(contents).to_bytes(3, "big") + contents)
    assert refusal.value.code == Check.DER


def test_a_token_above_the_limit_is_refused_before_it_is_read() -> None:
    with pytest.raises(VerificationError) as refusal:
        verify(GOOD + bytes(100 << 10))
    assert refusal.value.code == Check.SIZE


def test_no_pinned_root_is_an_error_of_the_installation() -> None:
    with pytest.raises(ConfigurationError):
        verify(GOOD, anchors=[])


def test_the_signer_certificate_itself_may_be_pinned() -> None:
    assert verify(GOOD, anchors=[TSA.identity.certificate]).anchor == TSA.identity.certificate


def test_another_pinned_root_does_not_help() -> None:
    with pytest.raises(VerificationError) as refusal:
        verify(GOOD, anchors=[Pki("other").root])
    assert refusal.value.code == Check.CHAIN


def test_an_old_token_is_verified_without_nonce_and_window() -> None:
    assert verify(GOOD, nonce=None, not_before=None, not_after=None).gen_time == NOW


def test_the_window_is_inclusive() -> None:
    assert verify(GOOD, not_before=NOW, not_after=NOW).gen_time == NOW


def test_every_truncation_is_a_clean_error() -> None:
    for length in range(len(GOOD)):
        with pytest.raises(VerificationError):
            verify(GOOD[:length])


@given(at=st.integers(0, len(GOOD) - 1), bit=st.integers(0, 7))
def test_a_flipped_bit_fails(at: int, bit: int) -> None:
    changed = bytearray(GOOD)
    changed[at] ^= 1 << bit
    with pytest.raises(VerificationError):
        verify(bytes(changed))


def test_every_flipped_byte_fails() -> None:
    for at in range(len(GOOD)):
        changed = bytearray(GOOD)
        changed[at] ^= 0xFF
        with pytest.raises(VerificationError):
            verify(bytes(changed))


CONTENT = TSA._content(QUERY)
ATTRIBUTES = contents_of(parse_token(GOOD).signers[0].signed_attributes)
Flips = st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=3)


def overwrite(original: bytes, flips: list[tuple[int, int]]) -> bytes:
    changed = bytearray(original)
    for at, value in flips:
        changed[at % len(changed)] = value
    return bytes(changed)


@given(Flips)
def test_a_malformed_content_that_is_properly_signed_is_a_clean_error(flips: list[tuple[int, int]]) -> None:
    content = overwrite(CONTENT, flips)
    try:
        info = verify(TSA._built(QUERY, content=content), not_before=None, not_after=None)
    except VerificationError:
        return
    assert info.imprint == IMPRINT


@given(Flips)
def test_malformed_attributes_that_are_properly_signed_are_a_clean_error(flips: list[tuple[int, int]]) -> None:
    signed_contents = overwrite(ATTRIBUTES, flips)
    timestamp_token = TSA._built(QUERY, content=parse_token(GOOD).content, signed_contents=signed_contents)
    if signed_contents == ATTRIBUTES:
        assert verify(timestamp_token).gen_time == NOW
        return
    with pytest.raises(VerificationError):
        verify(timestamp_token)


@pytest.mark.parametrize("length", [0, 20, 31, 33, 48])
def test_imprint_of_another_length_than_its_algorithms_is_refused(length: int) -> None:
    imprint = {"hash_algorithm": {"algorithm": "sha256"}, "hashed_message": bytes(length)}
    timestamp_token = TSA._built(QUERY, content=TSA._content(QUERY, message_imprint=imprint))
    for read in (verify, imprint_of_token):
        with pytest.raises(VerificationError, match=f"an imprint of {length} bytes for sha256") as refusal:
            read(timestamp_token)
        assert refusal.value.code == Check.IMPRINT


def test_every_truncated_reply_is_a_clean_error() -> None:
    reply = TSA.reply("good", QUERY).body
    for length in range(len(reply)):
        with pytest.raises(TimestampError):
            token_of_reply(reply[:length])


@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_a_clean_error(content: bytes) -> None:
    with pytest.raises(VerificationError):
        verify(content)
    with pytest.raises(TimestampError):
        token_of_reply(content)
