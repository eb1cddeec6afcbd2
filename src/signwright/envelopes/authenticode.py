# SPDX-License-Identifier: Apache-2.0
"""Templates ``authenticode-…``: CMS over SpcIndirectDataContent, one for each kind of file.

Source: "Windows Authenticode Portable Executable Signature Format" (Microsoft, 2008).

Parameters: ``description`` and ``url`` (optional, shown by Windows).

No signingTime attribute: signtool writes none, verifiers accept its absence, and Windows takes the time from the
timestamp token alone. A second, unproved time could only contradict it. No Ed25519 keys: Windows knows none.
"""

from __future__ import annotations

import re

from signwright.envelopes import cms, der
from signwright.envelopes.base import SignerContext, ToBeSigned
from signwright.envelopes.indirect_data import INDIRECT_DATA, indirect_data
from signwright.envelopes.keys import KeyKind, load_public_key
from signwright.envelopes.parameters import check_known, text_parameter
from signwright.errors import MalformedError
from signwright.model.digest import Digest
from signwright.model.operation import Operation

NESTED_SIGNATURE = "1.3.6.1.4.1.311.2.4.1"
RFC3161_TIMESTAMP = "1.3.6.1.4.1.311.3.3.1"
_OPUS_INFO = "1.3.6.1.4.1.311.2.1.12"
_STATEMENT_TYPE = "1.3.6.1.4.1.311.2.1.11"
_INDIVIDUAL_CODE_SIGNING = "1.3.6.1.4.1.311.2.1.21"

#: RFC 3986 characters only: the URL stands in an IA5String and is shown as a link.
_URL = re.compile(r"https?://[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]+")


class Authenticode:
    """Implements `signwright.envelopes.base.Template` for one ``kind`` of `indirect_data.KINDS`, which is also the name
    of its format: a signature of one kind of file never holds for another.
    """

    family = "cms"
    purpose = "authenticode"
    check_content = None
    timestamped = True

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self.name = f"authenticode-{kind}"
        self.formats = (kind,)

    def to_be_signed(self, operation: Operation, context: SignerContext) -> ToBeSigned:
        return cms.to_be_signed(self._content(operation, context), context)

    def envelope(
        self, operation: Operation, context: SignerContext, value: bytes, token: bytes | None, content: bytes = b""
    ) -> bytes:
        del content
        unsigned = cms.timestamp_attribute(RFC3161_TIMESTAMP, token)
        return cms.signed_data(self._content(operation, context), context, value, unsigned)

    def _content(self, operation: Operation, context: SignerContext) -> cms.SignedContent:
        check_known(operation, self.name, ("description", "url"))
        if load_public_key(context.public_key)[0] is KeyKind.ED25519:
            raise MalformedError("Authenticode knows RSA and ECDSA keys, found Ed25519", code="bad-key")
        content = operation.content_digest
        indirect = indirect_data(self._kind, content)
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
