# SPDX-License-Identifier: Apache-2.0
"""Every format that this installation can sign: the visible table."""

from __future__ import annotations

from signwright.errors import FormatError
from signwright.formats.base import Format
from signwright.formats.cab import CabFormat
from signwright.formats.catalog import CatalogFormat
from signwright.formats.cms import CmsFormat
from signwright.formats.jar import JarFormat
from signwright.formats.msi import MsiFormat
from signwright.formats.msix import MsixFormat
from signwright.formats.nuget import NuGetFormat
from signwright.formats.pe import PeFormat
from signwright.formats.powershell import POWERSHELL
from signwright.formats.raw import RawFormat
from signwright.formats.windows_script import JSCRIPT, VBSCRIPT, WSF
from signwright.formats.zip import ZipFormat
from signwright.model.tables import table
from signwright.model.view import View

_ROWS: tuple[Format, ...] = (
    PeFormat(),
    CabFormat(),
    CatalogFormat(),
    MsiFormat(),
    MsixFormat(),
    NuGetFormat(),
    JarFormat(),
    CmsFormat(),
    RawFormat(),
    POWERSHELL,
    VBSCRIPT,
    JSCRIPT,
    WSF,
    ZipFormat(),
)
FORMATS = table("formats", _ROWS, lambda row: row.name)


def format_named(name: str) -> Format:
    """The format, or `FormatError`."""
    if name not in FORMATS:
        raise FormatError(f"no format {name[:60]!r}; known: {', '.join(sorted(FORMATS))}", code="unknown-format")
    return FORMATS[name]


def recognize(view: View) -> Format | None:
    """The one format whose files look like this, by content; None when there is none."""
    return next((one for one in FORMATS.values() if one.recognizes(view)), None)
