# SPDX-License-Identifier: Apache-2.0
"""The contract of a format.

A format works in waves: ``prepare`` names the operations it can name now, ``embed`` turns their envelopes into a patch.
While a digest depends on an earlier signature, ``Prepared.later`` has its operation, and ``prepare`` runs again on
``Patched(view, patch)``; `signwright.formats.waves` drives this and composes the patches.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Protocol

from pydantic import Field, PrivateAttr, StringConstraints

from signwright.envelopes.base import MAX_SEEN
from signwright.envelopes.templates import template_named
from signwright.errors import LimitError, MalformedError
from signwright.model.operation import DerivedOperation, Many, Name, Operation, Parameter, Strict
from signwright.model.patch import Patch
from signwright.model.view import View

MAX_PREPARED = 1 << 20
#: Contents and tables of a `Prepared`, in bytes in all and in number.
MAX_BESIDE, MAX_BESIDE_PARTS = MAX_SEEN, 256


class FormatOptions(Strict):
    """Typed options of a format, declared once for command line, API and policy. Every field has a default."""


class PreparedMember(Strict):
    """A member that is to be signed: ``facts`` as in `Prepared`."""

    path: Annotated[str, StringConstraints(min_length=1, max_length=1024)]
    format: Name
    facts: dict[Name, Parameter] = Field(default_factory=dict)


class Prepared(Strict):
    """Everything ``embed`` needs, as plain data: it crosses processes (JSON, at most `MAX_PREPARED` bytes).

    ``source_sha256``: of the bytes that ``prepare`` read; ``later``: operations of later waves, counted from this one;
    ``facts``: what a policy may look at (product name,
    subsystem); ``members``: of a container, those that are to be signed;
    ``state``: private to the format. Beside the JSON travel ``contents``, one for each operation whose content its
    template must see, in order, and ``tables``, private to the format as well; together at most `MAX_BESIDE` bytes.
    """

    format: Name
    source_sha256: str
    source_size: int = Field(ge=0)
    operations: Many[Operation]
    later: Many[DerivedOperation] = ()
    facts: dict[Name, Parameter] = Field(default_factory=dict)
    members: Many[PreparedMember] = ()
    state: dict[str, Any] = Field(default_factory=dict)
    _contents: tuple[bytes, ...] = PrivateAttr(default=())
    _tables: tuple[bytes, ...] = PrivateAttr(default=())

    @property
    def final(self) -> bool:
        return not self.later

    @property
    def contents(self) -> tuple[bytes, ...]:
        return self._contents

    @property
    def tables(self) -> tuple[bytes, ...]:
        return self._tables

    def beside(self, *, contents: Sequence[bytes] = (), tables: Sequence[bytes] = ()) -> Prepared:
        """The same with these contents and tables."""
        copy = self.model_copy()
        copy._contents, copy._tables = tuple(contents), tuple(tables)  # noqa: SLF001 - of the same class
        return copy

    def pack(self) -> tuple[bytes, ...]:
        """JSON, then what travels beside it; raises `LimitError`."""
        text = self.model_dump_json().encode()
        if len(text) > MAX_PREPARED:
            raise LimitError(
                f"the format prepared {len(text)} bytes of facts, at most {MAX_PREPARED}", code="too-large"
            )
        parts = (text, *self.contents, *self.tables)
        _check_beside(parts)
        return parts

    @classmethod
    def unpack(cls, parts: Sequence[bytes]) -> Prepared:
        """`pack` back; ``contents`` are told from ``tables`` by the operations. Raises `LimitError`, `MalformedError`
        and pydantic's `ValidationError`.
        """
        if not parts or len(parts[0]) > MAX_PREPARED:
            raise LimitError("a format prepared nothing, or too much", code="too-large")
        _check_beside(parts)
        prepared = cls.model_validate_json(parts[0])
        count = sum(template_named(o.template).check_content is not None for o in prepared.operations)
        if len(parts) - 1 < count:
            raise MalformedError("an operation came without the content that must be seen", code="bad-state")
        return prepared.beside(contents=parts[1 : 1 + count], tables=parts[1 + count :])


def _check_beside(parts: Sequence[bytes]) -> None:
    if sum(map(len, parts[1:])) > MAX_BESIDE or len(parts) - 1 > MAX_BESIDE_PARTS:
        raise LimitError(f"more than {MAX_BESIDE} bytes, or {MAX_BESIDE_PARTS} parts, beside what a format prepared")


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
