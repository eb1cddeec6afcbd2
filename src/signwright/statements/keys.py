# SPDX-License-Identifier: Apache-2.0
"""Public keys that verify statements, in their written form.

``ed25519:<base64 of 32 bytes>`` for machine credentials, services and sessions; an OpenSSH public key line for people.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from signwright.errors import MalformedError, VerificationError
from signwright.model.base64text import strict_base64
from signwright.statements.dsse import Envelope
from signwright.statements.sshsig import KEY_TYPES, SshPublicKey, verify_sshsig

ED25519_PREFIX = "ed25519:"


@dataclass(frozen=True, slots=True)
class VerifyingKey:
    """``key_id``: ``swk_…`` for machine keys, ``SHA256:…`` for SSH keys. ``verify(name, message, value)`` raises.

    ``material``: the bare public key, by which one key in two written forms is recognised.
    """

    scheme: str
    key_id: str
    text: str
    material: bytes
    verify: Callable[[str, bytes, bytes], None]


@lru_cache(maxsize=4096)
def key_id_of(raw_public_key: bytes) -> str:
    """KeyId of a raw Ed25519 public key: ``swk_`` and 20 base32 digits of its SHA-256."""
    digest = base64.b32encode(hashlib.sha256(b"signwright/key-id/v1\0" + raw_public_key).digest())
    return "swk_" + digest.decode().lower()[:20]


@lru_cache(maxsize=4096)
def verifying_key(text: str) -> VerifyingKey:
    """Read either written form; raises `MalformedError`. A comment after an SSH key is dropped."""
    if text.startswith(ED25519_PREFIX):
        raw = strict_base64(text.removeprefix(ED25519_PREFIX))
        if len(raw) != 32:
            raise MalformedError(f"an Ed25519 public key of {len(raw)} bytes; wanted 32", code="bad-public-key")
        key = Ed25519PublicKey.from_public_bytes(raw)

        def verify_ed25519(name: str, message: bytes, value: bytes) -> None:
            del name  # the statement's type stands in the signed payload
            try:
                key.verify(value, message)
            except InvalidSignature as problem:
                raise VerificationError("the Ed25519 signature does not hold", code="bad-signature") from problem

        return VerifyingKey("ed25519", key_id_of(raw), text, raw, verify_ed25519)
    if text.split(" ", 1)[0] in KEY_TYPES:
        ssh = SshPublicKey.parse(text)

        def verify_ssh(name: str, message: bytes, value: bytes) -> None:
            verify_sshsig(value, public_key=ssh, namespace=ssh_namespace(name), message=message)

        return VerifyingKey("sshsig", ssh.fingerprint, ssh.line, ssh.material, verify_ssh)
    raise MalformedError(f"not a public key that we know: {text[:60]!r}", code="bad-public-key")


def ssh_namespace(name: str) -> str:
    """SSHSIG namespace of a statement type."""
    return f"signwright.{name}.v1"


def verify_envelope(envelope: Envelope, name: str, keys: list[str]) -> list[VerifyingKey]:
    """The keys among ``keys`` (written forms) that signed ``envelope`` as a statement of type ``name``, each once.

    A signature by a known key that does not hold raises `VerificationError`; signatures by unknown keys are ignored.
    """
    known = {key.key_id: key for key in map(verifying_key, keys)}
    good: dict[bytes, VerifyingKey] = {}
    for signature in envelope.signatures:
        key = known.get(signature.keyid)
        if key is None:
            continue
        if key.scheme != signature.scheme:
            raise VerificationError(f"{name}: key {key.key_id} is {key.scheme}, signature says {signature.scheme}")
        key.verify(name, envelope.pae, signature.value)
        good[key.material] = key
    return list(good.values())
