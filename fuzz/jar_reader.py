# SPDX-License-Identifier: Apache-2.0
"""The JAR reader, which shares nothing with the writer."""

from __future__ import annotations

from signwright.model.view import BytesView
from signwright.readers.jar import JarReader


def one_input(data: bytes) -> None:
    view, reader = BytesView(data), JarReader()
    reader.recognizes(view)
    reader.stripped(view)
    reader.read(view)
