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
from signwright.envelopes.indirect_data import (
    INDIRECT_DATA,
    PAGE_ROW,
    indirect_data,
    indirect_data_of_package,
    indirect_data_with_pages,
)
from signwright.envelopes.keys import KeyKind, load_public_key
from signwright.envelopes.parameters import check_known, text_parameter
from signwright.errors import LimitError, MalformedError
from signwright.model.digest import Digest
from signwright.model.operation import Operation

NESTED_SIGNATURE = "1.3.6.1.4.1.311.2.4.1"
RFC3161_TIMESTAMP = "1.3.6.1.4.1.311.3.3.1"
_OPUS_INFO = "1.3.6.1.4.1.311.2.1.12"
_STATEMENT_TYPE = "1.3.6.1.4.1.311.2.1.11"
_INDIVIDUAL_CODE_SIGNING = "1.3.6.1.4.1.311.2.1.21"
#: Members, directory, [Content_Types].xml, block map and, where there is one, catalog of a package.
_MARKS = [b"AXPC", b"AXCD", b"AXCT", b"AXBM", b"AXCI"]

#: A table of page hashes with what stands around it; a certificate table is not read beyond it.
_MAX_PAGES = 1 << 20
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
        return _envelope(self._content(operation, context), context, value, token)

    def _content(self, operation: Operation, context: SignerContext) -> cms.SignedContent:
        digest = operation.content_digest
        indirect = indirect_data(self._kind, digest)
        return _signed(self.name, operation, context, Digest.of(octets(indirect), digest.algorithm), indirect)


class _Seen:
    """A SpcIndirectDataContent that must be seen: the operation's digest is of its content octets."""

    name: str
    family = "cms"
    purpose = "authenticode"
    timestamped = True

    def to_be_signed(self, operation: Operation, context: SignerContext) -> ToBeSigned:
        return cms.to_be_signed(_signed(self.name, operation, context, operation.content_digest), context)

    def envelope(
        self, operation: Operation, context: SignerContext, value: bytes, token: bytes | None, content: bytes = b""
    ) -> bytes:
        indirect = der.sequence(content)
        return _envelope(
            _signed(self.name, operation, context, operation.content_digest, indirect), context, value, token
        )


class AuthenticodePages(_Seen):
    """Implements `signwright.envelopes.base.Template` for a PE with page hashes in what is signed."""

    name = "authenticode-pe-pages"
    formats = ("pe",)

    def check_content(self, operation: Operation, content: bytes) -> None:
        """What is written here for the image digest and the rows in it, and these are rows of pages."""
        if len(content) > _MAX_PAGES:
            raise LimitError(f"page hashes of {len(content)} bytes, at most {_MAX_PAGES}", code="too-large")
        rows, value = _inside(content, 0, 1, 1, 0, 1, 0, 0, 1, 0), _inside(content, 1, 1)
        image = Digest(operation.content_digest.algorithm, value)
        if octets(indirect_data_with_pages(image, rows)) != content:
            raise MalformedError("page hashes: in another form than they are written", code="other-purpose")
        if len(rows) < 2 * PAGE_ROW or len(rows) % PAGE_ROW or any(rows[:4]) or any(rows[-PAGE_ROW + 4 :]):
            raise MalformedError("page hashes: no rows of pages from 0 on, with an end", code="other-purpose")


class AuthenticodePackage(_Seen):
    """Implements `signwright.envelopes.base.Template` for one ``kind`` of `indirect_data.PACKAGE_KINDS`, in whose
    signature stand several digests: of the zip's members, its directory, and three or four files in it.
    """

    formats = ("msix",)

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self.name = f"authenticode-{kind}"

    def check_content(self, operation: Operation, content: bytes) -> None:
        """What is written here for the digests in it, which are those of a package and in their order."""
        algorithm, digests = operation.content_digest.algorithm, _inside(content, 1, 1)
        if octets(indirect_data_of_package(self._kind, algorithm, digests)) != content:
            raise MalformedError("package: in another form than it is written", code="other-purpose")
        size = 4 + len(operation.content_digest.value)
        marks = [digests[at : at + 4] for at in range(4, len(digests), size)]
        if digests[:4] != b"APPX" or len(digests) != 4 + size * len(marks) or marks not in (_MARKS, _MARKS[:-1]):
            raise MalformedError("package: not the digests of one", code="other-purpose")


def octets(indirect: bytes) -> bytes:
    """What PKCS #7 v1.5 digests: the content octets of the value, without its tag and length (RFC 2315 9.3)."""
    return der.read_one(indirect, der.SEQUENCE).content


def _inside(content: bytes, *path: int) -> bytes:
    """Content octets of the element that ``path`` leads to, by its number at each depth."""
    for number in path:
        elements = der.read_all(content)
        if number >= len(elements):
            raise MalformedError("signed content: an element is missing", code="other-purpose")
        content = elements[number].content
    return content


def _signed(
    name: str, operation: Operation, context: SignerContext, digest: Digest, indirect: bytes = b""
) -> cms.SignedContent:
    check_known(operation, name, ("description", "url"))
    if load_public_key(context.public_key)[0] is KeyKind.ED25519:
        raise MalformedError("Authenticode knows RSA and ECDSA keys, found Ed25519", code="bad-key")
    return cms.SignedContent(
        content_type=INDIRECT_DATA,
        digest=digest.algorithm,
        content_digest=digest.value,
        attributes=(
            cms.attribute(_STATEMENT_TYPE, der.sequence(der.oid(_INDIVIDUAL_CODE_SIGNING))),
            cms.attribute(_OPUS_INFO, _opus_info(operation)),
        ),
        encapsulated=indirect,
        digest_null=True,
    )


def _envelope(content: cms.SignedContent, context: SignerContext, value: bytes, token: bytes | None) -> bytes:
    return cms.signed_data(content, context, value, cms.timestamp_attribute(RFC3161_TIMESTAMP, token))


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
