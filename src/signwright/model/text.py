# SPDX-License-Identifier: Apache-2.0
"""Text that a person will read before they sign: nothing in it may move the cursor or reorder what stands on the
screen.
"""

from __future__ import annotations

import unicodedata

from signwright.errors import MalformedError

#: Unicode categories that never stand in signed text: control, format (bidi, zero width), surrogate, private use,
#: unassigned (what a later Unicode makes of them is not known), line and paragraph separators.
_REFUSED = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
#: Letters, marks and symbols that show nothing (Unicode: Default_Ignorable_Code_Point; and the empty Braille cell).
_UNSEEN = frozenset(map(chr, (0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2800, 0x3164, 0xFFA0))) | frozenset(
    chr(c) for first, last in ((0x180B, 0x180F), (0xFE00, 0xFE0F), (0xE0100, 0xE01EF)) for c in range(first, last + 1)
)


def first_bad_character(text: str) -> int | None:
    """Index of the first character that must not stand in signed text, or None."""
    if text.isascii():
        return None if text.isprintable() else next(i for i, c in enumerate(text) if not c.isprintable())
    return next((i for i, c in enumerate(text) if c in _UNSEEN or unicodedata.category(c) in _REFUSED), None)


def check_text(text: str, where: str) -> str:
    """Return ``text`` or raise `MalformedError` naming ``where``, the position and the code point."""
    at = first_bad_character(text)
    if at is not None:
        raise MalformedError(
            f"{where}: character U+{ord(text[at]):04X} at position {at} is not allowed (control, bidi or invisible)",
            code="bad-text",
        )
    return text
