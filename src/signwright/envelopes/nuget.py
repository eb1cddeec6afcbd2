# SPDX-License-Identifier: Apache-2.0
"""Template ``nuget``: the author's signature of a NuGet package. No parameters.

Sources: "NuGet Package Signatures Technical Specification" (NuGet), RFC 5126 5.7.3.2 and 5.11.1, RFC 5035 3.

The signed content is text that is built here from the digest of the package without its signature: nobody hands it in.
NuGet takes RSA keys alone, so another key is refused: its signature would hold nowhere.
"""

from __future__ import annotations

import base64
import hashlib

from signwright.envelopes import cms, der, id_data
from signwright.envelopes.base import SignerContext, ToBeSigned
from signwright.envelopes.keys import KeyKind, load_public_key
from signwright.envelopes.parameters import check_known
from signwright.errors import MalformedError
from signwright.model.digest import Digest
from signwright.model.operation import Operation

COMMITMENT_TYPE = "1.2.840.113549.1.9.16.2.16"
#: Who commits to the origin is the author; a repository commits to the receipt (…6.2), which is not signed here.
PROOF_OF_ORIGIN = "1.2.840.113549.1.9.16.6.1"


class NuGet:
    """Implements `signwright.envelopes.base.Template`; the operation's digest is of the package without signature."""

    name = "nuget"
    family = "cms"
    purpose = "nuget"
    formats = ("nuget",)
    check_content = None
    timestamped = True

    def to_be_signed(self, operation: Operation, context: SignerContext) -> ToBeSigned:
        return cms.to_be_signed(_content(operation, context), context)

    def envelope(
        self, operation: Operation, context: SignerContext, value: bytes, token: bytes | None, content: bytes = b""
    ) -> bytes:
        del content
        return id_data.envelope(_content(operation, context), context, value, token)


def signature_text(package: Digest) -> bytes:
    """The content of a package signature: its version and the digest of the package, two sections of one line each."""
    value = base64.b64encode(package.value).decode()
    return f"Version:1\n\n{cms.DIGESTS[package.algorithm]}-Hash:{value}\n\n".encode()


def _content(operation: Operation, context: SignerContext) -> cms.SignedContent:
    check_known(operation, NuGet.name, ())
    if load_public_key(context.public_key)[0] is not KeyKind.RSA:
        raise MalformedError("NuGet knows RSA keys alone", code="bad-key")
    cms.check_context(context)
    package = operation.content_digest
    text = signature_text(package)
    return cms.SignedContent(
        content_type=cms.DATA,
        digest=package.algorithm,
        content_digest=Digest.of(text, package.algorithm).value,
        attributes=(
            id_data.signing_time(context.signing_time),
            cms.attribute(COMMITMENT_TYPE, der.sequence(der.oid(PROOF_OF_ORIGIN))),
            _signing_certificate(context.chain[0]),
        ),
        encapsulated=der.octet_string(text),
    )


def _signing_certificate(certificate: bytes) -> bytes:
    """signingCertificateV2 of the signer's certificate alone, with issuerSerial, which NuGet demands."""
    parts = der.split_certificate(certificate)
    issuer = der.sequence(der.explicit(4, parts.issuer))  # GeneralNames { directoryName [4] }
    digest = der.octet_string(hashlib.sha256(certificate).digest())
    certificate_id = der.sequence(digest, der.sequence(issuer, parts.serial))
    return cms.attribute(id_data.SIGNING_CERTIFICATE_V2, der.sequence(der.sequence(certificate_id)))
