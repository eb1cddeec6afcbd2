# SPDX-License-Identifier: Apache-2.0
"""Visible tables: what an installation knows of one sort of thing, each under its one name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import TypeVar

T = TypeVar("T")


def table(what: str, rows: Iterable[T], name: Callable[[T], str]) -> Mapping[str, T]:
    """Read-only name → row; a second row with a name is a programming error and raises `ValueError`. ``what``: the
    rows in the plural, for the message.
    """
    found: dict[str, T] = {}
    for row in rows:
        if name(row) in found:
            raise ValueError(f"two {what} are named {name(row)!r}")
        found[name(row)] = row
    return MappingProxyType(found)
