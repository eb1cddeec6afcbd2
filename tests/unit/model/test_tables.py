# SPDX-License-Identifier: Apache-2.0
"""Visible tables: each name once, and nobody writes into them."""

from __future__ import annotations

import pytest

from signwright.model.tables import table


def test_rows_stand_under_their_names_in_their_order() -> None:
    found = table("words", ["b", "a"], str.upper)
    assert list(found.items()) == [("B", "b"), ("A", "a")]
    with pytest.raises(TypeError):
        found["C"] = "c"  # type: ignore[index]


def test_second_row_with_a_name_is_an_error() -> None:
    with pytest.raises(ValueError, match="two words are named 'A'"):
        table("words", ["a", "a"], str.upper)
