# SPDX-License-Identifier: Apache-2.0
"""Keys in a PKCS #11 token. One session, one thread, one process: the binding crashes with two threads.

The attributes are read back: a key that the token calls extractable or not sensitive is refused. They are the token's
claim; proof would be the maker's attestation.
"""

from __future__ import annotations

import hashlib
from typing import Any

import pkcs11
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from pkcs11 import Attribute, KeyType, Mechanism, ObjectClass
from pkcs11.exceptions import (
    DeviceError,
    DeviceRemoved,
    NoSuchKey,
    NoSuchToken,
    PinIncorrect,
    PinInvalid,
    PinLenRange,
    PinLocked,
    PKCS11Error,
    SessionClosed,
    SessionHandleInvalid,
    TokenNotPresent,
)
from pkcs11.util.ec import encode_ec_public_key
from pkcs11.util.rsa import encode_rsa_public_key

from signwright.envelopes import der
from signwright.envelopes.base import ToBeSigned
from signwright.errors import KeystoreError
from signwright.model.key_uri import parse_uri
from signwright.signer.keyholder.keystores.base import DeviceGoneError, WrongSecretError, read_secret
from signwright.signer.keyholder.settings import KeySettings

_WRONG_PIN = (PinIncorrect, PinInvalid, PinLenRange, PinLocked)
_GONE = (DeviceRemoved, DeviceError, TokenNotPresent, NoSuchToken, SessionClosed, SessionHandleInvalid)
_DIGEST_OIDS = {
    "sha256": "2.16.840.1.101.3.4.2.1",
    "sha384": "2.16.840.1.101.3.4.2.2",
    "sha512": "2.16.840.1.101.3.4.2.3",
}


class Pkcs11Key:
    """Implements `KeyStore`."""

    protection = "claimed"

    def __init__(self, private_key: Any, public_key: bytes) -> None:
        self._key = private_key
        self.public_key = public_key

    def sign(self, content: ToBeSigned) -> bytes:
        digest = content.content
        if not content.prehashed:
            digest = hashlib.new(content.hash_algorithm, digest).digest()
        try:
            if self._key.key_type is KeyType.RSA:
                return bytes(self._key.sign(_digest_info(content.hash_algorithm, digest), mechanism=Mechanism.RSA_PKCS))
            raw = bytes(self._key.sign(digest, mechanism=Mechanism.ECDSA))
        except _GONE as problem:
            raise DeviceGoneError(f"the token is gone: {type(problem).__name__}") from problem
        except PKCS11Error as problem:
            raise KeystoreError(f"the token refused: {type(problem).__name__}") from problem
        half = len(raw) // 2
        return encode_dss_signature(int.from_bytes(raw[:half], "big"), int.from_bytes(raw[half:], "big"))


def _digest_info(algorithm: str, digest: bytes) -> bytes:
    """DigestInfo of RFC 8017 section 9.2, which CKM_RSA_PKCS pads and signs as it is."""
    identifier = der.sequence(der.oid(_DIGEST_OIDS[algorithm]), der.tlv(0x05, b""))
    return der.sequence(identifier, der.octet_string(digest))


def open_pkcs11(settings: KeySettings) -> Pkcs11Key:
    """Log in once and find the one key that the URI names. Raises `WrongSecretError`, `DeviceGoneError`,
    `KeystoreError`.
    """
    names = parse_uri(settings.uri or "")
    pin = read_secret(settings.secret_file).decode("utf-8", "replace")
    try:
        session = _token(settings.module or "", names).open(user_pin=pin)
        return _find(session, names)
    except _WRONG_PIN as problem:
        raise WrongSecretError(f"the token refused the PIN: {type(problem).__name__}") from problem
    except _GONE as problem:
        raise DeviceGoneError(f"the token is not there: {type(problem).__name__}") from problem
    except PKCS11Error as problem:
        raise KeystoreError(f"{settings.uri}: {type(problem).__name__}") from problem


def _token(module: str, names: dict[str, bytes]) -> Any:
    library = pkcs11.lib(module)
    wanted: dict[str, Any] = {}
    if "token" in names:
        wanted["token_label"] = names["token"].decode()
    if "serial" in names:
        wanted["token_serial"] = names["serial"]
    return library.get_token(**wanted)


def _find(session: Any, names: dict[str, bytes]) -> Pkcs11Key:
    wanted: dict[str, Any] = {"object_class": ObjectClass.PRIVATE_KEY}
    if "object" in names:
        wanted["label"] = names["object"].decode()
    if "id" in names:
        wanted["id"] = names["id"]
    try:
        private = session.get_key(**wanted)
    except NoSuchKey as problem:
        raise KeystoreError("the token has no such private key", code="no-such-key") from problem
    for attribute, must in ((Attribute.SENSITIVE, True), (Attribute.EXTRACTABLE, False), (Attribute.SIGN, True)):
        if private[attribute] is not must:
            raise KeystoreError(
                f"the token reports the key with {attribute.name} {not must}; wanted {must}", code="key-attributes"
            )
    public = session.get_key(
        object_class=ObjectClass.PUBLIC_KEY, **{k: v for k, v in wanted.items() if k != "object_class"}
    )
    encode = encode_rsa_public_key if private.key_type is KeyType.RSA else encode_ec_public_key
    return Pkcs11Key(private, _spki(bytes(encode(public)), private.key_type))


def _spki(encoded: bytes, key_type: KeyType) -> bytes:
    """The binding gives a bare RSAPublicKey for RSA and a SubjectPublicKeyInfo for EC."""
    if key_type is not KeyType.RSA:
        return encoded
    algorithm = der.sequence(der.oid("1.2.840.113549.1.1.1"), der.tlv(0x05, b""))
    return der.sequence(algorithm, der.tlv(0x03, b"\x00" + encoded))
