# SPDX-License-Identifier: Apache-2.0
"""One public key that is written in two ways, so that it looks like two keys."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from signwright.errors import DeniedError, MalformedError
from signwright.policy import documents as d
from signwright.statements.dsse import PAYLOAD_TYPE, Envelope, EnvelopeSignature, pae
from signwright.statements.keys import key_id_of, verify_envelope, verifying_key
from signwright.statements.sshsig import SK_ED25519
from signwright.statements.writing import public_text
from tests.support.pki import default_pki
from tests.support.world import World, key_id, sign_ssh, ssh_line


def wire(*parts: bytes) -> str:
    return base64.b64encode(b"".join(len(p).to_bytes(4, "big") + p for p in parts)).decode()


def security_key_line(key: Ed25519PrivateKey) -> str:
    raw = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return f"{SK_ED25519} {wire(SK_ED25519.encode(), raw, b'ssh:')}"


def stray_bits(text: str) -> str:
    """The same bytes in base64 that nobody writes: a bit set where only padding follows."""
    digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    body = text.rstrip("=")
    assert body != text
    return body[:-1] + digits[digits.index(body[-1]) ^ 1] + text[len(body) :]


def refused(world: World, **documents: Any) -> str:
    with pytest.raises(DeniedError) as problem:
        world.with_documents(**documents).policy()
    return problem.value.message


def with_person(world: World, name: str, *lines: str) -> d.People:
    people: d.People = world.documents()["people"]  # type: ignore[assignment]
    return d.People(people={**people.people, name: d.Person(groups=("release",), keys=lines)})


def test_ssh_key_with_a_compressed_point_is_refused() -> None:
    public = ec.generate_private_key(ec.SECP256R1()).public_key()
    for form, good in ((PublicFormat.UncompressedPoint, True), (PublicFormat.CompressedPoint, False)):
        point = public.public_bytes(Encoding.X962, form)
        line = f"ecdsa-sha2-nistp256 {wire(b'ecdsa-sha2-nistp256', b'nistp256', point)}"
        if good:
            verifying_key(line)
            continue
        with pytest.raises(MalformedError):
            verifying_key(line)


def test_credential_with_the_key_of_a_person_is_refused() -> None:
    world = World()
    people = with_person(world, "mallory", ssh_line(world.release_credential))
    assert "the same public key also belongs to" in refused(world, people=people)


def test_two_people_with_one_key_as_plain_key_and_as_security_key_are_refused() -> None:
    world = World()
    people = with_person(world, "mallory", security_key_line(world.people["alice"]))
    assert "the same public key also belongs to" in refused(world, people=people)


def test_one_keeper_with_two_forms_of_a_key_counts_once() -> None:
    key = Ed25519PrivateKey.generate()
    message = pae(PAYLOAD_TYPE, b"{}")
    raw = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    plain = EnvelopeSignature(key_id_of(raw), "ed25519", key.sign(message))
    envelope = Envelope(b"{}", (plain, *sign_ssh(b"{}", key, "policy").signatures, plain))
    signed = verify_envelope(envelope, "policy", [public_text(key), ssh_line(key), ssh_line(key) + " again"])
    assert len(signed) == 1


def test_signing_key_twice_with_stray_bits_in_its_base64_is_refused() -> None:
    world = World()
    public = base64.b64encode(default_pki().code_signing("p256").public_key).decode()
    assert base64.b64decode(stray_bits(public)) == base64.b64decode(public)
    world.keys["release"] = world.default_key("release").model_copy(update={"public_key": public})
    world.keys["raw"] = world.default_key("release", "raw").model_copy(update={"public_key": stray_bits(public)})
    assert "base64" in refused(world)


@pytest.mark.parametrize("text", ["A", "AA", "AAA", "AAAA="])
def test_signing_key_that_is_no_base64_is_refused_when_the_policy_is_read(text: str) -> None:
    world = World()
    world.keys["other"] = world.default_key("test", "raw").model_copy(update={"public_key": text})
    assert "base64" in refused(world)


def test_credential_of_a_person_who_is_not_enrolled_is_refused() -> None:
    """A name that is written wrongly would let its person approve what they submitted."""
    world = World()
    credentials: d.Credentials = world.documents()["credentials"]  # type: ignore[assignment]
    own = key_id(world.release_credential)
    rows = {**credentials.credentials, own: credentials.credentials[own].model_copy(update={"person": "alcie"})}
    assert "alcie" in refused(world, credentials=d.Credentials(credentials=rows))
