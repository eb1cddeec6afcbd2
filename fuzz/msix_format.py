# SPDX-License-Identifier: Apache-2.0
"""The MSIX writer: a package it prepares can be signed, read by the reader's zip, prepared again, and restored."""

from __future__ import annotations

from signwright.envelopes import cms, der
from signwright.errors import SignwrightError
from signwright.formats.base import Prepared
from signwright.formats.msix import MsixFormat, MsixOptions
from signwright.model.patch import Patched, sealed
from signwright.model.view import BytesView
from signwright.readers.msix import MsixReader

OPTIONS = MsixOptions(existing="replace")
# Shaped like an envelope; nothing in it was signed.
ENVELOPE = der.sequence(der.oid(cms.SIGNED_DATA), der.explicit(0, der.sequence(der.integer(1))))


def _name(kind: str, text: str) -> bytes:
    return der.set_of([der.sequence(der.oid(kind), der.tlv(0x0C, text.encode()))])


def _certificate() -> bytes:
    """Shaped like a certificate of the publisher of the packages in the corpus."""
    subject = der.sequence(_name("2.5.4.10", "Throwaway test"), _name("2.5.4.3", "Example Software"))
    none = der.sequence()
    return der.sequence(der.sequence(der.integer(1), none, subject, none, subject, none), none, der.tlv(3, b"\0"))


CHAIN = (_certificate(),)


def one_input(data: bytes) -> None:
    view, msix = BytesView(data), MsixFormat()
    msix.recognizes(view)
    prepared = msix.prepare(view, CHAIN, OPTIONS)
    try:
        _sign_and_restore(view, prepared)
    except SignwrightError as problem:
        raise AssertionError("what was prepared cannot be signed") from problem


def _sign_and_restore(view: BytesView, prepared: Prepared) -> None:
    msix, reader = MsixFormat(), MsixReader()
    signed = Patched(view, sealed(view, msix.embed(prepared, (ENVELOPE,))))
    assert reader.stripped(signed) == reader.stripped(view)
    assert msix.prepare(signed, CHAIN, OPTIONS).operations == prepared.operations
    restored = Patched(signed, sealed(signed, msix.remove(signed)))
    assert reader.stripped(restored) == reader.stripped(view)
