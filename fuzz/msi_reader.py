# SPDX-License-Identifier: Apache-2.0
"""The MSI reader, which shares nothing with the writer."""

from __future__ import annotations

from signwright.model.view import BytesView
from signwright.readers.msi import MsiReader


def one_input(data: bytes) -> None:
    view, reader = BytesView(data), MsiReader()
    reader.recognizes(view)
    reader.read(view)
