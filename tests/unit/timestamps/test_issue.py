# SPDX-License-Identifier: Apache-2.0
"""The issuing side: what is granted, and which failure answers what."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta, timezone

import pytest
from asn1crypto import cms, tsp
from hypothesis import given
from hypothesis import strategies as st

from signwright.errors import LimitError, TimestampError
from signwright.model.digest import Digest
from signwright.timestamps import der
from signwright.timestamps.issue import MAX_QUERY, Answer, Issuer, PkiFailure, reply_to
from signwright.timestamps.query import timestamp_query
from signwright.timestamps.reply import token_of_reply
from signwright.timestamps.token import verify_token
from tests.support.pki import NOW, default_pki

IDENTITY = default_pki().timestamping()
ISSUER = Issuer(
    key=IDENTITY.key,  # type: ignore[arg-type]
    chain=IDENTITY.chain,
    policy_oid="1.2.3.4.1",
    also_accepted=frozenset({"1.2.3.4.2"}),
)
IMPRINT = Digest.of(b"content")
QUERY = timestamp_query(IMPRINT, 5)


def answer(query: bytes, now: datetime | None = NOW, serial: int = 1) -> Answer:
    return reply_to(query, issuer=ISSUER, now=now, next_serial=lambda: serial)


def changed_query(**fields: object) -> bytes:
    request = tsp.TimeStampReq.load(QUERY)
    for name, value in fields.items():
        request[name] = value
    return bytes(request.dump(force=True))


def imprint_of(algorithm: str, length: int) -> dict[str, object]:
    return {"hash_algorithm": {"algorithm": algorithm}, "hashed_message": bytes(length)}


@pytest.mark.parametrize(
    ("query", "failure"),
    [
        (changed_query(message_imprint=imprint_of("sha1", 20)), PkiFailure.BAD_ALG),
        (changed_query(message_imprint=imprint_of("md5", 16)), PkiFailure.BAD_ALG),
        (changed_query(message_imprint=imprint_of("sha256", 20)), PkiFailure.BAD_DATA_FORMAT),
        (changed_query(version="v2"), PkiFailure.BAD_REQUEST),
        (changed_query(nonce=-1), PkiFailure.BAD_REQUEST),
        (changed_query(nonce=1 << 200), PkiFailure.BAD_REQUEST),
        (timestamp_query(IMPRINT, 5, policy_oid="1.2.3.4.99"), PkiFailure.UNACCEPTED_POLICY),
        (changed_query(extensions=[{"extn_id": "1.2.3", "extn_value": b"x"}]), PkiFailure.UNACCEPTED_EXTENSION),
        (b"", PkiFailure.BAD_DATA_FORMAT),
        (b"not a query", PkiFailure.BAD_DATA_FORMAT),
        (QUERY + b"\x00", PkiFailure.BAD_DATA_FORMAT),
        (bytes(MAX_QUERY + 1), PkiFailure.BAD_DATA_FORMAT),
        (b"\x30\x81" + QUERY[1:], PkiFailure.BAD_DATA_FORMAT),
    ],
)
def test_a_query_that_is_not_served_gets_the_failure_of_the_standard(query: bytes, failure: PkiFailure) -> None:
    refused = answer(query)
    assert refused.failure is failure
    with pytest.raises(TimestampError) as rejection:
        token_of_reply(refused.reply)
    assert rejection.value.details["failure"] == [str(failure)]


def test_without_a_trusted_time_nothing_is_stamped() -> None:
    assert answer(QUERY, now=None).failure is PkiFailure.TIME_NOT_AVAILABLE


def test_a_refusal_spends_no_serial_number() -> None:
    numbers = itertools.count(1)
    for query in (b"", QUERY, b"", QUERY):
        reply_to(query, issuer=ISSUER, now=NOW, next_serial=lambda: next(numbers))
    assert next(numbers) == 3


def test_an_accepted_policy_stands_in_the_token() -> None:
    reply = answer(timestamp_query(IMPRINT, 5, policy_oid="1.2.3.4.2")).reply
    assert tst_info_of(reply)["policy"].dotted == "1.2.3.4.2"


def test_nonce_serial_number_and_utc_time_stand_in_the_token() -> None:
    there = datetime(2026, 11, 21, 12, 0, 0, 999_999, tzinfo=timezone(timedelta(hours=3)))
    info = tst_info_of(answer(QUERY, now=there, serial=(1 << 160) - 1).reply)
    assert info["nonce"].native == 5
    assert info["serial_number"].native == (1 << 160) - 1
    assert info["gen_time"].native == datetime(2026, 11, 21, 9, 0, 0, tzinfo=UTC)


def test_a_query_without_a_nonce_is_answered_without_one() -> None:
    assert tst_info_of(answer(changed_query(nonce=None)).reply)["nonce"].native is None


def test_certificates_are_sent_only_when_asked_for_and_then_in_order() -> None:
    assert certificates_of(answer(changed_query(cert_req=False)).reply) == []
    sent = certificates_of(answer(QUERY).reply)
    assert sent == sorted(IDENTITY.chain)


@pytest.mark.parametrize("serial", [0, -1, 1 << 160])
def test_a_serial_number_out_of_range_is_never_written(serial: int) -> None:
    with pytest.raises(LimitError):
        answer(QUERY, serial=serial)


def test_every_truncated_query_is_a_rejection() -> None:
    for length in range(len(QUERY)):
        assert answer(QUERY[:length]).failure is PkiFailure.BAD_DATA_FORMAT


@given(at=st.integers(0, len(QUERY) - 1), bit=st.integers(0, 7))
def test_a_flipped_bit_in_a_query_never_gives_a_token_about_the_original(at: int, bit: int) -> None:
    changed = bytearray(QUERY)
    changed[at] ^= 1 << bit
    answered = answer(bytes(changed))
    if answered.failure is None:
        info = tst_info_of(answered.reply)
        same_imprint = info["message_imprint"]["hashed_message"].native == IMPRINT.value
        assert not (same_imprint and info["nonce"].native == 5 and certificates_of(answered.reply))


@given(
    content=st.binary(max_size=64),
    algorithm=st.sampled_from(["sha256", "sha384", "sha512"]),
    nonce=st.integers(0, 2**64 - 1),
)
def test_what_is_issued_verifies(content: bytes, algorithm: str, nonce: int) -> None:
    imprint = Digest.of(content, algorithm)
    timestamp_token = token_of_reply(answer(timestamp_query(imprint, nonce)).reply)
    anchors = [default_pki().root]
    verify_token(timestamp_token, imprint=imprint, nonce=nonce, anchors=anchors, not_before=NOW, not_after=NOW)


def test_a_token_is_der_throughout() -> None:
    timestamp_token = token_of_reply(answer(QUERY).reply)
    der.check_der(timestamp_token)
    der.check_der(cms.ContentInfo.load(timestamp_token)["content"]["encap_content_info"]["content"].contents)


def tst_info_of(reply: bytes) -> tsp.TSTInfo:
    signed = cms.ContentInfo.load(token_of_reply(reply))["content"]
    return tsp.TSTInfo.load(signed["encap_content_info"]["content"].contents)


def certificates_of(reply: bytes) -> list[bytes]:
    signed = cms.ContentInfo.load(token_of_reply(reply))["content"]
    return der.split(signed["certificates"].contents or b"")
