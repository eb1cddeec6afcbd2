# SPDX-License-Identifier: Apache-2.0
"""The catalog reader, which shares nothing with the writer."""

from __future__ import annotations

from signwright.model.view import BytesView
from signwright.readers.catalog import CatalogReader


def one_input(data: bytes) -> None:
    view, reader = BytesView(data), CatalogReader()
    reader.recognizes(view)
    reader.read(view)
