# SPDX-License-Identifier: Apache-2.0
"""The contract of a format.

A format works in waves: ``prepare`` names the operations it can name now, ``embed`` turns their envelopes into a patch.
While a digest depends on an earlier signature, ``Prepared.final`` is false and ``prepare`` runs again on
``Patched(view, patch)``; `signwright.formats.waves` drives this and composes the patches.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from pydantic import Field

from signwright.model.operation import Many, Name, Operation, Parameter, Strict
from signwright.model.patch import Patch
from signwright.model.view import View

MAX_PREPARED = 1 << 20


class FormatOptions(Strict):
    """Typed options of a format, declared once for command line, API and policy. Every field has a default."""


class Prepared(Strict):
    """Everything ``embed`` needs, as plain data: it crosses processes (JSON, at most `MAX_PREPARED` bytes).

    ``source_sha256``: of the bytes that ``prepare`` read; ``facts``: what a policy may look at (product name,
    subsystem);
    ``state``: private to the format.
    """

    format: Name
    source_sha256: str
    source_size: int = Field(ge=0)
    operations: Many[Operation]
    final: bool = True
    facts: dict[Name, Parameter] = Field(default_factory=dict)
    state: dict[str, Any] = Field(default_factory=dict)


class Format(Protocol):
    """One kind of file.

    ``name``: as in requests and policies (``pe``); ``title``: for people; ``purpose``: of the keys that may sign it;
    ``options``: its `FormatOptions`; ``digest_mode``: whether one wave of direct operations is enough, so that the
    file can stay with the client; ``file_names``: shell patterns of the names that such files have, ``*`` where the
    content alone tells; ``detached_suffix``: "" for an embedded signature, else what is appended to the file's name
    (the patch then replaces the whole content by the envelope); ``verifiers``: outside programs that accept the result.
    Methods raise `FormatError` and nothing else, for any input.
    """

    @property
    def name(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def purpose(self) -> str: ...
    @property
    def options(self) -> type[FormatOptions]: ...
    @property
    def digest_mode(self) -> bool: ...
    @property
    def file_names(self) -> tuple[str, ...]: ...
    @property
    def detached_suffix(self) -> str: ...
    @property
    def verifiers(self) -> tuple[str, ...]: ...

    def recognizes(self, view: View) -> bool:
        """By content, never by name; cheap (reads the head)."""
        ...

    def prepare(self, view: View, chain: Sequence[bytes], options: FormatOptions) -> Prepared:
        """Read ``view`` once. ``chain``: DER certificates, leaf first, may be empty where the format does not care."""
        ...

    def embed(self, prepared: Prepared, envelopes: Sequence[bytes]) -> Patch:
        """One envelope per operation, in order. The patch's ``result_sha256`` is empty;
        `signwright.model.patch.sealed` fills it.
        """
        ...

    def remove(self, view: View) -> Patch:
        """From a signed file to one without signatures, not sealed. `FormatError` (``not-signed``) when there is none
        inside.
        """
        ...
