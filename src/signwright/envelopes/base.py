# SPDX-License-Identifier: Apache-2.0
"""The contract of a template: from an operation to the bytes under the key, from a signature value to an envelope."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from signwright.model.operation import Operation


@dataclass(frozen=True, slots=True)
class SignerContext:
    """What a template may use besides the operation: all of it stands in the pinned policy or in the intent leaf.

    ``chain``: DER certificates, leaf first (empty for a key without certificate); ``public_key``: DER
    SubjectPublicKeyInfo; ``signing_time``: aware UTC datetime from the intent.
    """

    chain: tuple[bytes, ...]
    public_key: bytes
    signing_time: datetime


@dataclass(frozen=True, slots=True)
class ToBeSigned:
    """``content`` goes to the key; ``hash_algorithm`` is its hash. With ``prehashed`` it already is that digest."""

    content: bytes
    hash_algorithm: str
    prehashed: bool = False


class Template(Protocol):
    """A named way to sign. Pure: the same operation and context give the same bytes, in gate, keyholder and monitor.

    ``family`` is what a key is bound to (``cms``, ``raw``); ``purpose`` is one of the purposes a ``cms`` key lists
    (``authenticode``, ``file``), or the family again where a family has only one.
    Every method raises `MalformedError` for an operation whose parameters it does not know, one by one.
    """

    @property
    def name(self) -> str: ...

    @property
    def family(self) -> str: ...

    @property
    def purpose(self) -> str: ...

    @property
    def formats(self) -> tuple[str, ...]:
        """Formats of artifacts that may be signed with it: whoever may sign one kind of file may not sign another."""
        ...

    @property
    def derived_parameters(self) -> tuple[str, ...]:
        """Parameters that follow from the format; every other one repeats an option of the artifact."""
        ...

    @property
    def timestamped(self) -> bool:
        """Whether the envelope has a place for an RFC 3161 token (over the signature value)."""
        ...

    def to_be_signed(self, operation: Operation, context: SignerContext) -> ToBeSigned: ...

    def envelope(
        self, operation: Operation, context: SignerContext, signature_value: bytes, timestamp_token: bytes | None
    ) -> bytes:
        """``signature_value`` as the key gave it (RSA: big-endian integer; ECDSA: DER SEQUENCE of r and s)."""
        ...
