# SPDX-License-Identifier: Apache-2.0
"""Every way to sign that this installation knows: the visible table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from signwright.envelopes.authenticode import Authenticode, AuthenticodePackage, AuthenticodePages
from signwright.envelopes.base import Template
from signwright.envelopes.catalog import Catalog
from signwright.envelopes.detached import CmsDetached
from signwright.envelopes.indirect_data import KINDS, PACKAGE_KINDS
from signwright.envelopes.jar import Jar
from signwright.envelopes.nuget import NuGet
from signwright.envelopes.raw import Raw
from signwright.errors import MalformedError


def table(templates: Iterable[Template]) -> Mapping[str, Template]:
    """Read-only name → template; a second template with a name is a programming error and raises `ValueError`."""
    found: dict[str, Template] = {}
    for template in templates:
        if template.name in found:
            raise ValueError(f"two templates are named {template.name!r}")
        found[template.name] = template
    return MappingProxyType(found)


_AUTHENTICODE: tuple[Template, ...] = (AuthenticodePages(), *map(AuthenticodePackage, PACKAGE_KINDS), Catalog())
TEMPLATES = table((*map(Authenticode, KINDS), *_AUTHENTICODE, CmsDetached(), Jar(), NuGet(), Raw()))


def template_named(name: str) -> Template:
    """The template, or `MalformedError`."""
    if name not in TEMPLATES:
        raise MalformedError(f"no template {name!r}; known: {', '.join(sorted(TEMPLATES))}", code="unknown-template")
    return TEMPLATES[name]
