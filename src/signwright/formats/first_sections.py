# SPDX-License-Identifier: Apache-2.0
"""Text that is the signed text of another purpose, told by its first two sections while the content streams past.

Signature files of JARs and the signed text of NuGet packages are lines ``name: value`` in sections that end with an
empty line; what makes them such may stand anywhere in the first section, behind lines of no matter (JAR File
Specification, "Signature File"; NuGet's reader takes further properties as well). Lines end with CRLF, LF or CR.
"""

from __future__ import annotations

import re

_EMPTY_LINE = re.compile(rb"\r\n\r\n|\n\r?\n|\r\r")
_BLANK = b"\xef\xbb\xbf \t\v\f"
#: Longer than any name with what may stand around it, so that nothing is missed where two blocks meet.
_OVERLAP = 256


class FirstSections:
    """Fed with every block of a content, in order; ``purpose`` says afterwards what it is, or None."""

    def __init__(self) -> None:
        self.purpose: str | None = None
        self._rest = b""
        self._section = 0
        self._is_package = False
        self._begun = False

    def take(self, block: bytes | memoryview) -> None:
        """Costs next to nothing once two sections have ended."""
        if self._section > 1 or self.purpose is not None:
            return
        text = self._rest + bytes(block)
        if not self._begun:
            text = text.lstrip(_BLANK + b"\r\n")
            self._begun = bool(text)
            text = b"\n" + text if text else b""
        while self._section < 2:
            end = _EMPTY_LINE.search(text)
            self._look((text[: end.start()] if end else text).lower())
            if end is None:
                self._rest = text[-_OVERLAP:]
                return
            self._section += 1
            text = b"\n" + text[end.end() :]

    def _look(self, section: bytes) -> None:
        if self._section == 0:
            if _has_line(section, b"signature-version"):
                self.purpose = "a JAR signature file (.SF)"
            self._is_package = self._is_package or _has_line(section, b"version")
        elif self._is_package and b"-hash:" in section:
            self.purpose = "NuGet signature content"


def _has_line(section: bytes, name: bytes) -> bool:
    """A line that begins with ``name`` and a colon, whatever blanks stand around the name."""
    at = section.find(name)
    while at >= 0:
        before, after = section[max(at - 64, 0) : at].rstrip(_BLANK), section[at + len(name) : at + len(name) + 64]
        if before[-1:] in (b"\r", b"\n") and after.lstrip(_BLANK)[:1] == b":":
            return True
        at = section.find(name, at + 1)
    return False
