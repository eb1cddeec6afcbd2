# SPDX-License-Identifier: Apache-2.0
"""Template ``authenticode``: CMS over SpcIndirectDataContent.

Source: "Windows Authenticode Portable Executable Signature Format" (Microsoft, 2008).

Parameters: ``kind`` (``pe``: what the digest is of), ``description`` and ``url`` (optional, shown by Windows).

No signingTime attribute: signtool writes none, verifiers accept its absence, and Windows takes the time from the
timestamp token alone. A second, unproved time could only contradict it. No Ed25519 keys: Windows knows none.
"""

from __future__ import annotations

import re

from signwright.envelopes import cms, der
from signwright.envelopes.base import SignerContext, ToBeSigned
from signwright.envelopes.keys import KeyKind, load_public_key
from signwright.envelopes.parameters import check_known, text_parameter
from signwright.errors import MalformedError
from signwright.model.digest import Digest
from signwright.model.operation import Operation

INDIRECT_DATA = "1.3.6.1.4.1.311.2.1.4"
NESTED_SIGNATURE = "1.3.6.1.4.1.311.2.4.1"
RFC3161_TIMESTAMP = "1.3.6.1.4.1.311.3.3.1"
_PE_IMAGE_DATA = "1.3.6.1.4.1.311.2.1.15"
_OPUS_INFO = "1.3.6.1.4.1.311.2.1.12"
_STATEMENT_TYPE = "1.3.6.1.4.1.311.2.1.11"
_INDIVIDUAL_CODE_SIGNING = "1.3.6.1.4.1.311.2.1.21"

#: RFC 3986 characters only: the URL stands in an IA5String and is shown as a link.
_URL = re.compile(r"https?://[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]+")


class Authenticode:
    """Implements `signwright.envelopes.base.Template`."""

    name = "authenticode"
    family = "cms"
    purpose = "authenticode"
    formats = ("pe",)
    derived_parameters = ("kind",)
    timestamped = True

    def to_be_signed(self, operation: Operation, context: SignerContext) -> ToBeSigned:
        return cms.to_be_signed(_content(operation, context), context)

    def envelope(
        self, operation: Operation, context: SignerContext, signature_value: bytes, timestamp_token: bytes | None
    ) -> bytes:
        unsigned = cms.timestamp_attribute(RFC3161_TIMESTAMP, timestamp_token)
        return cms.signed_data(_content(operation, context), context, signature_value, unsigned)


def _content(operation: Operation, context: SignerContext) -> cms.SignedContent:
    check_known(operation, Authenticode.name, ("kind", "description", "url"))
    if load_public_key(context.public_key)[0] is KeyKind.ED25519:
        raise MalformedError("Authenticode knows RSA and ECDSA keys, found Ed25519", code="bad-key")
    content = operation.content_digest
    indirect = indirect_data(operation)
    # PKCS #7 v1.5 digests the content octets of the value, without its tag and length (RFC 2315 9.3).
    octets = der.read_one(indirect, der.SEQUENCE).content
    return cms.SignedContent(
        content_type=INDIRECT_DATA,
        digest=content.algorithm,
        content_digest=Digest.of(octets, content.algorithm).value,
        attributes=(
            cms.attribute(_STATEMENT_TYPE, der.sequence(der.oid(_INDIVIDUAL_CODE_SIGNING))),
            cms.attribute(_OPUS_INFO, _opus_info(operation)),
        ),
        encapsulated=indirect,
        digest_null=True,
    )


def indirect_data(operation: Operation) -> bytes:
    """DER SpcIndirectDataContent that binds the operation's digest to its kind of file."""
    kind = text_parameter(operation, "kind")
    if kind != "pe":
        raise MalformedError(f"parameter 'kind' wants 'pe', found {kind!r}", code="bad-parameter")
    # The specification fixes the file name of SpcPeImageData to this text.
    obsolete = der.tlv(0xA2, der.implicit(0, der.bmp_content("<<<Obsolete>>>")))
    image = der.sequence(der.tlv(der.BIT_STRING, b"\x00"), der.explicit(0, obsolete))
    content = operation.content_digest
    digest_info = der.sequence(cms.digest_algorithm(content.algorithm, null=True), der.octet_string(content.value))
    return der.sequence(der.sequence(der.oid(_PE_IMAGE_DATA), image), digest_info)


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
