# SPDX-License-Identifier: Apache-2.0
"""Text that people read before they sign."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signwright.errors import MalformedError
from signwright.model.text import check_text, first_bad_character

REFUSED = {
    "escape": "\x1b[2J",
    "newline": "a\nb",
    "delete": "\x7f",
    "right-to-left override": "a\u202eb",
    "zero width joiner": "a\u200db",
    "byte order mark": "\ufeffa",
    "lone surrogate": "\ud800",
    "private use": "\ue000",
    "unassigned": "\U00018d09",
    "line separator": "\u2028",
    "Hangul filler": "\u3164",
    "variation selector": "a\ufe0f",
}


@pytest.mark.parametrize("text", REFUSED.values(), ids=REFUSED.keys())
def test_text_that_moves_hides_or_means_nothing_is_refused(text: str) -> None:
    with pytest.raises(MalformedError) as problem:
        check_text(text, "name")
    assert problem.value.code == "bad-text"


@pytest.mark.parametrize("text", ["setup.exe", "Über Größe", "日本語", "עברית", "naïve — “quoted”", "🔏"])
def test_words_of_any_language_are_taken(text: str) -> None:
    assert check_text(text, "name") == text


@given(st.text(max_size=40))
def test_whatever_is_taken_can_be_printed(text: str) -> None:
    if first_bad_character(text) is None:
        assert text.replace("\u3000", " ").replace("\xa0", " ").isprintable() or any(c.isspace() for c in text)


@pytest.mark.parametrize(("text", "at"), [("ab\x07", 2), ("\x07", 0), ("äb\u202e", 2), ("ab", None), ("äb", None)])
def test_place_of_a_bad_character_is_told(text: str, at: int | None) -> None:
    assert first_bad_character(text) == at
