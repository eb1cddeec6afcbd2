# SPDX-License-Identifier: Apache-2.0
"""The cabinet writer: a file it prepares can be signed and prepared again, with the same digest (strip test)."""

from __future__ import annotations

from signwright.errors import SignwrightError
from signwright.formats.authenticode import Existing
from signwright.formats.base import Prepared
from signwright.formats.cab import CabFormat, CabOptions
from signwright.model.patch import Patched, sealed
from signwright.model.view import BytesView
from signwright.readers.cab import CabReader

OPTIONS = CabOptions(existing=Existing.REPLACE)
# Shaped like an envelope; whether its content holds is the business of the one who made it.
ENVELOPE = bytes.fromhex("3012 0609 2a864886f70d010702 a005 3003 020101".replace(" ", ""))


def one_input(data: bytes) -> None:
    view, cab = BytesView(data), CabFormat()
    if not cab.recognizes(view):
        return
    prepared = cab.prepare(view, (), OPTIONS)
    try:
        _sign_prepare_again_and_remove(view, prepared)
    except SignwrightError as problem:
        raise AssertionError("what was prepared cannot be signed") from problem


def _sign_prepare_again_and_remove(view: BytesView, prepared: Prepared) -> None:
    cab = CabFormat()
    patch = sealed(view, cab.embed(prepared, (ENVELOPE,)))
    signed = Patched(view, patch)
    again = cab.prepare(signed, (), OPTIONS)
    assert again.operations == prepared.operations
    assert CabReader().recognizes(signed)
    removed = Patched(signed, sealed(signed, cab.remove(signed)))
    assert cab.prepare(removed, (), OPTIONS).operations == prepared.operations
    CabReader().read(removed)
