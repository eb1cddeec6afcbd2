# SPDX-License-Identifier: Apache-2.0
"""Characters that nobody sees, in text that somebody reads before they sign."""

from __future__ import annotations

import pytest

from signwright.errors import MalformedError
from signwright.model.text import first_bad_character
from signwright.statements.parse import strict_json

UNSEEN = [0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x180B, 0x2800, 0x3164, 0xFE00, 0xFE0F, 0xFFA0, 0xE0100, 0x200B]


@pytest.mark.parametrize("code", UNSEEN, ids=hex)
def test_character_that_shows_nothing_is_refused(code: int) -> None:
    assert first_bad_character(f"setup{chr(code)}.exe") == 5
    with pytest.raises(MalformedError):
        strict_json(f'{{"setup{chr(code)}.exe":1}}'.encode())


@pytest.mark.parametrize("text", ["setup.exe", "Größe", "日本語 インストーラ", "ру́сский", "हिन्दी", "한국어", "a b"])
def test_text_of_a_language_is_allowed(text: str) -> None:
    assert first_bad_character(text) is None
