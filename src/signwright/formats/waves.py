# SPDX-License-Identifier: Apache-2.0
"""Drive a format through its waves: prepare, have the operations signed, embed, and again until it is final."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from signwright.errors import FormatError
from signwright.formats.base import Format, FormatOptions, Prepared
from signwright.model.operation import MAX_WAVES
from signwright.model.patch import Patch, Patched, compose, sealed
from signwright.model.view import View

#: One envelope for each operation of a wave, in order. ``wave`` counts from 0.
Sign = Callable[[int, Prepared], Sequence[bytes]]


def sign_in_waves(one: Format, view: View, *, chain: Sequence[bytes], options: FormatOptions, sign: Sign) -> Patch:
    """The sealed patch from ``view`` to the finished artifact.

    Raises `FormatError` for a format that never becomes final, names no operation, changes its mind about an operation
    of an earlier wave, or whose embedding does not continue what it prepared; whatever ``sign`` raises passes through.
    """
    patch: Patch | None = None
    signed: set[str] = set()
    for wave in range(MAX_WAVES):
        current = view if patch is None else Patched(view, patch)
        prepared = one.prepare(current, chain, options)
        check_prepared(one, prepared, current)
        signed = _with_new(one, prepared, signed)
        envelopes = sign(wave, prepared)
        if len(envelopes) != len(prepared.operations):
            raise FormatError(f"{one.name}: {len(prepared.operations)} envelopes wanted, {len(envelopes)} came")
        step = sealed(current, one.embed(prepared, envelopes))
        if step.source_sha256 != prepared.source_sha256:
            raise FormatError(f"{one.name}: embedded into another content than it prepared")
        patch = step if patch is None else compose(patch, step)
        if prepared.final:
            return patch
    raise FormatError(f"{one.name}: not final after {MAX_WAVES} waves", code="too-many-waves")


def check_prepared(one: Format, prepared: Prepared, view: View) -> None:
    """What must hold of every wave; raises `FormatError`."""
    if prepared.format != one.name or prepared.source_size != view.size:
        raise FormatError(f"{one.name}: prepared for another artifact")
    if not prepared.operations:
        raise FormatError(f"{one.name}: a wave without an operation", code="empty-wave")


def _with_new(one: Format, prepared: Prepared, signed: set[str]) -> set[str]:
    """``signed`` and the operations of this wave, without their digest values.

    What an earlier wave had signed stands in the file; asked for again, one of the two signatures would be wrong.
    """
    named: set[str] = set()
    for operation in prepared.operations:
        algorithm = operation.content_digest.algorithm
        named.add(operation.model_copy(update={"digest": algorithm}).model_dump_json())
        if not named.isdisjoint(signed):
            where = operation.inner_path or "the artifact itself"
            raise FormatError(f"{one.name}: {where} is to be signed again by a later wave", code="repeated-operation")
    return signed | named
