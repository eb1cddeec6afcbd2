# SPDX-License-Identifier: Apache-2.0
"""RFC 9421 signatures: one form, whole coverage, strict reading."""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime, timedelta

import http_message_signatures as oracle
import pytest
import requests
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from signwright.errors import AuthenticationError, MalformedError, SignwrightError
from signwright.identity.messages import (
    MessageParts,
    check_created,
    digest_field,
    parse_digest_field,
    parse_signed_message,
    sign_message,
    signature_base,
)

KEY = Ed25519PrivateKey.from_private_bytes(b"\x07" * 32)
KEY_ID = "swk_" + "a" * 20
NONCE = "A" * 22
BODY = b'{"a":1}'


def parts(
    body: bytes = BODY, *, method: str = "POST", path: str = "/v1/requests", query: str = "wait=5"
) -> MessageParts:
    return MessageParts.with_body(method, path, query, body)


def artifact_parts(offset: int = 0, length: int = 7) -> MessageParts:
    path = "/v1/artifacts/sha256:" + "ab" * 32
    return MessageParts.with_artifact("PUT", path, "", sha256="ab" * 32, offset=offset, length=length)


def signed(message: MessageParts, **changes: object) -> dict[str, str]:
    values: dict[str, object] = {"key_id": KEY_ID, "sign": KEY.sign, "created": 1_700_000_000, "nonce": NONCE}
    return sign_message(message, **(values | changes))  # type: ignore[arg-type]


def verify(headers: dict[str, str], message: MessageParts) -> None:
    read = parse_signed_message(headers, message)
    KEY.public_key().verify(read.value, read.base)


@pytest.mark.parametrize("message", [parts(), parts(b"", method="GET"), artifact_parts(), artifact_parts(5, 2)])
def test_signed_call_verifies(message):
    headers = signed(message)
    verify(headers, message)
    read = parse_signed_message(headers, message)
    assert (read.key_id, read.created, read.nonce) == (KEY_ID, 1_700_000_000, NONCE)


@pytest.mark.parametrize(
    "other",
    [
        parts(b'{"a":2}'),
        parts(method="PUT"),
        parts(path="/v1/requests/"),
        parts(query="wait=6"),
        parts(query=""),
    ],
)
def test_change_of_any_covered_part_is_noticed(other):
    with pytest.raises(InvalidSignature):
        verify(signed(parts()), other)


@pytest.mark.parametrize("other", [artifact_parts(offset=1), artifact_parts(length=8)])
def test_change_of_offset_or_length_is_noticed(other):
    with pytest.raises(InvalidSignature):
        verify(signed(artifact_parts()), other)


def test_signature_over_a_body_does_not_serve_for_an_artifact():
    headers = signed(parts())
    with pytest.raises(AuthenticationError, match="covers"):
        parse_signed_message(headers, artifact_parts())


@pytest.mark.parametrize("name", ["signature", "signature-input"])
def test_call_without_signature_is_refused(name):
    headers = signed(parts())
    del headers[name]
    with pytest.raises(AuthenticationError) as caught:
        parse_signed_message(headers, parts())
    assert caught.value.code == "not-signed"


def test_missing_covered_header_is_refused():
    with pytest.raises(AuthenticationError, match="content-digest"):
        MessageParts.received("GET", "/", "", headers={})


def test_received_parts_are_those_that_were_signed():
    headers = signed(artifact_parts())
    path = "/v1/artifacts/sha256:" + "ab" * 32
    assert MessageParts.received("PUT", path, "", headers=headers, artifact=True) == artifact_parts()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("sig1=", "sig2="),
        ("ed25519", "hmac-sha256"),
        ('tag="signwright"', 'tag="other"'),
        ("created=", "expires="),
        ("created=1", "created=01"),
        ('"@method" ', ""),
        (' "content-digest"', ""),
        (";nonce", "; nonce"),
        (KEY_ID, "someone"),
    ],
)
def test_any_other_form_is_refused(old, new):
    headers = signed(parts())
    headers["signature-input"] = headers["signature-input"].replace(old, new)
    with pytest.raises(AuthenticationError):
        parse_signed_message(headers, parts())


@given(st.sampled_from(["signature", "signature-input"]), st.data())
def test_no_truncation_or_flip_verifies_or_raises_anything_else(name, data):
    headers = signed(parts())
    text = headers[name]
    at = data.draw(st.integers(0, len(text) - 1))
    flipped = chr(ord(text[at]) ^ data.draw(st.sampled_from([1, 2, 4, 8, 16, 32, 64])))
    for changed in (text[:at], text[:at] + flipped + text[at + 1 :]):
        with pytest.raises((SignwrightError, InvalidSignature)):
            verify({**headers, name: changed}, parts())


@given(st.text(max_size=200), st.text(max_size=120))
def test_arbitrary_text_is_a_clean_error(stated, value):
    with pytest.raises(AuthenticationError):
        parse_signed_message({"signature-input": stated, "signature": value}, parts())


def test_other_nonces_are_not_written():
    with pytest.raises(MalformedError):
        signed(parts(), nonce="short")


@pytest.mark.parametrize(("off", "fine"), [(0, True), (300, True), (-300, True), (301, False), (-600, False)])
def test_clock_may_be_five_minutes_off(off, fine):
    message = parse_signed_message(signed(parts()), parts())
    if fine:
        check_created(message, now=message.created - off)
        return
    with pytest.raises(AuthenticationError) as caught:
        check_created(message, now=message.created - off)
    assert caught.value.code == "clock-skew"


def test_digest_field_is_read_in_one_form_only():
    digest = hashlib.sha256(b"x").digest()
    assert parse_digest_field(digest_field(digest)) == digest
    for text in (
        "",
        "sha-256=",
        "sha-512=:AA==:",
        digest_field(digest) + ", sha-512=:AA==:",
        digest_field(digest)[:-2],
    ):
        with pytest.raises(MalformedError):
            parse_digest_field(text)


class _Resolver(oracle.HTTPSignatureKeyResolver):
    def resolve_public_key(self, key_id: str) -> bytes:
        assert key_id == KEY_ID
        return KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def resolve_private_key(self, key_id: str) -> bytes:
        assert key_id == KEY_ID
        return KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _prepared(body: bytes) -> requests.PreparedRequest:
    url = "http://hub.test/v1/requests?wait=5&x=%2F"
    headers = {"Content-Digest": digest_field(hashlib.sha256(body).digest())}
    request = requests.Request("POST", url, data=body, headers=headers)
    return request.prepare()


def test_library_verifies_what_we_sign():
    request = _prepared(BODY)
    now = int(datetime.now(UTC).timestamp())
    request.headers.update(signed(parts(query="wait=5&x=%2F"), created=now))
    verifier = oracle.HTTPMessageVerifier(signature_algorithm=oracle.algorithms.ED25519, key_resolver=_Resolver())
    (result,) = verifier.verify(request, max_age=timedelta(minutes=5), expect_tag="signwright")
    assert result.parameters["keyid"] == KEY_ID
    assert '"content-digest"' in result.covered_components


def test_we_build_the_base_that_the_library_signs():
    request = _prepared(BODY)
    signer = oracle.HTTPMessageSigner(signature_algorithm=oracle.algorithms.ED25519, key_resolver=_Resolver())
    signer.sign(
        request,
        key_id=KEY_ID,
        label="sig1",
        created=datetime.fromtimestamp(1_700_000_000, UTC),
        nonce=base64.urlsafe_b64encode(b"n" * 16).decode().rstrip("="),
        tag="signwright",
        use_existing_digest=True,
        covered_component_ids=("@method", "@path", "@query", "content-digest"),
    )
    stated = request.headers["Signature-Input"].removeprefix("sig1=")
    value = base64.b64decode(request.headers["Signature"].removeprefix("sig1=:").removesuffix(":"))
    KEY.public_key().verify(value, signature_base(parts(query="wait=5&x=%2F"), stated))


def test_signed_header_has_an_end():
    headers = {"content-digest": "x" * 4097}
    with pytest.raises(AuthenticationError, match="too long"):
        MessageParts.received("GET", "/", "", headers=headers)


def test_digest_field_is_framed_exactly():
    field = digest_field(hashlib.sha256(b"x").digest())
    for text in ("sha-512" + field[7:], field[:-1] + "x", f"sha-256=:{base64.b64encode(bytes(64)).decode()}:"):
        with pytest.raises(MalformedError, match="wanted sha-256"):
            parse_digest_field(text)


def test_signature_is_framed_exactly():
    headers = signed(parts())
    bare = headers["signature-input"].removeprefix("sig1=")
    with pytest.raises(AuthenticationError, match="not in the form"):
        parse_signed_message({**headers, "signature-input": bare}, parts())
    short = f"sig1=:{base64.b64encode(bytes(48)).decode()}:"
    for value in (headers["signature"][:-1] + "x", short):
        with pytest.raises(AuthenticationError, match="not in our form"):
            parse_signed_message({**headers, "signature": value}, parts())


def test_covered_part_that_is_not_ascii_is_refused():
    with pytest.raises(AuthenticationError, match="not ASCII"):
        parse_signed_message(signed(parts()), parts(path="/v1/\u00e9"))
