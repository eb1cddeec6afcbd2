# SPDX-License-Identifier: Apache-2.0
"""Template ``raw``: the signature value and nothing else (RSA PKCS #1 v1.5, RFC 8017 8.2; ECDSA as DER). No parameters.

The key gets the digest, so an Ed25519 key, which signs the message itself, cannot serve it. A raw key signs nothing but
raw: a raw signature of DER attributes would be a CMS signature.
"""

from __future__ import annotations

from signwright.envelopes.base import SignerContext, ToBeSigned
from signwright.envelopes.keys import KeyKind, check_signature_value, load_public_key
from signwright.envelopes.parameters import check_known
from signwright.errors import MalformedError
from signwright.model.operation import Operation


class Raw:
    """Implements `signwright.envelopes.base.Template`; the operation's digest is of the content."""

    name = "raw"
    family = "raw"
    purpose = "raw"
    formats = ("raw",)
    check_content = None
    timestamped = False

    def to_be_signed(self, operation: Operation, context: SignerContext) -> ToBeSigned:
        check_known(operation, self.name, ())
        kind, _ = load_public_key(context.public_key)
        if kind is KeyKind.ED25519:
            raise MalformedError("an Ed25519 key signs messages, the raw template has only a digest", code="bad-key")
        content = operation.content_digest
        return ToBeSigned(content.value, content.algorithm, prehashed=True)

    def envelope(
        self, operation: Operation, context: SignerContext, value: bytes, token: bytes | None, content: bytes = b""
    ) -> bytes:
        del content
        signed = self.to_be_signed(operation, context)
        if token is not None:
            raise MalformedError("a raw signature has no place for a timestamp token", code="bad-operation")
        check_signature_value(context.public_key, signed, value)
        return value
