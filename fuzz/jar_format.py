# SPDX-License-Identifier: Apache-2.0
"""The JAR writer: what it prepares can be signed, cleared and prepared again, and is the same to the strip test."""

from __future__ import annotations

from signwright.envelopes import cms, der
from signwright.envelopes.templates import template_named
from signwright.errors import SignwrightError
from signwright.formats.base import Prepared
from signwright.formats.jar import JarFormat, JarOptions
from signwright.model.patch import Patched, sealed
from signwright.model.view import BytesView, View
from signwright.readers.jar import JarReader

OPTIONS = (JarOptions(existing="replace", signer_name="FUZZ"), JarOptions(existing="append", signer_name="FUZZ"))
# Shaped like an envelope and like a certificate; nothing in them was signed.
ENVELOPE = der.sequence(der.oid(cms.SIGNED_DATA), der.explicit(0, der.sequence(b"\x02\x01\x01")))
KEY = bytes.fromhex(
    "3059301306072a8648ce3d020106082a8648ce3d030107034200046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296"
    "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5"
)
EMPTY = der.sequence()
CERTIFICATE = der.sequence(
    der.sequence(b"\x02\x01\x01", EMPTY, EMPTY, EMPTY, EMPTY, KEY), EMPTY, der.tlv(0x03, b"\0\0")
)


def one_input(data: bytes) -> None:
    view, jar = BytesView(data), JarFormat()
    jar.recognizes(view)
    for options in OPTIONS:
        prepared = jar.prepare(view, (CERTIFICATE,), options)
        try:
            _sign_and_clear(view, prepared)
        except SignwrightError as problem:
            raise AssertionError("what was prepared cannot be signed") from problem


def _sign_and_clear(view: View, prepared: Prepared) -> None:
    jar, reader = JarFormat(), JarReader()
    (operation,), (text,) = prepared.operations, prepared.contents
    check = template_named("jar").check_content
    assert check is not None
    check(operation, text)
    signed = Patched(view, sealed(view, jar.embed(Prepared.unpack(prepared.pack()), (ENVELOPE,))))
    cleared = Patched(signed, sealed(signed, jar.remove(signed)))
    digests = {reader.stripped(one) for one in (view, signed, cleared)}
    assert len(digests) == 1, "the strip test would fail"
    again = jar.prepare(signed, (CERTIFICATE,), OPTIONS[0])
    assert again.facts["entries"] == prepared.facts["entries"]
