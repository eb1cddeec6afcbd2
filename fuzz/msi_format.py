# SPDX-License-Identifier: Apache-2.0
"""The MSI writer: a file it prepares can be signed and prepared again, with the same digest (strip test)."""

from __future__ import annotations

from signwright.errors import SignwrightError
from signwright.formats.authenticode import Existing
from signwright.formats.base import Prepared
from signwright.formats.msi import MsiFormat, MsiOptions
from signwright.model.patch import Patched, sealed
from signwright.model.view import BytesView
from signwright.readers.msi import MsiReader

# Shaped like envelopes, for the mini stream and for sectors of their own; whether the content holds is the business of
# the one who made it.
SMALL = bytes.fromhex("3012 0609 2a864886f70d010702 a005 3003 020101".replace(" ", ""))
LARGE = bytes.fromhex("3082139b 0609 2a864886f70d010702 a082138c 04821388".replace(" ", "")) + bytes(5000)


def one_input(data: bytes) -> None:
    view, msi = BytesView(data), MsiFormat()
    if not msi.recognizes(view):
        return
    prepared = []
    for extended in (False, True):
        options = MsiOptions(existing=Existing.REPLACE, extended=extended)
        prepared.append((options, msi.prepare(view, (), options)))
    before = MsiReader().stripped(view)
    try:
        for options, one in prepared:
            for envelope in (SMALL, LARGE):
                assert MsiReader().stripped(_signed_and_prepared_again(view, one, options, envelope)) == before
    except SignwrightError as problem:
        raise AssertionError("what was prepared cannot be signed") from problem


def _signed_and_prepared_again(view: BytesView, prepared: Prepared, options: MsiOptions, envelope: bytes) -> Patched:
    msi = MsiFormat()
    signed = Patched(view, sealed(view, msi.embed(prepared, (envelope,))))
    assert msi.prepare(signed, (), options).operations == prepared.operations
    removed = Patched(signed, sealed(signed, msi.remove(signed)))
    assert MsiReader().stripped(removed) == MsiReader().stripped(signed)
    assert msi.prepare(removed, (), options).operations == prepared.operations
    return signed
