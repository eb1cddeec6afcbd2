# SPDX-License-Identifier: Apache-2.0
"""The witness's one decision: is this checkpoint a continuation of the latest one that I cosigned?

Rules and their order: c2sp.org/tlog-witness. Which error becomes which status code is for `signwright.witness.app`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from datetime import datetime

from signwright.errors import AuthenticationError, ConflictError, MalformedError, NotFoundError, VerificationError
from signwright.transparency.checkpoint import Checkpoint
from signwright.transparency.merkle import verify_consistency
from signwright.transparency.note import Note, NoteSignature, VerifierKey, parse_note, verify_note
from signwright.transparency.signing import SignerKey, cosign
from signwright.transparency.witnessing import AddCheckpoint
from signwright.witness.settings import LogSettings
from signwright.witness.store import Latest, Store


class Cosigner:
    """``clock`` gives the aware time of a cosignature."""

    def __init__(
        self, key: SignerKey, store: Store, *, logs: Sequence[LogSettings], clock: Callable[[], datetime]
    ) -> None:
        self._key = key
        self._store = store
        self._clock = clock
        self._logs = {log.origin: log.verifier_keys() for log in logs}
        self._origins = {hashlib.sha256(origin.encode()).hexdigest(): origin for origin in self._logs}

    def add_checkpoint(self, body: bytes) -> NoteSignature:
        """Judge the body of ``add-checkpoint``; when this returns, the checkpoint is stored and may be vouched for.

        Raises `MalformedError` and `LimitError` (the body), `NotFoundError` (unknown log), `AuthenticationError` (not
        signed by the log), `ConflictError` (``details["size"]``: of the latest checkpoint), `VerificationError` (forked
        or shrunken), `UnavailableError` (the state cannot be written).
        """
        asked = AddCheckpoint.parse(body)
        note = parse_note(asked.checkpoint)
        checkpoint = Checkpoint.parse(note.text)
        keys = self._logs.get(checkpoint.origin)
        if keys is None:
            raise NotFoundError(f"log {checkpoint.origin!r} is not one of this witness", code="unknown-log")
        signed = _signatures(note, keys)
        if asked.old_size > checkpoint.size:
            raise MalformedError(f"old size {asked.old_size} is beyond size {checkpoint.size}", code="bad-old-size")
        made: list[NoteSignature] = []

        def decide(latest: Latest) -> Latest:
            _check_continues(latest, asked, checkpoint=checkpoint)
            made.append(cosign(checkpoint, self._key, time=self._clock()))
            return Latest(checkpoint.size, checkpoint.root, Note(note.text, (*signed, *made)).encode())

        self._store.advance(checkpoint.origin, decide)
        return made[0]

    def latest(self, origin_hash: str) -> bytes:
        """The latest cosigned checkpoint of the log whose origin has this SHA-256 (hex); raises `NotFoundError`."""
        origin = self._origins.get(origin_hash)
        note = self._store.latest(origin).note if origin is not None else b""
        if not note:
            raise NotFoundError("no checkpoint of this log was cosigned", code="no-checkpoint")
        return note

    def ready(self) -> None:
        """Raises `UnavailableError` when the state cannot be read."""
        self._store.latest("")


def _signatures(note: Note, keys: Sequence[VerifierKey]) -> tuple[NoteSignature, ...]:
    try:
        signed = verify_note(note, keys)
    except VerificationError as problem:
        raise AuthenticationError(problem.message, code=problem.code) from problem
    return tuple(signature for key in signed for signature in note.signatures_by(key))


def _check_continues(latest: Latest, asked: AddCheckpoint, *, checkpoint: Checkpoint) -> None:
    if asked.old_size != latest.size:
        raise ConflictError(
            f"old size {asked.old_size}; the latest cosigned size is {latest.size}",
            code="old-size",
            details={"size": latest.size},
        )
    verify_consistency(latest.size, latest.root, new_size=checkpoint.size, new_root=checkpoint.root, path=asked.path)
