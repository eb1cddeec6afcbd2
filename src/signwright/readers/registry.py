# SPDX-License-Identifier: Apache-2.0
"""Every independent reader: the visible table. Names are those of the formats."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from signwright.errors import FormatError
from signwright.model.view import View
from signwright.readers.base import Reader
from signwright.readers.cab import CabReader
from signwright.readers.catalog import CatalogReader
from signwright.readers.detached import CmsReader
from signwright.readers.jar import JarReader
from signwright.readers.msi import MsiReader
from signwright.readers.msix import MsixReader
from signwright.readers.nuget import NuGetReader
from signwright.readers.pe import PeReader
from signwright.readers.raw import RawReader
from signwright.readers.scripts import JSCRIPT, POWERSHELL, VBSCRIPT, WSF


def table(readers: Iterable[Reader]) -> Mapping[str, Reader]:
    """Read-only name → reader; a second reader with a name is a programming error and raises `ValueError`."""
    found: dict[str, Reader] = {}
    for one in readers:
        if one.name in found:
            raise ValueError(f"two readers are named {one.name!r}")
        found[one.name] = one
    return MappingProxyType(found)


#: ``raw`` stands here without a key, which it needs: take ``RawReader(public_key)``.
READERS = table(
    (
        PeReader(),
        CabReader(),
        CatalogReader(),
        MsiReader(),
        MsixReader(),
        NuGetReader(),
        JarReader(),
        CmsReader(),
        RawReader(),
        POWERSHELL,
        VBSCRIPT,
        JSCRIPT,
        WSF,
    )
)


def reader_named(name: str) -> Reader:
    """The reader, or `FormatError`."""
    if name not in READERS:
        raise FormatError(f"no reader {name[:60]!r}; known: {', '.join(sorted(READERS))}", code="unknown-format")
    return READERS[name]


def recognize(view: View) -> Reader | None:
    """The reader whose signed files look like this, by content; None when there is none."""
    return next((one for one in READERS.values() if one.recognizes(view)), None)
