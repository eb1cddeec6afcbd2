# SPDX-License-Identifier: Apache-2.0
"""The writers of scripts: what is prepared can be signed, read and prepared again, with the same digest."""

from __future__ import annotations

import contextlib
from itertools import product

from signwright.errors import FormatError, SignwrightError
from signwright.formats.authenticode import Existing
from signwright.formats.powershell import POWERSHELL
from signwright.formats.windows_script import JSCRIPT, VBSCRIPT, WSF
from signwright.model.patch import Patched, sealed
from signwright.model.view import BytesView
from signwright.readers import scripts
from signwright.readers.script import ScriptReader

# Shaped like an envelope; whether its content holds is the business of the one who made it.
ENVELOPE = bytes.fromhex("3012 0609 2a864886f70d010702 a005 3003 020101".replace(" ", ""))

PAIRS = (
    (POWERSHELL, scripts.POWERSHELL),
    (VBSCRIPT, scripts.VBSCRIPT),
    (JSCRIPT, scripts.JSCRIPT),
    (WSF, scripts.WSF),
)


def one_input(data: bytes) -> None:
    view = BytesView(data)
    for (one, reader), convert in product(PAIRS, (False, True)):
        one.recognizes(view)
        with contextlib.suppress(FormatError):
            one.remove(view)
        options = one.options.model_validate({"existing": Existing.REPLACE, "convert": convert})
        try:
            prepared = one.prepare(view, (), options)
        except FormatError:
            continue
        try:
            signed = Patched(view, sealed(view, one.embed(prepared, (ENVELOPE,))))
            again = one.prepare(signed, (), options)
            left = Patched(signed, sealed(signed, one.remove(signed)))
        except SignwrightError as problem:
            raise AssertionError("what was prepared cannot be signed, or not removed") from problem
        assert again.operations == prepared.operations
        assert reader.recognizes(signed)
        _check_source(reader, view, left, convert=convert)


def _check_source(reader: ScriptReader, view: BytesView, left: Patched, *, convert: bool) -> None:
    """Without conversion the source comes back unless it was signed before; the strip test agrees in any case."""
    after = reader.read(left)
    assert after.signatures == ()
    try:
        before = reader.read(view)
    except SignwrightError:
        return  # a block is there that holds no signature
    assert before.stripped_sha256 == after.stripped_sha256
    assert convert or not after.warnings
