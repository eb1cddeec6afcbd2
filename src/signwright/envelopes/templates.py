# SPDX-License-Identifier: Apache-2.0
"""Every way to sign that this installation knows: the visible table."""

from __future__ import annotations

from signwright.envelopes.authenticode import Authenticode, AuthenticodePackage, AuthenticodePages
from signwright.envelopes.base import Template
from signwright.envelopes.catalog import Catalog
from signwright.envelopes.detached import CmsDetached
from signwright.envelopes.indirect_data import KINDS, PACKAGE_KINDS
from signwright.envelopes.jar import Jar
from signwright.envelopes.nuget import NuGet
from signwright.envelopes.raw import Raw
from signwright.errors import MalformedError
from signwright.model.tables import table

_AUTHENTICODE: tuple[Template, ...] = (AuthenticodePages(), *map(AuthenticodePackage, PACKAGE_KINDS), Catalog())
_ROWS = (*map(Authenticode, KINDS), *_AUTHENTICODE, CmsDetached(), Jar(), NuGet(), Raw())
TEMPLATES = table("templates", _ROWS, lambda row: row.name)


def template_named(name: str) -> Template:
    """The template, or `MalformedError`."""
    if name not in TEMPLATES:
        raise MalformedError(f"no template {name!r}; known: {', '.join(sorted(TEMPLATES))}", code="unknown-template")
    return TEMPLATES[name]
