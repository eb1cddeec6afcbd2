# SPDX-License-Identifier: Apache-2.0
"""The catalog writer: what it prepares has a list that the keyholder takes, and strips to the same."""

from __future__ import annotations

from signwright.envelopes.base import check_seen
from signwright.envelopes.templates import TEMPLATES
from signwright.formats.authenticode import Existing
from signwright.formats.catalog import CatalogFormat, CatalogOptions
from signwright.model.view import BytesView
from signwright.readers.catalog import CatalogReader

OPTIONS = CatalogOptions(existing=Existing.REPLACE, sha1=True)


def one_input(data: bytes) -> None:
    view, catalog = BytesView(data), CatalogFormat()
    if not catalog.recognizes(view):
        return
    prepared = catalog.prepare(view, (), OPTIONS)
    check_seen(TEMPLATES["authenticode-catalog"], prepared.operations[0], prepared.contents[0])
    CatalogReader().recognizes(view)
