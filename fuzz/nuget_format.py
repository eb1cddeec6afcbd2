# SPDX-License-Identifier: Apache-2.0
"""The NuGet writer: a package it prepares can be signed, read by the reader's zip, prepared again, and restored."""

from __future__ import annotations

import hashlib

from signwright.envelopes import cms, der
from signwright.envelopes.nuget import COMMITMENT_TYPE, PROOF_OF_ORIGIN
from signwright.errors import SignwrightError
from signwright.formats.base import Prepared
from signwright.formats.nuget import NuGetFormat, NuGetOptions
from signwright.model.patch import Patched, sealed
from signwright.model.view import BytesView
from signwright.readers.zip import read_archive

OPTIONS = NuGetOptions(existing="replace")
# Shaped like an envelope with one signer who commits to the origin; nothing in it was signed.
SIGNER = der.sequence(der.explicit(0, cms.attribute(COMMITMENT_TYPE, der.sequence(der.oid(PROOF_OF_ORIGIN)))))
ENVELOPE = der.sequence(der.oid(cms.SIGNED_DATA), der.explicit(0, der.sequence(der.set_of([SIGNER]))))


def one_input(data: bytes) -> None:
    view, nuget = BytesView(data), NuGetFormat()
    nuget.recognizes(view)
    prepared = nuget.prepare(view, (), OPTIONS)
    try:
        _sign_and_restore(view, prepared)
    except SignwrightError as problem:
        raise AssertionError("what was prepared cannot be signed") from problem


def _sign_and_restore(view: BytesView, prepared: Prepared) -> None:
    nuget = NuGetFormat()
    signed = Patched(view, sealed(view, nuget.embed(prepared, (ENVELOPE,))))
    assert read_archive(signed).entries[-1].name == b".signature.p7s"
    assert nuget.prepare(signed, (), OPTIONS).operations == prepared.operations
    patch = nuget.remove(signed)
    restored = Patched(signed, patch).read(0, patch.result_size)
    assert f"sha256:{hashlib.sha256(restored).hexdigest()}" == prepared.operations[0].digest
