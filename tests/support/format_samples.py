# SPDX-License-Identifier: Apache-2.0
"""A small genuine unsigned file of every format: one line each, made in the format's own ``tests/support`` module."""

from __future__ import annotations

from collections.abc import Callable

from tests.support.pe_builder import compact_pe
from tests.support.whole_files import some_text

#: Format name → bytes of a file that the format signs with its default options. Each call gives the same bytes.
SAMPLES: dict[str, Callable[[], bytes]] = {
    "cms": some_text,
    "pe": compact_pe,
    "raw": some_text,
}
