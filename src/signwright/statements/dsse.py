# SPDX-License-Identifier: Apache-2.0
"""DSSE envelopes (DSSE v1.0.2). Signatures cover the PAE bytes; nothing is serialised again to be verified."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass, field
from typing import Annotated

from pydantic import Field, StringConstraints

from signwright.errors import LimitError, MalformedError
from signwright.model.base64text import strict_base64
from signwright.model.operation import Many, Strict
from signwright.statements.parse import MAX_STATEMENT, parse_model

PAYLOAD_TYPE = "application/vnd.in-toto+json"
#: An envelope carries its payload in base64, plus the signatures.
MAX_ENVELOPE = 2 * MAX_STATEMENT
_encode = json.JSONEncoder(separators=(",", ":")).encode


@dataclass(frozen=True, slots=True)
class EnvelopeSignature:
    """``keyid`` is a hint, never trusted; ``scheme`` is ``ed25519`` or ``sshsig``; ``value`` raw bytes."""

    keyid: str
    scheme: str
    value: bytes


@dataclass(frozen=True, slots=True)
class Envelope:
    """``payload`` is the exact bytes that were signed; nobody has verified anything yet.

    ``parsed``: what `signwright.statements.models.parse_statement` has made of the payload, by the model asked for.
    """

    payload: bytes
    signatures: tuple[EnvelopeSignature, ...]
    payload_type: str = PAYLOAD_TYPE
    parsed: dict[type[Strict], object] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def pae(self) -> bytes:
        return pae(self.payload_type, self.payload)

    def encode(self) -> bytes:
        """The one written JSON form."""
        rows = [
            {"keyid": s.keyid, "scheme": s.scheme, "sig": base64.b64encode(s.value).decode()} for s in self.signatures
        ]
        body = {
            "payload": base64.b64encode(self.payload).decode(),
            "payloadType": self.payload_type,
            "signatures": rows,
        }
        return _encode(body).encode()


class _Signature(Strict):
    keyid: Annotated[str, StringConstraints(max_length=256)] = ""
    scheme: Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]{1,32}$")]
    sig: Annotated[str, StringConstraints(max_length=8192)]


class _Envelope(Strict):
    payload: str
    payloadType: Annotated[str, StringConstraints(max_length=256)]
    signatures: Many[_Signature] = Field(min_length=1, max_length=16)


def pae(payload_type: str, payload: bytes) -> bytes:
    """DSSE pre-authentication encoding."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def parse_envelope(content: bytes) -> Envelope:
    """Read an envelope; raises `MalformedError` or `LimitError`. Verifies nothing."""
    parsed = parse_model(_Envelope, content, limit=MAX_ENVELOPE, depth=4)
    if parsed.payloadType != PAYLOAD_TYPE:
        raise MalformedError(f"payload type {parsed.payloadType!r}; wanted {PAYLOAD_TYPE}", code="bad-payload-type")
    payload = strict_base64(parsed.payload)
    if len(payload) > MAX_STATEMENT:
        raise LimitError(f"statement of {len(payload)} bytes; at most {MAX_STATEMENT}", code="statement-too-large")
    signatures = tuple(EnvelopeSignature(s.keyid, s.scheme, strict_base64(s.sig)) for s in parsed.signatures)
    return Envelope(payload, signatures)


def statement_digest(name: str, envelope: Envelope) -> str:
    """How one statement refers to another: hex SHA-256 over ``signwright/<name>/v1``, a zero byte, and the PAE."""
    return hashlib.sha256(f"signwright/{name}/v1".encode() + b"\0" + envelope.pae).hexdigest()
