# SPDX-License-Identifier: Apache-2.0
"""The cabinet reader, which shares nothing with the writer."""

from __future__ import annotations

from signwright.model.view import BytesView
from signwright.readers.cab import CabReader


def one_input(data: bytes) -> None:
    view, reader = BytesView(data), CabReader()
    reader.recognizes(view)
    reader.read(view)
