# SPDX-License-Identifier: Apache-2.0
"""Templates ``authenticode-…``: CMS over SpcIndirectDataContent, one for each kind of file.

Source: "Windows Authenticode Portable Executable Signature Format" (Microsoft, 2008).

Parameters: ``description`` and ``url`` (optional, shown by Windows).

No signingTime attribute: signtool writes none, verifiers accept its absence, and Windows takes the time from the
timestamp token alone. A second, unproved time could only contradict it. No Ed25519 keys: Windows knows none.
"""

from __future__ import annotations

from signwright.envelopes import cms, der, opus
from signwright.envelopes.base import SignerContext, ToBeSigned
from signwright.envelopes.indirect_data import (
    INDIRECT_DATA,
    PAGE_ROW,
    indirect_data,
    indirect_data_of_package,
    indirect_data_with_pages,
)
from signwright.errors import LimitError, MalformedError
from signwright.model.digest import Digest
from signwright.model.operation import Operation

NESTED_SIGNATURE = "1.3.6.1.4.1.311.2.4.1"
#: Members, directory, [Content_Types].xml, block map and, where there is one, catalog of a package.
_MARKS = [b"AXPC", b"AXCD", b"AXCT", b"AXBM", b"AXCI"]

#: A table of page hashes with what stands around it; a certificate table is not read beyond it.
_MAX_PAGES = 1 << 20


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
        return opus.envelope(self._content(operation, context), context, value, token)

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
        return opus.envelope(
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
    return opus.signed_content(
        name, operation, context, content_type=INDIRECT_DATA, digest=digest, encapsulated=indirect
    )
