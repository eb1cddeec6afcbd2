# SPDX-License-Identifier: Apache-2.0
"""The contract of a template: from an operation to the bytes under the key, from a signature value to an envelope."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from signwright.errors import MalformedError
from signwright.model.digest import Digest
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


#: Most bytes of content that must be seen, in one request.
MAX_SEEN = 16 << 20


class Template(Protocol):
    """A named way to sign. Pure: the same operation and context give the same bytes, in gate, keyholder and monitor.

    ``family`` is what a key is bound to (``cms``, ``raw``); ``purpose`` is one of the purposes a ``cms`` key lists
    (``authenticode``, ``file``), or the family again where a family has only one.
    Every method raises `MalformedError` for an operation whose parameters it does not know, one by one.
    """

    name: str
    family: str
    purpose: str

    @property
    def formats(self) -> tuple[str, ...]:
        """Formats of artifacts that may be signed with it: whoever may sign one kind of file may not sign another."""

    @property
    def timestamped(self) -> bool:
        """Whether the envelope has a place for an RFC 3161 token (over the signature value)."""

    @property
    def check_content(self) -> Callable[[Operation, bytes], None] | None:
        """Of a template whose content must be seen to be signed safely: raises `MalformedError` for content that is not
        of its purpose. The content travels along and hashes to the operation's digest, which the caller has checked.
        """

    def to_be_signed(self, operation: Operation, context: SignerContext) -> ToBeSigned: ...

    def envelope(
        self, operation: Operation, context: SignerContext, value: bytes, token: bytes | None, content: bytes = b""
    ) -> bytes:
        """``value``: as the key gave it (RSA: big-endian integer; ECDSA: DER SEQUENCE of r and s); ``token``: RFC 3161,
        over that value; ``content``: what `check_content` saw.
        """


def check_seen(template: Template, operation: Operation, content: bytes) -> None:
    """The content that came along is what the operation's digest is of, and of the template's purpose. Raises
    `MalformedError`.
    """
    wanted = operation.content_digest
    if Digest.of(content, wanted.algorithm) != wanted:
        raise MalformedError(f"content of {len(content)} bytes is not what the operation names", code="wrong-content")
    if template.check_content is not None:
        template.check_content(operation, content)
