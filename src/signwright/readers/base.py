# SPDX-License-Identifier: Apache-2.0
"""The contract of a reader: a stranger's look at a signed file."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol, runtime_checkable

from signwright.model.digest import Digest
from signwright.model.view import View


@dataclass(frozen=True, slots=True)
class FoundSignature:
    """One signature whose digest was recomputed from the file and whose value was checked with its own certificate.

    Certificates are DER; ``envelope`` is the complete structure as found; ``timestamp_token`` is the RFC 3161 token
    as found, over ``signature_value``. Trust in the chain is not decided here (`signwright.readers.chain`).
    ``inner_path``: "" for the file's own, else the path of the member that carries it, as in an operation.
    """

    format: str
    family: str
    purpose: str
    content_digest: Digest
    signature_value: bytes
    envelope: bytes
    public_key: bytes
    signer_certificate: bytes | None = None
    certificates: tuple[bytes, ...] = ()
    timestamp_token: bytes | None = None
    signing_time: datetime | None = None
    notes: dict[str, str] = field(default_factory=dict)
    inner_path: str = ""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a reader found.

    ``stripped_sha256``: hex digest of the content with signatures removed and derived fields neutral: equal before and
    after signing (the strip test). ``warnings``: things that are legal and odd, such as data after the signature.
    ``kept_sha256``: hex digest of the members that stay as they are, where that was asked (`Keeper`).
    """

    format: str
    signatures: tuple[FoundSignature, ...]
    stripped_sha256: str
    warnings: tuple[str, ...] = ()
    kept_sha256: str | None = None


class Reader(Protocol):
    """Raises `FormatError` for a file it cannot read and `VerificationError` for a signature that does not hold."""

    @property
    def name(self) -> str: ...

    def recognizes(self, view: View) -> bool: ...

    def read(self, view: View, content: View | None = None) -> Reading:
        """``content``: what a detached signature speaks about (then ``view`` is the signature); None otherwise."""
        ...


#: Codes of `VerificationError` for a signature that stands for nothing alone and is a warning beside another one.
NOT_COUNTED = frozenset({"weak-digest", "unsigned-entries"})


@runtime_checkable
class Keeper(Protocol):
    """What the `Reader` of archives offers besides."""

    def read_members(self, view: View, signed: Collection[str]) -> Reading:
        """As `Reader.read`, of an archive whose members at the paths ``signed`` are signed, also where these lead into
        archives that are signed themselves. ``kept_sha256`` is of every byte of all other members.
        """
        ...


@runtime_checkable
class Stripper(Protocol):
    """What a `Reader` may offer besides: the strip digest of a file whose signatures do not hold, or are too weak to
    count. Such a file may be signed all the same, with its old signatures replaced or left where they are.
    """

    def stripped(self, view: View) -> str:
        """``Reading.stripped_sha256``; raises `FormatError` for a file that cannot be read."""
        ...
