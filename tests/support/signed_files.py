# SPDX-License-Identifier: Apache-2.0
"""Sign a file in memory with a throwaway key: format, template, key, template, format, as the cycle does."""

from __future__ import annotations

from signwright.envelopes.base import check_seen
from signwright.envelopes.templates import template_named
from signwright.formats.base import Format, Prepared
from signwright.formats.waves import sign_in_waves
from signwright.model.operation import Operation
from signwright.model.patch import Patch, Patched
from signwright.model.view import BytesView, View
from tests.support.pki import Identity, default_pki


def identity(key_type: str = "p256") -> Identity:
    """The code-signing key and certificate that tests of formats share."""
    return default_pki().code_signing(key_type)


def envelope_of(
    operation: Operation, signer: Identity, timestamp_token: bytes | None = None, content: bytes = b""
) -> bytes:
    """What the cycle does with one operation: template, key, template."""
    template, context = template_named(operation.template), signer.context()
    if template.check_content is not None:
        check_seen(template, operation, content)
    value = signer.sign(template.to_be_signed(operation, context))
    return template.envelope(operation, context, value, timestamp_token, content)


def sign_view(
    one: Format, view: View, signer: Identity | None = None, *, token: bytes | None = None, **options: object
) -> Patch:
    """The sealed patch; the prepared state goes through JSON as it does between processes."""
    signer = signer or identity()

    def sign(wave: int, prepared: Prepared) -> list[bytes]:
        del wave
        contents = list(prepared.contents)
        seen = [template_named(o.template).check_content is not None for o in prepared.operations]
        return [
            envelope_of(operation, signer, token, contents.pop(0) if has_content else b"")
            for operation, has_content in zip(prepared.operations, seen, strict=True)
        ]

    return sign_in_waves(_Plain(one), view, chain=signer.chain, options=one.options.model_validate(options), sign=sign)


def sign(one: Format, source: bytes, signer: Identity | None = None, **options: object) -> bytes:
    """The signed file."""
    view = BytesView(source)
    result = Patched(view, sign_view(one, view, signer, **options))
    return result.read(0, result.size)


class _Plain:
    """A format whose `Prepared` was written and read again."""

    def __init__(self, one: Format) -> None:
        self._one = one

    def __getattr__(self, name: str) -> object:
        return getattr(self._one, name)

    def prepare(self, *arguments: object) -> Prepared:
        prepared = self._one.prepare(*arguments)  # type: ignore[arg-type]
        return Prepared.unpack(prepared.pack())
