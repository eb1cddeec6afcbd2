# SPDX-License-Identifier: Apache-2.0
"""The PE reader, which shares nothing with the writer."""

from __future__ import annotations

from signwright.model.view import BytesView
from signwright.readers.pe import PeReader


def one_input(data: bytes) -> None:
    view, reader = BytesView(data), PeReader()
    reader.recognizes(view)
    reader.read(view)
