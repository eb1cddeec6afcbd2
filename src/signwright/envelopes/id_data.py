# SPDX-License-Identifier: Apache-2.0
"""Signatures over plain content (id-data, RFC 5652 section 4): what those of files, JARs and NuGet packages say alike.

All name the time of signing, which is the intent's, and the signer's certificate; a timestamp token stands where
RFC 3161 appendix A puts it.
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from functools import lru_cache

from signwright.envelopes import cms, der
from signwright.envelopes.base import SignerContext
from signwright.envelopes.parameters import check_known
from signwright.model.operation import Operation

SIGNING_TIME = "1.2.840.113549.1.9.5"
SIGNING_CERTIFICATE_V2 = "1.2.840.113549.1.9.16.2.47"
_RFC3161_TIMESTAMP = "1.2.840.113549.1.9.16.2.14"


@lru_cache(maxsize=64)
def signing_time(moment: datetime) -> bytes:
    return cms.attribute(SIGNING_TIME, der.time(moment))


@lru_cache(maxsize=64)
def signing_certificate_v2(certificate: bytes) -> bytes:
    """signingCertificateV2 (RFC 5035 3) with SHA-256, its default, and without the optional issuerSerial."""
    certificate_id = der.sequence(der.octet_string(hashlib.sha256(certificate).digest()))
    return cms.attribute(SIGNING_CERTIFICATE_V2, der.sequence(der.sequence(certificate_id)))


def content_beside(template: str, operation: Operation, context: SignerContext) -> cms.SignedContent:
    """Of a detached signature without parameters; the operation's digest is of the content. Raises `MalformedError`."""
    check_known(operation, template, ())
    cms.check_context(context)
    digest = operation.content_digest
    return cms.SignedContent(
        content_type=cms.DATA,
        digest=digest.algorithm,
        content_digest=digest.value,
        attributes=(signing_time(context.signing_time), signing_certificate_v2(context.chain[0])),
    )


def envelope(content: cms.SignedContent, context: SignerContext, value: bytes, token: bytes | None) -> bytes:
    """The complete structure, with the RFC 3161 token where there is one."""
    return cms.signed_data(content, context, value, cms.timestamp_attribute(_RFC3161_TIMESTAMP, token))
