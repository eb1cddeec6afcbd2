# SPDX-License-Identifier: Apache-2.0
"""C2SP checkpoints: origin, size and root of a log as the text of a signed note. Source: c2sp.org/tlog-checkpoint.

Extension lines are refused: no monitor can audit them, our log never writes them, and a checkpoint without them has
exactly one written form.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from signwright.errors import MalformedError, VerificationError
from signwright.model.base64text import strict_base64
from signwright.transparency.merkle import HASH_SIZE, MAX_SIZE
from signwright.transparency.note import MAX_NAME, Note, VerifierKey, parse_note, verify_note


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """``origin``: the log's unique name; ``size``: number of leaves; ``root``: 32 bytes."""

    origin: str
    size: int
    root: bytes

    def text(self) -> bytes:
        """The three lines that are signed."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n".encode()

    @classmethod
    def parse(cls, text: bytes) -> Checkpoint:
        """Read the text of a note; raises `MalformedError`."""
        lines = text.decode("utf-8", errors="replace").split("\n")
        if len(lines) != 4 or lines[3]:
            raise _malformed("wanted exactly three lines (extension lines are refused)")
        origin, root = lines[0], strict_base64(lines[2], "checkpoint root")
        if not 0 < len(origin.encode()) <= MAX_NAME or len(root) != HASH_SIZE:
            raise _malformed(f"wanted an origin of 1 to {MAX_NAME} bytes and a root of {HASH_SIZE}")
        checkpoint = cls(origin, parse_number(lines[1], "checkpoint size"), root)
        if checkpoint.text() != text:
            raise _malformed("not in its one written form")
        return checkpoint


@dataclass(frozen=True, slots=True)
class SignedCheckpoint:
    """A checkpoint whose log signature was verified, with the note that it came in (cosignatures: not yet judged)."""

    checkpoint: Checkpoint
    note: Note


def verify_checkpoint(content: bytes, *, origin: str, keys: Sequence[VerifierKey]) -> SignedCheckpoint:
    """Read a signed note and verify that it is a checkpoint of log ``origin``, signed by one of the log's ``keys``.

    Raises `MalformedError`, `LimitError`, `VerificationError` (``wrong-origin``, ``unsigned-note``,
    ``bad-note-signature``).
    """
    return _verified(content, origin, tuple(keys))


@lru_cache(maxsize=32)
def _verified(content: bytes, origin: str, keys: tuple[VerifierKey, ...]) -> SignedCheckpoint:
    """Kept for the very same bytes, origin and keys: the orders of a group come under one checkpoint."""
    note = parse_note(content)
    verify_note(note, keys)
    checkpoint = Checkpoint.parse(note.text)
    if checkpoint.origin != origin:
        raise VerificationError(
            f"checkpoint: of log {checkpoint.origin[:80]!r}; wanted {origin!r}", code="wrong-origin"
        )
    return SignedCheckpoint(checkpoint, note)


def parse_number(text: str, where: str) -> int:
    """ASCII decimal without leading zeroes, below 2**63; raises `MalformedError`."""
    if not (text.isascii() and text.isdigit() and len(text) <= 19) or (len(text) > 1 and text[0] == "0"):
        raise MalformedError(f"{where}: not a number: {text[:40]!r}", code="bad-number")
    number = int(text)
    if number > MAX_SIZE:
        raise MalformedError(f"{where}: {number} is too large", code="bad-number")
    return number


def _malformed(message: str) -> MalformedError:
    return MalformedError(f"checkpoint: {message}", code="bad-checkpoint")
