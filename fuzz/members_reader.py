# SPDX-License-Identifier: Apache-2.0
"""The reader of zips with signed members, which shares nothing with the writer."""

from __future__ import annotations

from signwright.model.text import first_bad_character
from signwright.model.view import BytesView
from signwright.readers.registry import READERS


def one_input(data: bytes) -> None:
    view, reader = BytesView(data), READERS["zip"]
    reader.recognizes(view)
    reading = reader.read(view)
    shown = (*reading.warnings, *(one.inner_path for one in reading.signatures))
    assert all(len(text) <= 1024 and first_bad_character(text) is None for text in shown)
    assert all(one.inner_path for one in reading.signatures)
