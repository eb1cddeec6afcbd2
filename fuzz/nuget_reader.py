# SPDX-License-Identifier: Apache-2.0
"""The NuGet reader, which shares nothing with the writer."""

from __future__ import annotations

from signwright.model.view import BytesView
from signwright.readers.nuget import NuGetReader


def one_input(data: bytes) -> None:
    view, reader = BytesView(data), NuGetReader()
    reader.recognizes(view)
    reader.read(view)
