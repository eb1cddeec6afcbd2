# SPDX-License-Identifier: Apache-2.0
"""The MSIX reader, which shares nothing with the writer."""

from __future__ import annotations

from signwright.model.view import BytesView
from signwright.readers.msix import MsixReader


def one_input(data: bytes) -> None:
    view, reader = BytesView(data), MsixReader()
    reader.recognizes(view)
    reader.read(view)
