# SPDX-License-Identifier: Apache-2.0
"""What every signature that Windows reads says besides the content: statement type, description and URL.

Source: "Windows Authenticode Portable Executable Signature Format" (Microsoft, 2008), SpcSpOpusInfo and
SpcStatementType. Shared by the templates ``authenticode-…``, of files and of catalogs.
"""

from __future__ import annotations

import re

from signwright.envelopes import cms, der
from signwright.envelopes.base import SignerContext
from signwright.envelopes.keys import KeyKind, load_public_key
from signwright.envelopes.parameters import check_known, text_parameter
from signwright.errors import MalformedError
from signwright.model.digest import Digest
from signwright.model.operation import Operation

PARAMETERS = ("description", "url")
_RFC3161_TIMESTAMP = "1.3.6.1.4.1.311.3.3.1"
_OPUS_INFO = "1.3.6.1.4.1.311.2.1.12"
_STATEMENT_TYPE = "1.3.6.1.4.1.311.2.1.11"
_INDIVIDUAL_CODE_SIGNING = "1.3.6.1.4.1.311.2.1.21"
#: RFC 3986 characters only: the URL stands in an IA5String and is shown as a link.
_URL = re.compile(r"https?://[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]+")


def signed_content(
    template: str,
    operation: Operation,
    context: SignerContext,
    *,
    content_type: str,
    digest: Digest,
    encapsulated: bytes = b"",
) -> cms.SignedContent:
    """``digest``: of the content octets of ``encapsulated``, which is empty where only the bytes to be signed are
    wanted. Raises `MalformedError` for another template's operation, a parameter that is not known, an Ed25519 key.
    """
    check_known(operation, template, PARAMETERS)
    if load_public_key(context.public_key)[0] is KeyKind.ED25519:
        raise MalformedError("Authenticode knows RSA and ECDSA keys, found Ed25519", code="bad-key")
    return cms.SignedContent(
        content_type=content_type,
        digest=digest.algorithm,
        content_digest=digest.value,
        attributes=(
            cms.attribute(_STATEMENT_TYPE, der.sequence(der.oid(_INDIVIDUAL_CODE_SIGNING))),
            cms.attribute(_OPUS_INFO, _opus_info(operation)),
        ),
        encapsulated=encapsulated,
        digest_null=True,
    )


def envelope(content: cms.SignedContent, context: SignerContext, value: bytes, token: bytes | None) -> bytes:
    """The complete structure, with the RFC 3161 token where Windows looks for it."""
    return cms.signed_data(content, context, value, cms.timestamp_attribute(_RFC3161_TIMESTAMP, token))


def _opus_info(operation: Operation) -> bytes:
    """SpcSpOpusInfo: programName [0] as BMPString, moreInfo [1] as URL; both optional."""
    description, url = text_parameter(operation, "description"), text_parameter(operation, "url")
    if url is not None and not _URL.fullmatch(url):
        raise MalformedError(
            f"parameter 'url' wants an http or https URL in ASCII, found {url!r}", code="bad-parameter"
        )
    name = der.explicit(0, der.implicit(0, der.bmp_content(description))) if description else b""
    link = der.explicit(1, der.implicit(0, url.encode("ascii"))) if url else b""
    return der.sequence(name, link)
