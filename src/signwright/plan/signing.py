# SPDX-License-Identifier: Apache-2.0
"""Prepare and embed an artifact as its rule wants it: by its format alone, or with its members.

This is what clients and workers call in place of a format's own methods. Everything raises `FormatError`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from signwright.errors import FormatError, LimitError
from signwright.formats.base import Format, FormatOptions, Prepared
from signwright.formats.registry import format_named
from signwright.formats.zip import ZipFormat
from signwright.model.patch import Patch
from signwright.model.view import View
from signwright.plan.archive import embed_archive, prepare_archive
from signwright.plan.contents import Room, check_contents
from signwright.policy.documents import Inside, MemberRule

#: Nothing is said about members.
NOTHING_INSIDE = Inside()


def prepare(one: Format, view: View, chain: Sequence[bytes], options: FormatOptions, inside: Inside) -> Prepared:
    """As `signwright.formats.base.Format.prepare`, with the members treated as ``inside`` says."""
    if not inside.members:
        return one.prepare(view, chain, options)
    prepared = _prepare(one, view, chain, options=options, inside=inside, room=Room(view.size), depth=0)
    try:
        prepared.pack()
    except LimitError as problem:
        raise FormatError(problem.message, code=problem.code) from problem
    return prepared


def _prepare(
    one: Format, view: View, chain: Sequence[bytes], *, options: FormatOptions, inside: Inside, room: Room, depth: int
) -> Prepared:
    if not inside.members:
        return one.prepare(view, chain, options)
    if one.name != ZipFormat.name:
        check_contents(view, inside, room, one.name, depth)
        return one.prepare(view, chain, options)

    def member(content: View, rule: MemberRule, chosen: Format, given: dict[str, Any], deep: int) -> Prepared:
        try:
            typed = chosen.options.model_validate(given)
        except ValidationError as problem:
            first = problem.errors(include_url=False)[0]
            where = ".".join(map(str, first["loc"]))
            raise FormatError(f"option {where} of format {chosen.name}: {first['msg']}", code="bad-options") from None
        return _prepare(chosen, content, chain, options=typed, inside=rule, room=room, depth=deep)

    return prepare_archive(view, inside, prepare=member, room=room, depth=depth)


def embed(one: Format, view: View, prepared: Prepared, envelopes: Sequence[bytes]) -> Patch:
    """As `signwright.formats.base.Format.embed`. ``view``: what was prepared."""
    if one.name == ZipFormat.name:
        return embed_archive(view, prepared, envelopes, embed=_embed_member)
    return one.embed(prepared, envelopes)


def _embed_member(view: View, prepared: Prepared, envelopes: Sequence[bytes]) -> Patch:
    return embed(format_named(prepared.format), view, prepared, envelopes)
