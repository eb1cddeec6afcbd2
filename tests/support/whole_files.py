# SPDX-License-Identifier: Apache-2.0
"""Sign any file in process: format, template and a throwaway key, without a service around them."""

from __future__ import annotations

from signwright.envelopes.templates import template_named
from signwright.formats.base import Format
from signwright.formats.waves import sign_in_waves
from signwright.model.patch import Patched
from signwright.model.view import BytesView
from tests.support.pki import Identity


def sign_bytes(
    one: Format, content: bytes, identity: Identity, *, token: bytes | None = None, **options: object
) -> bytes:
    """The finished artifact: for a detached format, the signature file."""

    def envelopes(wave: int, prepared: object) -> list[bytes]:
        del wave
        context = identity.context()
        return [
            template_named(o.template).envelope(
                o, context, identity.sign(template_named(o.template).to_be_signed(o, context)), token
            )
            for o in prepared.operations  # type: ignore[attr-defined]
        ]

    view = BytesView(content)
    patch = sign_in_waves(one, view, chain=identity.chain, options=one.options(**options), sign=envelopes)
    return Patched(view, patch).read(0, patch.result_size)


def some_text() -> bytes:
    """A file that is of no format."""
    return b"notes, of no format\n" * 20
