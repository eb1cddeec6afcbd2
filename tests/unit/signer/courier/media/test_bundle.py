# SPDX-License-Identifier: Apache-2.0
"""The format of bundles: what is written is read, and nothing else is."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signwright.errors import LimitError, MalformedError, SignwrightError, VerificationError
from signwright.model.operation import Strict
from signwright.signer.courier.media.bundle import LIMITS, MAGIC, MAX_HEAD, ROLES, encode_head, read_blob, read_manifest
from signwright.statements.writing import public_text
from tests.support.bundles import OUTSIDE, TOTAL, VAULT, bundle, manifest_of, read_of, sample, sha256

BLOBS = st.lists(
    st.tuples(st.sampled_from(ROLES), st.binary(max_size=300)), max_size=8, unique_by=lambda blob: (blob[0], blob[1])
)


def read_all(content: bytes, **changes: object) -> list[tuple[str, bytes]]:
    read = read_of(content)
    manifest = read_manifest(read, **{"side": "outside", "key": public_text(OUTSIDE), "total": TOTAL, **changes})  # type: ignore[arg-type]
    found = []
    for row in manifest.rows:
        piece = bytearray()
        read_blob(read, row, piece.extend)
        found.append((str(row.role), bytes(piece)))
    return found


@given(BLOBS)
def test_what_is_written_is_read(blobs):
    assert read_all(bundle(blobs)) == blobs


@given(st.binary(max_size=400))
def test_other_bytes_are_refused_clearly(content):
    with pytest.raises(SignwrightError):
        read_all(content)


def test_a_bundle_that_ends_anywhere_is_refused():
    content = sample()
    for length in range(len(content)):
        with pytest.raises((MalformedError, LimitError)):
            read_all(content[:length])


@settings(max_examples=300)
@given(st.data())
def test_no_bit_can_be_flipped(data):
    content = bytearray(sample())
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        found = read_all(bytes(content))
    except SignwrightError:
        return
    # Base64 of the envelope and its JSON have one form each; a bit that changes no meaning is none of theirs.
    assert found == read_all(sample())


def test_a_row_is_bounded_by_its_role_before_anything_is_read():
    for role, most in LIMITS.items():
        head = encode_head(manifest_of([(role, b"")]).model_copy(update={"rows": (_row(role, most + 1),)}), OUTSIDE)
        with pytest.raises(LimitError) as caught:
            read_all(head)
        assert caught.value.code == "bundle-too-large"


def test_all_blobs_together_are_bounded():
    with pytest.raises(LimitError):
        read_all(bundle([("result", b"a" * 10), ("log", b"b" * 10)]), total=19)


def test_a_manifest_is_bounded_before_it_is_read():
    with pytest.raises(LimitError):
        read_all(MAGIC + (1).to_bytes(4, "big") + (MAX_HEAD + 1).to_bytes(4, "big"))


def test_a_newer_version_is_named():
    content = bytearray(sample())
    content[8:12] = (2).to_bytes(4, "big")
    with pytest.raises(MalformedError) as caught:
        read_all(bytes(content))
    assert caught.value.code == "bundle-version"


@pytest.mark.parametrize("role", ["../../etc/passwd", "Artifact", "", "artifact\0", "a/b", 7, None])
def test_a_role_is_one_of_the_list(role):
    with pytest.raises(SignwrightError):
        read_all(_signed_by_hand([{"role": role, "sha256": sha256(b""), "size": 0}]))


def test_nothing_but_role_digest_and_size_may_stand_in_a_row():
    with pytest.raises(MalformedError):
        read_all(_signed_by_hand([{"role": "artifact", "sha256": sha256(b""), "size": 0, "name": "setup.exe"}]))


def test_a_blob_that_stands_twice_is_refused():
    with pytest.raises(MalformedError) as caught:
        read_all(bundle([("artifact", b"x"), ("artifact", b"x")]))
    assert caught.value.code == "bundle-duplicate"


def test_the_same_bytes_may_have_two_roles():
    blobs = [("artifact", b"x"), ("evidence", b"x")]
    assert read_all(bundle(blobs)) == blobs


def test_a_blob_of_another_length_than_its_row_is_refused():
    content = sample().replace((7).to_bytes(8, "big") + b"program", (8).to_bytes(8, "big") + b"programs")
    with pytest.raises(MalformedError) as caught:
        read_all(content)
    assert caught.value.code == "bundle-order"


def test_a_blob_with_other_bytes_than_its_row_is_refused():
    with pytest.raises(VerificationError) as caught:
        read_all(sample().replace(b"program", b"malware"))
    assert caught.value.code == "bundle-damaged"


def test_a_bundle_of_another_key_is_refused():
    with pytest.raises(VerificationError) as caught:
        read_all(bundle([("artifact", b"x")], key=VAULT))
    assert caught.value.code == "foreign-bundle"


def test_a_bundle_of_the_own_side_is_refused():
    with pytest.raises(VerificationError) as caught:
        read_all(bundle([], side="vault", key=OUTSIDE))
    assert caught.value.code == "wrong-side"


def test_a_manifest_without_a_signature_is_refused():
    with pytest.raises(SignwrightError):
        read_all(_by_hand(b"{}", []))


def test_a_manifest_whose_signature_does_not_hold_is_refused():
    key = public_text(OUTSIDE)
    from signwright.statements.keys import verifying_key

    line = {"keyid": verifying_key(key).key_id, "sig": base64.b64encode(bytes(64)).decode()}
    payload = manifest_of([]).model_dump_json().encode()
    with pytest.raises(VerificationError) as caught:
        read_all(_by_hand(payload, [line]))
    assert caught.value.code == "bad-signature"


def _row(role: str, size: int) -> Strict:
    from signwright.signer.courier.media.bundle import Row

    return Row(role=role, sha256="0" * 64, size=size)  # type: ignore[arg-type]


def _signed_by_hand(rows: list[dict[str, object]]) -> bytes:
    from signwright.signer.courier.media.bundle import MANIFEST_TYPE
    from signwright.statements.dsse import pae
    from signwright.statements.keys import key_id_of

    payload = json.dumps({"format": "signwright-bundle/1", "side": "outside", "serial": 1, "rows": rows}).encode()
    keyid = key_id_of(OUTSIDE.public_key().public_bytes_raw())
    line = {"keyid": keyid, "sig": base64.b64encode(OUTSIDE.sign(pae(MANIFEST_TYPE, payload))).decode()}
    return _by_hand(payload, [line])


def _by_hand(payload: bytes, lines: list[dict[str, str]]) -> bytes:
    from signwright.signer.courier.media.bundle import MANIFEST_TYPE

    body = {"payload": base64.b64encode(payload).decode(), "payloadType": MANIFEST_TYPE, "signatures": lines}
    head = json.dumps(body).encode()
    return MAGIC + (1).to_bytes(4, "big") + len(head).to_bytes(4, "big") + head
