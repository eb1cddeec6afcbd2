# SPDX-License-Identifier: Apache-2.0
"""The PE writer: a file it prepares can be signed and prepared again, with the same image digest (strip test)."""

from __future__ import annotations

from signwright.errors import SignwrightError
from signwright.formats.authenticode import Existing
from signwright.formats.base import Prepared
from signwright.formats.pe import PeFormat, PeOptions
from signwright.model.patch import Patched, sealed
from signwright.model.view import BytesView
from signwright.readers.pe import PeReader

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
        raise AssertionError("what was prepared cannot be signed") from problem


def _sign_and_prepare_again(view: BytesView, prepared: Prepared) -> None:
    pe = PeFormat()
    patch = sealed(view, pe.embed(prepared, (ENVELOPE,)))
    signed = Patched(view, patch)
    again = pe.prepare(signed, (), OPTIONS)
    assert again.operations == prepared.operations
    assert PeReader().recognizes(signed)
