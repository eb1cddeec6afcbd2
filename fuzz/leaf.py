# SPDX-License-Identifier: Apache-2.0
"""Leaves of the log."""

from __future__ import annotations

from signwright.errors import LimitError, MalformedError
from signwright.transparency.leaf import parse_leaf


def one_input(data: bytes) -> None:
    """A leaf that is read has exactly one written form."""
    try:
        leaf = parse_leaf(data)
    except (MalformedError, LimitError):
        return
    if leaf.encode() != data:
        raise AssertionError(f"{data!r} was read, {leaf.encode()!r} was written")
