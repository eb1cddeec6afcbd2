# SPDX-License-Identifier: Apache-2.0
"""SSH keys and signatures that are right but for one field: refused, although the value under them would hold."""

from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from signwright.errors import MalformedError, SignwrightError, VerificationError
from signwright.statements.ssh_signing import sign_sshsig
from signwright.statements.sshsig import MAGIC, SK_ED25519, SshPublicKey, verify_sshsig

KEY = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(32))
CURVE = ec.generate_private_key(ec.SECP256R1())
RAW = KEY.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
POINT = CURVE.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def wire(*parts: bytes) -> bytes:
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def line(name: str, blob: bytes) -> str:
    return f"{name} {base64.b64encode(blob).decode()}"


ED = SshPublicKey.parse(line("ssh-ed25519", wire(b"ssh-ed25519", RAW)))
EC = SshPublicKey.parse(line("ecdsa-sha2-nistp256", wire(b"ecdsa-sha2-nistp256", b"nistp256", POINT)))


@pytest.mark.parametrize(
    "text",
    [
        line("ssh-rsa", wire(b"ssh-ed25519", RAW)),
        line("ssh-ed25519", wire(b"ecdsa-sha2-nistp256", b"nistp256", POINT)),
        line("ssh-ed25519", wire(b"ssh-ed25520", RAW)),
        line("ssh-ed25519", wire(b"ssh-ed25519", RAW, b"more")),
        line("ssh-ed25519", wire(b"ssh-ed25519", RAW[:31])),
        line("ssh-ed25519", wire(b"ssh-ed25519", RAW)[:-1]),
        line("ecdsa-sha2-nistp256", wire(b"ecdsa-sha2-nistp256", b"nistp384", POINT)),
        line("ecdsa-sha2-nistp256", wire(b"ecdsa-sha2-nistp256", b"nistp256", b"\x04" + bytes(64))),
        "ssh-ed25519",
        "ssh-ed25519 ?",
    ],
    ids=["type", "two types", "type within", "rest", "short", "cut", "curve", "no point", "no key", "no base64"],
)
def test_public_key_that_is_wrong_in_one_field_is_refused(text: str) -> None:
    with pytest.raises(MalformedError):
        SshPublicKey.parse(text)


def parts(public: SshPublicKey, private: ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey) -> list[bytes]:
    """The five strings after magic and version: key, namespace, reserved, hash, value."""
    blob = sign_sshsig(private, namespace="space", message=b"message")[len(MAGIC) + 4 :]
    found = []
    while blob:
        length = int.from_bytes(blob[:4], "big")
        found.append(blob[4 : 4 + length])
        blob = blob[4 + length :]
    assert found[0] == public.blob
    return found


def check(public: SshPublicKey, blob: bytes) -> None:
    verify_sshsig(blob, public_key=public, namespace="space", message=b"message")


HEAD = MAGIC + (1).to_bytes(4, "big")


@pytest.mark.parametrize(
    "head", [b"SSHSIX" + HEAD[6:], MAGIC + (2).to_bytes(4, "big"), MAGIC + bytes(4)], ids=["magic", "two", "zero"]
)
def test_signature_of_another_magic_or_version_is_refused(head: bytes) -> None:
    good = wire(*parts(ED, KEY))
    check(ED, HEAD + good)
    with pytest.raises(SignwrightError):
        check(ED, head + good)


@pytest.mark.parametrize("wrong", ["reserved", "rest", "type of the value", "rest of the value"])
def test_signature_that_is_wrong_in_one_field_is_refused(wrong: str) -> None:
    signer, named, reserved, algorithm, value = parts(ED, KEY)
    core = value[-64:]
    assert value == wire(b"ssh-ed25519", core)
    rest = wire(b"more") if wrong == "rest" else b""
    if wrong == "reserved":
        reserved = b"x"
    elif wrong == "type of the value":
        value = wire(b"ecdsa-sha2-nistp256", core)
    elif wrong == "rest of the value":
        value += b"\x00"
    with pytest.raises(SignwrightError):
        check(ED, HEAD + wire(signer, named, reserved, algorithm, value) + rest)


def test_curve_signature_has_two_numbers_of_their_length_and_nothing_more() -> None:
    signer, named, reserved, algorithm, value = parts(EC, CURVE)
    core = value[len(wire(b"ecdsa-sha2-nistp256")) + 4 :]
    length = int.from_bytes(core[:4], "big")
    r, s = core[4 : 4 + length], core[8 + length :]
    for numbers, good in (
        (wire(r, s), True),
        (wire(r, s) + b"\x00", False),
        (wire(r, s, b"more"), False),
        (wire(bytes(20) + r, s), False),
        (wire(r, bytes(20) + s), False),
    ):
        blob = HEAD + wire(signer, named, reserved, algorithm, wire(b"ecdsa-sha2-nistp256", numbers))
        if good:
            check(EC, blob)
            continue
        with pytest.raises(SignwrightError):
            check(EC, blob)


def test_touch_that_is_cut_off_is_malformed() -> None:
    """A security key's value without flags and counter behind it."""
    token = SshPublicKey.parse(line(SK_ED25519, wire(SK_ED25519.encode(), RAW, b"ssh:")))
    for value in (wire(SK_ED25519.encode(), bytes(64)), wire(SK_ED25519.encode(), bytes(64)) + b"\x01\x00\x00\x00"):
        with pytest.raises(MalformedError, match="ends early"):
            check(token, HEAD + wire(token.blob, b"space", b"", b"sha512", value))


def test_key_type_that_is_not_accepted_is_refused_also_without_its_line() -> None:
    with pytest.raises(MalformedError, match="is not accepted"):
        SshPublicKey.from_blob(wire(b"ecdsa-sha2-nistp521", b"nistp256", POINT))


def test_point_under_the_name_of_another_curve_is_refused() -> None:
    with pytest.raises(MalformedError, match="curve is not nistp256"):
        SshPublicKey.from_blob(wire(b"ecdsa-sha2-nistp256", b"nistp384", POINT))


def test_value_that_names_another_type_is_refused_though_it_would_hold() -> None:
    signer, named, reserved, algorithm, value = parts(ED, KEY)
    with pytest.raises(VerificationError, match="another type than its key"):
        check(ED, HEAD + wire(signer, named, reserved, algorithm, wire(SK_ED25519.encode(), value[-64:])))
