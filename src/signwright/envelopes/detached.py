# SPDX-License-Identifier: Apache-2.0
"""Template ``cms-detached``: CMS of any file, the content beside it (RFC 5652 5.2, id-data). No parameters.

Signed attributes: contentType, messageDigest, signingTime (from the intent) and signingCertificateV2 (RFC 5035), which
ties the signature to one certificate of the key.
"""

from __future__ import annotations

from signwright.envelopes import cms, id_data
from signwright.envelopes.base import SignerContext, ToBeSigned
from signwright.model.operation import Operation


class CmsDetached:
    """Implements `signwright.envelopes.base.Template`; the operation's digest is of the content."""

    name = "cms-detached"
    family = "cms"
    purpose = "file"
    formats = ("cms",)
    check_content = None
    timestamped = True

    def to_be_signed(self, operation: Operation, context: SignerContext) -> ToBeSigned:
        return cms.to_be_signed(id_data.content_beside(self.name, operation, context), context)

    def envelope(
        self, operation: Operation, context: SignerContext, value: bytes, token: bytes | None, content: bytes = b""
    ) -> bytes:
        del content
        return id_data.envelope(id_data.content_beside(self.name, operation, context), context, value, token)
