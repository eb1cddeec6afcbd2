# SPDX-License-Identifier: Apache-2.0
"""The messages between a log and a witness, bytes in and bytes out. Source: c2sp.org/tlog-witness.

The log's side builds the body of ``POST <prefix>/add-checkpoint`` and reads the answer; the witness's reads the body.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

from signwright.errors import LimitError, MalformedError, VerificationError
from signwright.model.base64text import strict_base64
from signwright.transparency.checkpoint import parse_number
from signwright.transparency.cosignature import WitnessKey, check_cosignature
from signwright.transparency.merkle import HASH_SIZE, MAX_PATH
from signwright.transparency.note import MAX_NOTE, NoteSignature, parse_note, parse_signatures

MAX_BODY = MAX_NOTE + (4 << 10)
MAX_ANSWER = 16 << 10
#: Content type of an answer 409, whose body is the size of the witness's latest checkpoint.
SIZE_TYPE = "text/x.tlog.size"


@dataclass(frozen=True, slots=True)
class AddCheckpoint:
    """``old_size``: of the checkpoint the witness cosigned last; ``path``: consistency; ``checkpoint``: the note."""

    old_size: int
    path: tuple[bytes, ...]
    checkpoint: bytes

    def encode(self) -> bytes:
        path = [base64.b64encode(value).decode() for value in self.path]
        return "\n".join([f"old {self.old_size}", *path, "", ""]).encode() + self.checkpoint

    @classmethod
    def parse(cls, body: bytes) -> AddCheckpoint:
        """Read a body; raises `MalformedError` and `LimitError`. The checkpoint is not read yet."""
        if len(body) > MAX_BODY:
            raise LimitError(f"add-checkpoint: {len(body)} bytes; at most {MAX_BODY} are read", code="body-too-large")
        head, separator, checkpoint = body.partition(b"\n\n")
        lines = head.decode("ascii", errors="replace").split("\n")
        if not separator or not lines[0].startswith("old ") or len(lines) > MAX_PATH + 1:
            raise MalformedError("add-checkpoint: wanted an old size and at most 63 hashes", code="bad-add-checkpoint")
        path = tuple(strict_base64(line, "add-checkpoint hash") for line in lines[1:])
        if any(len(value) != HASH_SIZE for value in path):
            raise MalformedError(f"add-checkpoint: a hash that is not {HASH_SIZE} bytes", code="bad-add-checkpoint")
        return cls(parse_number(lines[0].removeprefix("old "), "add-checkpoint old size"), path, checkpoint)


def add_checkpoint_body(old_size: int, path: Sequence[bytes], *, checkpoint: bytes) -> bytes:
    """The body to post; ``checkpoint`` is the signed note, ``path`` the proof from ``old_size`` to it."""
    return AddCheckpoint(old_size, tuple(path), checkpoint).encode()


def parse_answer(answer: bytes, *, checkpoint: bytes, witness: WitnessKey) -> tuple[NoteSignature, ...]:
    """The verified lines of ``witness`` in a 200 answer about ``checkpoint`` (the signed note that was posted).

    Lines of other keys are dropped. Raises `LimitError`, `MalformedError`, and `VerificationError` when none is left or
    one is wrong. `signwright.transparency.signing.add_signatures` puts them on the note.
    """
    if len(answer) > MAX_ANSWER:
        raise LimitError(f"witness: {len(answer)} bytes; at most {MAX_ANSWER} are read", code="answer-too-large")
    try:
        lines = parse_signatures(answer.decode("utf-8"))
    except UnicodeDecodeError:
        raise MalformedError("witness: the answer is not UTF-8", code="bad-note") from None
    text, key = parse_note(checkpoint).text, witness.key
    own = tuple(line for line in lines if line.name == key.name and line.key_id == key.key_id)
    for line in own:
        check_cosignature(text, line, key)
    if not own:
        raise VerificationError(f"witness: no cosignature by {witness.name} in the answer", code="no-cosignature")
    return own


def parse_size(answer: bytes) -> int:
    """The size in a 409 answer; raises `MalformedError`."""
    text = answer[:32].decode("ascii", errors="replace")
    if not text.endswith("\n") or len(answer) > 32:
        raise MalformedError("witness: wanted a size and a newline", code="bad-number")
    return parse_number(text[:-1], "witness size")
