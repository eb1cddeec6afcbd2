# SPDX-License-Identifier: Apache-2.0
"""Text that a person will read before they sign: nothing in it may move the cursor or reorder what stands on the
screen.
"""

from __future__ import annotations

import unicodedata

from signwright.errors import MalformedError

#: Unicode categories that never stand in signed text: control, format (bidi, zero width), surrogate, private use,
#: line and
#: paragraph separators.
_REFUSED = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})


def first_bad_character(text: str) -> int | None:
    """Index of the first character that must not stand in signed text, or None."""
    if text.isascii():
        return None if text.isprintable() else next(i for i, c in enumerate(text) if not c.isprintable())
    return next((i for i, c in enumerate(text) if unicodedata.category(c) in _REFUSED), None)


def check_text(text: str, where: str) -> str:
    """Return ``text`` or raise `MalformedError` naming ``where``, the position and the code point."""
    at = first_bad_character(text)
    if at is not None:
        raise MalformedError(
            f"{where}: character U+{ord(text[at]):04X} at position {at} is not allowed (control, bidi or invisible)",
            code="bad-text",
        )
    return text
