# SPDX-License-Identifier: Apache-2.0
"""Template ``cms-detached``: CMS of any file, the content beside it (RFC 5652 5.2, id-data). No parameters.

Signed attributes: contentType, messageDigest, signingTime (from the intent) and signingCertificateV2 (RFC 5035), which
ties the signature to one certificate of the key.
"""

from __future__ import annotations

from signwright.envelopes import cms
from signwright.envelopes.base import SignerContext, ToBeSigned
from signwright.envelopes.parameters import check_known
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
        return cms.to_be_signed(_content(operation, context), context)

    def envelope(
        self, operation: Operation, context: SignerContext, value: bytes, token: bytes | None, content: bytes = b""
    ) -> bytes:
        del content
        unsigned = cms.timestamp_attribute(cms.RFC3161_TIMESTAMP, token)
        return cms.signed_data(_content(operation, context), context, value, unsigned)


def _content(operation: Operation, context: SignerContext) -> cms.SignedContent:
    check_known(operation, CmsDetached.name, ())
    cms.check_context(context)
    content = operation.content_digest
    return cms.SignedContent(
        content_type=cms.DATA,
        digest=content.algorithm,
        content_digest=content.value,
        attributes=(cms.signing_time(context.signing_time), cms.signing_certificate_v2(context.chain[0])),
    )
