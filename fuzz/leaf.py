# SPDX-License-Identifier: Apache-2.0
"""Leaves of the log, as anybody may find them in a tile."""

from __future__ import annotations

from signwright.transparency.leaf import parse_leaf


def one_input(data: bytes) -> None:
    leaf = parse_leaf(data)
    assert parse_leaf(leaf.encode()) == leaf
