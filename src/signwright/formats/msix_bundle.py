# SPDX-License-Identifier: Apache-2.0
"""Bundles: packages for several machines and languages in one, each signed before the bundle is.

Source: "Bundle manifest" (Microsoft). The packages stand unpacked in the zip, where the manifest says; their bytes are
covered by their own signatures, not by the bundle's block map.
"""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import unquote

from signwright.containers.zip import Member, listed_names
from signwright.errors import FormatError, SignwrightError
from signwright.formats.msix_package import BUNDLE_MANIFEST, CONTENT_TYPES, LIMITS, Package
from signwright.formats.msix_parts import bundled_packages
from signwright.model.view import View, Window
from signwright.readers.msix import MsixReader

SUFFIXES = (".appx", ".msix")


def check_bundled(package: Package, view: View) -> Collection[str]:
    """Names of the members that are packages; none of a package that is no bundle.

    Raises `FormatError` unless each stands where the manifest says and has a signature that holds, of its own
    publisher's certificate, and with the bundle's publisher.
    """
    if not package.is_bundle:
        return frozenset()
    listed = bundled_packages(package.part(BUNDLE_MANIFEST))
    waiting = dict(listed.places)
    found: set[str] = set()
    for member in package.archive.members:
        place = waiting.pop(unquote(member.name).replace("/", "\\"), None)
        if place is None:
            if member.name.lower().endswith(SUFFIXES):
                raise _refuse(member, "the bundle's manifest does not list it", "bad-bundle")
            continue
        if place != (member.start, member.size) or member.method:
            raise _refuse(member, "it is packed, or not where the bundle's manifest says", "bad-bundle")
        if member.header > package.by_name[CONTENT_TYPES].header:
            raise _refuse(member, f"it stands behind {CONTENT_TYPES}, which grows when signed", "bad-bundle")
        _check_signed(member, view, listed.publisher)
        found.add(member.name)
    if waiting or not found:
        raise FormatError(
            f"the bundle's manifest lists {min(waiting, default='nothing')[:80]}, which is not in it; bundles whose "
            "packages stand beside them are not signed here",
            code="bad-bundle",
        )
    return found


def _check_signed(member: Member, view: View, publisher: str) -> None:
    inner = Window(view, member.start, member.size)
    try:
        signatures = () if BUNDLE_MANIFEST in listed_names(inner, LIMITS) else MsixReader().read(inner).signatures
    except SignwrightError as problem:
        raise _refuse(member, problem.message, "inner-signature") from problem
    if not signatures:
        raise _refuse(member, "it is no signed package; packages are signed before their bundle", "inner-signature")
    if any(one.notes.get("publisher") != publisher for one in signatures):
        raise _refuse(member, "it is of another publisher than the bundle", "inner-signature")


def _refuse(member: Member, found: str, code: str) -> FormatError:
    return FormatError(f"{member.name[:80]} in the bundle: {found}", offset=member.header, code=code)
