# SPDX-License-Identifier: Apache-2.0
"""Statements that several keepers sign, one after the other, each on a machine of their own.

Between them the statement is a file: a DSSE envelope that may still be without signatures. Nothing in it is believed
because it lies there; who signed is found out by verifying.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field, StringConstraints

from signwright.client.files import replace_file
from signwright.client.ssh_keys import PersonKey
from signwright.errors import ConfigurationError, DeniedError, SignwrightError
from signwright.model.base64text import strict_base64
from signwright.model.operation import Many, Strict
from signwright.statements.dsse import MAX_ENVELOPE, PAYLOAD_TYPE, Envelope, EnvelopeSignature
from signwright.statements.keys import VerifyingKey, verify_envelope, verifying_key
from signwright.statements.models import Role
from signwright.statements.parse import parse_model


class _Signature(Strict):
    keyid: Annotated[str, StringConstraints(max_length=256)]
    scheme: Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]{1,32}$")]
    sig: Annotated[str, StringConstraints(max_length=8192)]


class _Partial(Strict):
    payload: str
    payloadType: Annotated[str, StringConstraints(pattern=r"^application/vnd\.in-toto\+json$")] = PAYLOAD_TYPE
    signatures: Many[_Signature] = Field(default=(), max_length=16)


@dataclass(frozen=True, slots=True)
class Standing:
    """How far the signatures of one role are. ``signed``, ``missing``: key ids, each key once."""

    wanted: int
    signed: tuple[str, ...]
    missing: tuple[str, ...]

    @property
    def reached(self) -> bool:
        return len(self.signed) >= self.wanted

    def __str__(self) -> str:
        still = "" if self.reached else f"; {self.wanted - len(self.signed)} more of {', '.join(self.missing)}"
        return f"{len(self.signed)} of {self.wanted} signed ({', '.join(self.signed) or 'nobody'}){still}"


def read_partial(file: Path) -> Envelope:
    """Raises `ConfigurationError` naming the file. Verifies nothing."""
    try:
        with file.open("rb") as opened:
            content = opened.read(MAX_ENVELOPE + 1)
        parsed = parse_model(_Partial, content, limit=MAX_ENVELOPE, depth=4)
        rows = tuple(EnvelopeSignature(s.keyid, s.scheme, strict_base64(s.sig)) for s in parsed.signatures)
        return Envelope(strict_base64(parsed.payload), rows)
    except OSError as problem:
        raise ConfigurationError(f"{file}: {problem.strerror}", code="no-draft") from problem
    except SignwrightError as problem:
        raise ConfigurationError(f"{file}: {problem.message}", code="bad-draft") from problem


def write_partial(file: Path, envelope: Envelope) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    replace_file(file, envelope.encode() + b"\n", mode=0o644)


def standing(envelope: Envelope, name: str, role: Role) -> Standing:
    """Who of ``role`` signed; raises `VerificationError` for a signature of theirs that does not hold."""
    signed = verify_envelope(envelope, name, list(role.keys))
    materials = {key.material for key in signed}
    missing: dict[bytes, VerifyingKey] = {}
    for key in map(verifying_key, role.keys):
        if key.material not in materials:
            missing.setdefault(key.material, key)
    return Standing(role.threshold, tuple(k.key_id for k in signed), tuple(k.key_id for k in missing.values()))


def check_keeper(keeper: PersonKey, roles: Sequence[Role], what: str) -> None:
    """Raises `DeniedError` for a key that none of ``roles`` has: it would count for nothing."""
    keys = {verifying_key(text).material for role in roles for text in role.keys}
    if keeper.public.material not in keys:
        raise DeniedError(f"key {keeper.public.fingerprint} is not {what}'s", code="not-a-keeper")


def with_signature(envelope: Envelope, name: str, keeper: PersonKey) -> Envelope:
    """The same payload with one signature more; a keeper who signed before signs anew."""
    added = keeper.sign_statement(envelope.payload, name)
    others = tuple(s for s in envelope.signatures if s.keyid not in {one.keyid for one in added.signatures})
    return Envelope(envelope.payload, others + added.signatures)
