# SPDX-License-Identifier: Apache-2.0
"""A part of an artifact as an artifact of its own: a file that stands unpacked in another."""

from __future__ import annotations

from signwright.model.view import View, check_range


class Section:
    """``size`` bytes of another view from ``start`` on. Raises `FormatError` where they are not all inside."""

    def __init__(self, view: View, start: int, size: int) -> None:
        check_range(start, size, view.size)
        self._view, self._start = view, start
        self.size = size

    def read(self, offset: int, length: int) -> bytes:
        check_range(offset, length, self.size)
        return self._view.read(self._start + offset, length)
