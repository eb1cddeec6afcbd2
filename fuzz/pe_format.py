# SPDX-License-Identifier: Apache-2.0
"""The PE writer: a file it prepares can be signed, prepared again with the same image digest (strip test), and cleared
of its signature; page hashes that it writes are those that the reader wants.
"""

from __future__ import annotations

from signwright.errors import FormatError, SignwrightError
from signwright.formats.authenticode import Existing
from signwright.formats.base import Prepared
from signwright.formats.pe import PeFormat, PeOptions
from signwright.formats.pe_layout import read_layout
from signwright.formats.pe_pages import PageHashes
from signwright.model.patch import Patched, sealed
from signwright.model.view import BytesView
from signwright.readers.pe import PeReader
from signwright.readers.pe_pages import Place, check_pages

OPTIONS = PeOptions(existing=Existing.REPLACE)
# Shaped like an envelope; whether its content holds is the business of the one who made it.
ENVELOPE = bytes.fromhex("3012 0609 2a864886f70d010702 a005 3003 020101".replace(" ", ""))


def one_input(data: bytes) -> None:
    view, pe = BytesView(data), PeFormat()
    if not pe.recognizes(view):
        return
    prepared = pe.prepare(view, (), OPTIONS)
    try:
        _sign_and_prepare_again(view, prepared)
    except SignwrightError as problem:
        raise AssertionError("what was prepared cannot be signed, or not removed") from problem
    _check_pages(view)


def _sign_and_prepare_again(view: BytesView, prepared: Prepared) -> None:
    pe = PeFormat()
    patch = sealed(view, pe.embed(prepared, (ENVELOPE,)))
    signed = Patched(view, patch)
    again = pe.prepare(signed, (), OPTIONS)
    assert again.operations == prepared.operations
    assert PeReader().recognizes(signed)
    cleared = Patched(signed, sealed(signed, pe.remove(signed)))
    assert pe.prepare(cleared, (), OPTIONS).operations == prepared.operations


def _check_pages(view: BytesView) -> None:
    layout = read_layout(view)
    try:
        pages = PageHashes(layout)
    except FormatError:
        return
    pages.take(memoryview(view.read(0, view.size)), 0)
    place = Place(layout.checksum_offset - 84, layout.checksum_offset, layout.security_offset, layout.content_end)
    try:
        check_pages(view, pages.table(), place)
    except SignwrightError as problem:
        raise AssertionError("the reader wants other page hashes") from problem
