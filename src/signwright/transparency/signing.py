# SPDX-License-Identifier: Apache-2.0
"""The signing side of notes, checkpoints and cosignatures: what a log or a witness does with its own key.

A signer key is written as in golang.org/x/mod/sumdb/note: ``PRIVATE+KEY+name+hex(key id)+base64(type || seed)``.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from signwright.errors import MalformedError, UsageError
from signwright.model.base64text import strict_base64
from signwright.transparency.checkpoint import Checkpoint
from signwright.transparency.cosignature import cosignature_message
from signwright.transparency.note import (
    COSIGNATURE_V1,
    ED25519,
    Note,
    NoteSignature,
    VerifierKey,
    check_name,
    parse_note,
)

_PREFIX = "PRIVATE+KEY+"


@dataclass(frozen=True, slots=True)
class SignerKey:
    """``seed``: 32 secret bytes (RFC 8032); ``algorithm``: `ED25519` for a log, `COSIGNATURE_V1` for a witness."""

    name: str
    algorithm: int
    seed: bytes = field(repr=False)
    _private: Ed25519PrivateKey = field(init=False, repr=False, compare=False)
    _verifier: VerifierKey = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_name(self.name)
        if self.algorithm not in {ED25519, COSIGNATURE_V1} or len(self.seed) != 32:
            raise MalformedError("signer key: wanted a seed of 32 bytes for Ed25519", code="bad-note-key")
        private = Ed25519PrivateKey.from_private_bytes(self.seed)
        verifier = VerifierKey(self.name, self.algorithm, private.public_key().public_bytes_raw())
        # Each costs as much as a signature: once for each key, not for each use.
        object.__setattr__(self, "_private", private)
        object.__setattr__(self, "_verifier", verifier)

    @property
    def verifier(self) -> VerifierKey:
        return self._verifier

    def sign(self, message: bytes) -> bytes:
        """The bare Ed25519 value over exactly ``message``."""
        return self._private.sign(message)

    @classmethod
    def parse(cls, text: str, *, algorithm: int) -> SignerKey:
        """Read the encoded form; raises `MalformedError`, which never repeats the secret."""
        name, _, rest = text.removeprefix(_PREFIX).partition("+")
        key_id, _, encoded = rest.partition("+")
        try:
            material = strict_base64(encoded, "signer key")
        except MalformedError:
            material = b""
        if not text.startswith(_PREFIX) or material[:1] != bytes([algorithm]):
            raise MalformedError(f"signer key: wanted {_PREFIX}... of type 0x{algorithm:02x}", code="bad-note-key")
        key = cls(name, algorithm, material[1:])
        if key.verifier.key_id.hex() != key_id:
            raise MalformedError("signer key: its key id is not its own", code="bad-note-key")
        return key

    def encode(self) -> str:
        """The secret key as text, without a newline."""
        material = base64.b64encode(bytes([self.algorithm]) + self.seed).decode()
        return f"{_PREFIX}{self.name}+{self.verifier.key_id.hex()}+{material}"


def sign_text(text: bytes, key: SignerKey) -> NoteSignature:
    """One Ed25519 signature line for a note's text, which must end in a newline and hold no other control character."""
    if key.algorithm != ED25519:
        raise UsageError(f"{key.name} is a key for cosignatures only")
    signature = NoteSignature(key.name, key.verifier.key_id, key.sign(text))
    if parse_note(Note(text, (signature,)).encode()).text != text:
        raise UsageError("a note's text must be UTF-8 that ends in a newline")
    return signature


def sign_note(text: bytes, *keys: SignerKey) -> bytes:
    """A signed note with one Ed25519 signature per key."""
    return Note(text, tuple(sign_text(text, key) for key in keys)).encode()


def sign_checkpoint(checkpoint: Checkpoint, *keys: SignerKey) -> bytes:
    """The signed note of a checkpoint, which is parsed once more, so that only readable ones are signed."""
    Checkpoint.parse(checkpoint.text())
    return sign_note(checkpoint.text(), *keys)


def cosign(checkpoint: Checkpoint, key: SignerKey, *, time: datetime) -> NoteSignature:
    """A ``cosignature/v1`` line: at ``time`` (aware; whole seconds) this is the largest tree the witness knows."""
    if key.algorithm != COSIGNATURE_V1:
        raise UsageError(f"{key.name} is not a key for cosignatures")
    seconds = int(time.timestamp())
    if seconds <= 0:
        raise UsageError(f"cannot cosign at {time}")
    value = seconds.to_bytes(8, "big") + key.sign(cosignature_message(checkpoint.text(), seconds))
    return NoteSignature(key.name, key.verifier.key_id, value)


def add_signatures(content: bytes, signatures: Iterable[NoteSignature]) -> bytes:
    """The signed note with further lines; a line that it already has is not repeated."""
    note = parse_note(content)
    lines = dict.fromkeys([*note.signatures, *signatures])
    return Note(note.text, tuple(lines)).encode()
