# SPDX-License-Identifier: Apache-2.0
"""Cosignatures of witnesses on a checkpoint (``cosignature/v1``, Ed25519, type 0x04) and how many are enough.

Source: c2sp.org/tlog-cosignature. A cosignature says: at this time, the largest consistent tree that I know of this log
is the one of this checkpoint.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache

from signwright.errors import ConfigurationError, VerificationError
from signwright.transparency.checkpoint import Checkpoint, verify_checkpoint
from signwright.transparency.note import COSIGNATURE_V1, Note, NoteSignature, VerifierKey

#: 9999-12-31T23:59:59Z, the last second that a time can name.
_LAST_SECOND = 253_402_300_799


@dataclass(frozen=True, slots=True)
class WitnessKey:
    """``public_key``: 32 bytes of Ed25519; ``outside``: run by an ``operator`` other than that of the signer host."""

    name: str
    public_key: bytes
    operator: str
    outside: bool

    @property
    def key(self) -> VerifierKey:
        return VerifierKey(self.name, COSIGNATURE_V1, self.public_key)


@dataclass(frozen=True, slots=True)
class Cosigned:
    """Who cosigned: names of witnesses, and the times that count, sorted. ``outside`` and ``local`` count operators."""

    outside: int
    local: int
    witnesses: tuple[str, ...]
    times: tuple[datetime, ...]

    @property
    def median_time(self) -> datetime | None:
        """The (lower) median of ``times``, which are those of outside witnesses alone as soon as there is one."""
        return self.times[(len(self.times) - 1) // 2] if self.times else None


@dataclass(frozen=True, slots=True)
class Quorum:
    """At least ``outside`` different operators outside the signer host and ``local`` different ones on it."""

    witnesses: tuple[WitnessKey, ...]
    outside: int
    local: int

    def __post_init__(self) -> None:
        names, keys = {w.name for w in self.witnesses}, {w.public_key for w in self.witnesses}
        # The signed message does not name the witness: one key under two names would count twice.
        if len(names) != len(self.witnesses) or len(keys) != len(self.witnesses):
            raise ConfigurationError("quorum: two witnesses share a name or a key", code="bad-quorum")
        operators, locals_ = (_operators(w for w in self.witnesses if w.outside is side) for side in (True, False))
        if operators & locals_:
            both = next(w.operator for w in self.witnesses if w.outside and operator_of(w.operator) in locals_)
            raise ConfigurationError(
                f"quorum: operator {both!r} runs a local witness and cannot be outside", code="bad-quorum"
            )
        if not (0 <= self.outside <= len(operators) and 0 <= self.local <= len(locals_)):
            raise ConfigurationError(
                f"quorum: wants outside {self.outside} / local {self.local}, but there are {len(operators)} outside"
                f" operators and {len(locals_)} local ones",
                code="bad-quorum",
            )

    def check(self, note: Note, *, latest: datetime | None = None) -> Cosigned:
        """Verify the cosignatures of known witnesses and count them. Unknown ones are ignored.

        ``latest``: a cosignature of a later time is refused. A witness that cosigned twice counts once, with its
        earlier time. Raises `VerificationError` (``bad-note-signature``, ``no-quorum``).
        """
        seen: list[tuple[WitnessKey, datetime]] = []
        for witness in self.witnesses:
            key = witness.key
            lines = note.signatures_by(key)
            if lines:
                seen.append((witness, min(check_cosignature(note.text, line, key) for line in lines)))
        if latest is not None and any(time > latest for _, time in seen):
            raise VerificationError("checkpoint: cosigned in the future", code="cosigned-in-the-future")
        outside, local = (len(_operators(w for w, _ in seen if w.outside is side)) for side in (True, False))
        if outside < self.outside or local < self.local:
            raise VerificationError(
                f"checkpoint: cosigned by outside {outside} / local {local};"
                f" wanted outside {self.outside} / local {self.local}",
                code="no-quorum",
            )
        counted = sorted(time for witness, time in seen if witness.outside or not outside)
        return Cosigned(outside, local, tuple(witness.name for witness, _ in seen), tuple(counted))


@dataclass(frozen=True, slots=True)
class Witnessed:
    """A checkpoint that was signed by its log and cosigned by a quorum."""

    checkpoint: Checkpoint
    cosigned: Cosigned


@dataclass(frozen=True, slots=True)
class LogTrust:
    """What one needs to believe a checkpoint: the log's origin and keys, and its witnesses."""

    origin: str
    keys: tuple[VerifierKey, ...]
    quorum: Quorum

    def verify(self, content: bytes, *, latest: datetime | None = None) -> Witnessed:
        """Read and verify a cosigned checkpoint; raises `MalformedError`, `LimitError`, `VerificationError`."""
        signed = verify_checkpoint(content, origin=self.origin, keys=self.keys)
        return Witnessed(signed.checkpoint, self.quorum.check(signed.note, latest=latest))


@lru_cache(maxsize=256)
def operator_of(text: str) -> str:
    """An operator's name as it is compared: another case, spacing or punctuation makes no other operator."""
    return "".join(filter(str.isalnum, unicodedata.normalize("NFKC", text).casefold()))


def _operators(witnesses: Iterable[WitnessKey]) -> set[str]:
    return {operator_of(witness.operator) for witness in witnesses}


def cosignature_message(text: bytes, time: int) -> bytes:
    """What a witness signs: header, POSIX time, and the text of the checkpoint."""
    return b"cosignature/v1\ntime %d\n%s" % (time, text)


@lru_cache(maxsize=128)
def check_cosignature(text: bytes, signature: NoteSignature, key: VerifierKey) -> datetime:
    """The time at which ``key`` cosigned the checkpoint ``text``; raises `VerificationError`.

    Kept for the very same text, line and key; a refusal is not kept.
    """
    time = int.from_bytes(signature.value[:8], "big")
    if key.algorithm != COSIGNATURE_V1 or len(signature.value) != 72 or not 0 < time <= _LAST_SECOND:
        raise VerificationError(f"checkpoint: not a cosignature by {key.name}", code="bad-note-signature")
    key.check(cosignature_message(text, time), signature.value[8:])
    return datetime.fromtimestamp(time, UTC)
