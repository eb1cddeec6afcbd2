# SPDX-License-Identifier: Apache-2.0
"""Prepare and embed an artifact as its rule wants it: by its format alone, or with its members.

This is what clients and workers call in place of a format's own methods. Everything raises `FormatError`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from signwright.errors import FormatError, LimitError
from signwright.formats.base import Format, FormatOptions, Prepared
from signwright.formats.registry import format_named
from signwright.formats.zip import ZipFormat
from signwright.model.patch import Patch
from signwright.model.view import View
from signwright.plan.archive import embed_archive, prepare_archive, prepare_members_again
from signwright.plan.contents import Room, check_contents
from signwright.plan.package import MSIX, check_package, is_bundle
from signwright.policy.documents import Inside, MemberRule

#: Nothing is said about members.
NOTHING_INSIDE = Inside()


#: Formats of archives that are signed themselves, and whose members can be signed before.
SIGNED_ARCHIVES = frozenset({"jar", "nuget", MSIX})


def prepare(one: Format, view: View, chain: Sequence[bytes], options: FormatOptions, inside: Inside) -> Prepared:
    """As `signwright.formats.base.Format.prepare`, with the members treated as ``inside`` says. Where members are to be
    signed it is of format ``zip``, whatever the file is; then ``later`` has what is to be signed after them.
    """
    if not inside.members:
        return one.prepare(view, chain, options)
    found = _packable(_First(chain, Room(view.size)).prepare(one, view, options, inside, depth=0))
    for wave in sorted({one.wave for one in found.later}):
        paths = [one.inner_path for one in found.later if one.wave == wave]
        if paths != [""]:
            # Rehearsed, as everything is before any of it is signed: what goes beyond a limit is told now.
            prepare_again(one, view, chain, options, inside, paths)
    return found


def prepare_again(
    one: Format,
    view: View,
    chain: Sequence[bytes],
    options: FormatOptions,
    inside: Inside,
    paths: Sequence[str],
) -> Prepared:
    """In a later wave: what is to be signed of ``view``, in which everything of earlier waves is. ``paths``: of the
    wave's operations, as `prepare` named them.
    """
    return _packable(_again(one, view, chain, options, inside, paths, Room(view.size)))


def embed(view: View, prepared: Prepared, envelopes: Sequence[bytes]) -> Patch:
    """As `signwright.formats.base.Format.embed`. ``view``: what was prepared."""
    if prepared.format == ZipFormat.name:
        return embed_archive(view, prepared, envelopes, embed=embed)
    return format_named(prepared.format).embed(prepared, envelopes)


@dataclass(frozen=True, slots=True)
class _First:
    """The first wave."""

    chain: Sequence[bytes]
    room: Room

    def prepare(self, one: Format, view: View, options: FormatOptions, inside: Inside, *, depth: int) -> Prepared:
        if not inside.members:
            return one.prepare(view, self.chain, options)
        if one.name == ZipFormat.name:
            return prepare_archive(view, inside, prepare=self._member, room=self.room, depth=depth)
        around = one.prepare(view, self.chain, options)
        if one.name not in SIGNED_ARCHIVES or (one.name == MSIX and is_bundle(view)):
            check_contents(view, inside, self.room, one.name, depth)
            return around
        found = prepare_archive(view, inside, prepare=self._member, room=self.room, depth=depth, around=around)
        if found.later and one.name == MSIX:
            check_package(view)
        if found.later and getattr(options, "existing", "") == "append" and around.facts.get("signed_before", True):
            raise FormatError("old signatures would not hold once members are signed", code="bad-options")
        return found

    def _member(self, content: View, rule: MemberRule, chosen: Format, given: dict[str, Any], deep: int) -> Prepared:
        return self.prepare(chosen, content, _typed(chosen, given), rule, depth=deep)


def _again(
    one: Format,
    view: View,
    chain: Sequence[bytes],
    options: FormatOptions,
    inside: Inside,
    paths: Sequence[str],
    room: Room,
) -> Prepared:
    def member(content: View, rule: MemberRule, chosen: Format, within: Sequence[str]) -> Prepared:
        # With ``append`` nothing comes this far that was signed before, and not every format knows it.
        existing = {"existing": "replace"} if rule.existing == "replace" else {}
        typed = _typed(chosen, {**rule.options, **existing})
        return _again(chosen, content, chain, typed, rule, within, room)

    if list(paths) == [""]:
        return one.prepare(view, chain, options)
    return prepare_members_again(view, inside, paths, one.name, prepare=member, room=room)


def _typed(chosen: Format, given: dict[str, Any]) -> FormatOptions:
    try:
        return chosen.options.model_validate(given)
    except ValidationError as problem:
        first = problem.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise FormatError(f"option {where} of format {chosen.name}: {first['msg']}", code="bad-options") from None


def _packable(prepared: Prepared) -> Prepared:
    """Raises `FormatError` for what could not cross processes."""
    try:
        prepared.pack()
    except LimitError as problem:
        raise FormatError(problem.message, code=problem.code) from problem
    return prepared
