# SPDX-License-Identifier: Apache-2.0
"""C2SP signed notes: reading them and verifying Ed25519 signatures (type 0x01). Source: c2sp.org/signed-note.

A note is a text that ends in a newline, an empty line, and signature lines ``— name base64(key id || signature)``.
Signatures of unknown keys are ignored; a wrong signature under a known key makes the whole note worthless.
Making notes is `signwright.transparency.signing`.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from signwright.errors import LimitError, MalformedError, VerificationError
from signwright.model.base64text import strict_base64

#: Signature types of the C2SP signed-note registry that are used here.
ED25519 = 0x01
COSIGNATURE_V1 = 0x04

MAX_NOTE = 64 << 10
MAX_SIGNATURES = 32
MAX_NAME = 255
_DASH = "\N{EM DASH} "
#: Every byte but those below the space that are no newline.
_ALLOWED = bytes({0x0A, *range(0x20, 0x100)})
_NOT_IN_NAME = re.compile(r"[\s\x00-\x1f+]")


@dataclass(frozen=True, slots=True)
class NoteSignature:
    """One signature line. ``key_id``: 4 bytes; ``value``: what follows them, its layout depends on the key's type."""

    name: str
    key_id: bytes
    value: bytes

    def line(self) -> str:
        """The line with its newline."""
        return f"{_DASH}{self.name} {base64.b64encode(self.key_id + self.value).decode()}\n"


@dataclass(frozen=True, slots=True)
class Note:
    """``text``: UTF-8, with its last newline; what the signatures cover."""

    text: bytes
    signatures: tuple[NoteSignature, ...]

    def encode(self) -> bytes:
        return self.text + b"\n" + "".join(signature.line() for signature in self.signatures).encode()

    def signatures_by(self, key: VerifierKey) -> tuple[NoteSignature, ...]:
        """The lines whose name and key id are those of ``key``; nothing is verified."""
        return tuple(one for one in self.signatures if one.name == key.name and one.key_id == key.key_id)


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A public key with its name. ``algorithm``: `ED25519` or `COSIGNATURE_V1`; ``public_key``: 32 raw bytes."""

    name: str
    algorithm: int
    public_key: bytes

    def __post_init__(self) -> None:
        check_name(self.name)
        if self.algorithm not in (ED25519, COSIGNATURE_V1) or len(self.public_key) != 32:
            raise MalformedError(f"verifier key {self.name}: wanted 32 bytes of an Ed25519 key", code="bad-note-key")

    @property
    def key_id(self) -> bytes:
        return hashlib.sha256(self.name.encode() + b"\n" + bytes([self.algorithm]) + self.public_key).digest()[:4]

    @classmethod
    def parse(cls, text: str, *, algorithm: int = ED25519) -> VerifierKey:
        """Read ``name+hex(key id)+base64(type || key)``; a key of another type than ``algorithm`` is refused."""
        name, _, rest = text.partition("+")
        key_id, _, encoded = rest.partition("+")
        material = strict_base64(encoded, "verifier key")
        if material[:1] != bytes([algorithm]):
            raise MalformedError(f"verifier key {name[:80]}: wanted type 0x{algorithm:02x}", code="bad-note-key")
        key = cls(name, algorithm, material[1:])
        if key_id != key.key_id.hex():
            raise MalformedError(f"verifier key {name}: key id {key_id[:16]!r} is not its own", code="bad-note-key")
        return key

    def __str__(self) -> str:
        material = base64.b64encode(bytes([self.algorithm]) + self.public_key).decode()
        return f"{self.name}+{self.key_id.hex()}+{material}"

    def check(self, message: bytes, signature: bytes) -> None:
        """The 64 byte Ed25519 ``signature`` covers exactly ``message``; raises `VerificationError`."""
        try:
            _loaded(self.public_key).verify(signature, message)
        except (InvalidSignature, ValueError):
            raise VerificationError(f"note: wrong signature by {self.name}", code="bad-note-signature") from None


def parse_note(content: bytes) -> Note:
    """Split a note. Raises `MalformedError` and `LimitError`; nothing in the result is verified."""
    if len(content) > MAX_NOTE:
        raise LimitError(f"note: {len(content)} bytes; at most {MAX_NOTE} are read", code="note-too-large")
    try:
        decoded = content.decode("utf-8")
    except UnicodeDecodeError:
        raise _malformed("not UTF-8") from None
    if content.translate(None, _ALLOWED):
        raise _malformed("control characters")
    text, separator, lines = decoded.rpartition("\n\n")
    if not separator or not lines.endswith("\n"):
        raise _malformed("wanted a text, an empty line and signature lines")
    return Note(f"{text}\n".encode(), parse_signatures(lines))


def parse_signatures(lines: str) -> tuple[NoteSignature, ...]:
    """One or more signature lines, each with its newline."""
    if not lines.endswith("\n") or lines.count("\n") > MAX_SIGNATURES:
        raise _malformed(f"wanted 1 to {MAX_SIGNATURES} signature lines, each ending in a newline")
    return tuple(_signature(line) for line in lines[:-1].split("\n"))


def verify_note(note: Note, keys: Sequence[VerifierKey]) -> tuple[VerifierKey, ...]:
    """The Ed25519 keys among ``keys`` that signed the note: at least one, and none of them wrongly.

    Raises `VerificationError`.
    """
    signed = [key for key in keys if note.signatures_by(key)]
    for key in signed:
        if key.algorithm != ED25519:
            raise VerificationError(f"note: {key.name} is a key for cosignatures only", code="bad-note-signature")
        for signature in note.signatures_by(key):
            key.check(note.text, signature.value)
    if not signed:
        wanted = ", ".join(key.name for key in keys)
        raise VerificationError(f"note: not signed by a known key; wanted one of: {wanted}", code="unsigned-note")
    return tuple(signed)


@lru_cache(maxsize=256)
def _loaded(public_key: bytes) -> Ed25519PublicKey:
    return Ed25519PublicKey.from_public_bytes(public_key)


def check_name(name: str) -> str:
    """A key name: not empty, without spaces, plus and control characters; raises `MalformedError`."""
    if not name or len(name.encode(errors="replace")) > MAX_NAME or _NOT_IN_NAME.search(name):
        raise MalformedError(f"not a key name: {name[:80]!r}", code="bad-note-key")
    return name


def _signature(line: str) -> NoteSignature:
    name, _, encoded = line.removeprefix(_DASH).partition(" ")
    if not line.startswith(_DASH):
        raise _malformed(f"not a signature line: {line[:80]!r}")
    blob = strict_base64(encoded, "note signature")
    if len(blob) < 5:
        raise _malformed("a signature without content")
    return NoteSignature(check_name(name), blob[:4], blob[4:])


def _malformed(message: str) -> MalformedError:
    return MalformedError(f"note: {message}", code="bad-note")
