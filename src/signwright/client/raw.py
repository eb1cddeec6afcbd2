# SPDX-License-Identifier: Apache-2.0
"""Raw signatures (a bare value, no structure): they name no key, so the receipt's key is the one that must hold."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass

from signwright.errors import VerificationError
from signwright.model.base64text import strict_base64
from signwright.model.view import View
from signwright.policy.documents import Keys
from signwright.readers.base import Reading
from signwright.readers.raw import RawReader
from signwright.statements.bundle import ReceiptBundle, open_envelope
from signwright.statements.models import parse_statement
from signwright.statements.parse import MAX_DOCUMENT, parse_model
from signwright.statements.receipt import Receipt


def key_of(bundle: ReceiptBundle | None) -> bytes:
    """DER SubjectPublicKeyInfo of the receipt's key, from the bundle's policy; raises `VerificationError` without one.

    Nothing is trusted yet: the digest is compared with the receipt, and the receipt's signature is checked elsewhere.
    """
    if bundle is None or bundle.authorisation is None:
        raise VerificationError(
            "a raw signature names no key, and there is no full receipt that does",
            code="no-key",
            hint="--receipt FILE, not in its shareable form; or --public-key FILE",
        )
    wanted = parse_statement(open_envelope(bundle.receipt), Receipt).predicate.key
    document = strict_base64(bundle.authorisation.documents.get("keys", ""))
    for key in parse_model(Keys, document, limit=MAX_DOCUMENT).keys.values():
        public_key = base64.b64decode(key.public_key)
        if hashlib.sha256(public_key).hexdigest() == wanted:
            return public_key
    raise VerificationError("the receipt's key is not among the keys of its policy", code="no-key")


@dataclass(frozen=True, slots=True)
class ReceiptKeyReader:
    """Reads raw signatures like `signwright.readers.base.Reader`, with ``public_key`` (DER SubjectPublicKeyInfo) or,
    without one, the key that the receipt names.
    """

    bundle: ReceiptBundle | None
    public_key: bytes | None = None
    name: str = "raw"

    def read(self, view: View, content: View | None = None) -> Reading:
        return RawReader(self.public_key or key_of(self.bundle)).read(view, content)
