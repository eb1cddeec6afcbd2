# SPDX-License-Identifier: Apache-2.0
"""Every kind of container that is looked into: the visible table, and the search for all of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from signwright.containers.base import Container, Place
from signwright.containers.cab import CabContainer
from signwright.containers.cfb_archive import CfbContainer
from signwright.containers.zip import ZipContainer
from signwright.errors import FormatError
from signwright.model.view import View

#: Archives in the middle of one file that are opened.
MAX_EMBEDDED = 256


def table(containers: Iterable[Container]) -> Mapping[str, Container]:
    """Read-only kind → container; a second one of a kind is a programming error and raises `ValueError`."""
    found: dict[str, Container] = {}
    for one in containers:
        if one.kind in found:
            raise ValueError(f"two containers are of the kind {one.kind!r}")
        found[one.kind] = one
    return MappingProxyType(found)


CONTAINERS = table(
    (
        ZipContainer(),
        CabContainer(),
        CfbContainer(),
    )
)


def container_of(kind: str) -> Container:
    """The container, or `FormatError`."""
    if kind not in CONTAINERS:
        raise FormatError(f"no container {kind[:60]!r}", code="unknown-container")
    return CONTAINERS[kind]


def claimed(view: View) -> list[Place]:
    """What ``view`` is, or ends with, in the order of their marks: more than one place for a file that two programs
    read differently.
    """
    found = [one.claims(view) for one in CONTAINERS.values()]
    return sorted((place for place in found if place is not None), key=lambda place: place.mark)


def embedded(view: View, first: int, last: int) -> list[Place]:
    """Archives whose mark begins between ``first`` and ``last``, the outermost before those within it."""
    found = [place for one in CONTAINERS.values() for place in one.places(view, first, last)]
    return sorted(found, key=lambda place: (-place.end, place.mark))


def uncovered(covered: Sequence[tuple[int, int]], size: int) -> list[tuple[int, int]]:
    """The parts of a file of ``size`` bytes that no range of ``covered`` explains, in order."""
    parts, at = [], 0
    for start, end in [*sorted(covered), (size, size)]:
        if start > at:
            parts.append((at, start))
        at = max(at, end)
    return parts


def is_covered(covered: Sequence[tuple[int, int]], offset: int) -> bool:
    """Whether the byte at ``offset`` belongs to one of the ranges."""
    return any(start <= offset < end for start, end in covered)
