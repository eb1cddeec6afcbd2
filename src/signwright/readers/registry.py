# SPDX-License-Identifier: Apache-2.0
"""Every independent reader: the visible table. Names are those of the formats."""

from __future__ import annotations

from signwright.errors import FormatError
from signwright.model.tables import table
from signwright.model.view import View
from signwright.readers.base import Reader
from signwright.readers.cab import CabReader
from signwright.readers.catalog import CatalogReader
from signwright.readers.detached import CmsReader
from signwright.readers.jar import JarReader
from signwright.readers.members import ZipReader
from signwright.readers.msi import MsiReader
from signwright.readers.msix import MsixReader
from signwright.readers.nuget import NuGetReader
from signwright.readers.pe import PeReader
from signwright.readers.raw import RawReader
from signwright.readers.scripts import JSCRIPT, POWERSHELL, VBSCRIPT, WSF

#: ``raw`` stands here without a key, which it needs: take ``RawReader(public_key)``.
_ROWS: tuple[Reader, ...] = (
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
#: Those that find a signature inside a file, which may be a member of a zip.
_INSIDE = tuple(row for row in _ROWS if row.name not in ("cms", "raw"))
READERS = table("readers", (*_ROWS, ZipReader(_INSIDE)), lambda row: row.name)


def reader_named(name: str) -> Reader:
    """The reader, or `FormatError`."""
    if name not in READERS:
        raise FormatError(f"no reader {name[:60]!r}; known: {', '.join(sorted(READERS))}", code="unknown-format")
    return READERS[name]


def recognize(view: View) -> Reader | None:
    """The reader whose signed files look like this, by content; None when there is none."""
    return next((one for one in READERS.values() if one.recognizes(view)), None)
