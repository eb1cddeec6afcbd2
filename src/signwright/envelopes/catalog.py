# SPDX-License-Identifier: Apache-2.0
"""Template ``authenticode-catalog``: CMS over a Windows catalog, a certificate trust list (CTL) of files' digests.

No specification describes catalogs; the form is that of catalogs which MakeCat wrote and of those that Windows ships
(``docs/formats/catalog.md``). Parameters: ``description`` and ``url`` (optional, shown by Windows).

The operation's digest is of the content octets of the list, without tag and length (RFC 2315 9.3), which must be seen:
whoever signs a catalog signs every file in it, and whoever signs something else must not sign a catalog.
"""

from __future__ import annotations

from itertools import islice

from signwright.envelopes import cms, der, opus
from signwright.envelopes.base import SignerContext, ToBeSigned
from signwright.envelopes.parameters import check_known
from signwright.errors import MalformedError
from signwright.model.operation import Operation

TRUST_LIST = "1.3.6.1.4.1.311.10.1"
_CATALOG_LIST = der.oid("1.3.6.1.4.1.311.12.1.1")
#: AlgorithmIdentifier of the members' names: digests as text (version 1), digests (version 2).
_MEMBERS = tuple(der.oid(f"1.3.6.1.4.1.311.12.1.{version}") + der.NULL for version in (2, 3))


class Catalog:
    """Implements `signwright.envelopes.base.Template`."""

    name = "authenticode-catalog"
    family = "cms"
    purpose = "authenticode"
    formats = ("catalog",)
    timestamped = True

    def check_content(self, operation: Operation, content: bytes) -> None:
        """A list for use as a catalog, with members: what MakeCat writes, and nothing that it does not."""
        check_known(operation, self.name, opus.PARAMETERS)
        fields = list(islice(der.each(content), 7))
        wanted = [der.SEQUENCE, der.OCTET_STRING, der.UTC_TIME, der.SEQUENCE, der.SEQUENCE]
        if [field.tag for field in fields] not in (wanted, [*wanted, 0xA0]):
            raise _wrong("other fields than usage, identifier, time, algorithm, members and extensions")
        if fields[0].content != _CATALOG_LIST or fields[3].content not in _MEMBERS:
            raise _wrong("its usage or its members' algorithm is not that of a catalog")
        if not fields[4].content:
            raise _wrong("it has no members")
        for member in der.each(fields[4].content):
            _check_member(member)
        for extensions in fields[5:]:
            for extension in der.read_all(der.read_one(extensions.content, der.SEQUENCE).content):
                _parts(extension, der.OID, der.OCTET_STRING)

    def to_be_signed(self, operation: Operation, context: SignerContext) -> ToBeSigned:
        return cms.to_be_signed(self._content(operation, context), context)

    def envelope(
        self, operation: Operation, context: SignerContext, value: bytes, token: bytes | None, content: bytes = b""
    ) -> bytes:
        return opus.envelope(self._content(operation, context, der.sequence(content)), context, value, token)

    def _content(self, operation: Operation, context: SignerContext, encapsulated: bytes = b"") -> cms.SignedContent:
        return opus.signed_content(
            self.name,
            operation,
            context,
            content_type=TRUST_LIST,
            digest=operation.content_digest,
            encapsulated=encapsulated,
        )


def _check_member(member: der.Element) -> None:
    """TrustedSubject ::= SEQUENCE { OCTET STRING, SET OF Attribute }."""
    name, attributes = _parts(member, der.OCTET_STRING, der.SET)
    if not name.content:
        raise _wrong("a member has no name")
    for attribute in der.each(attributes.content):
        _parts(attribute, der.OID, der.SET)


def _parts(element: der.Element, *tags: int) -> list[der.Element]:
    parts = list(islice(der.each(element.content), len(tags) + 1)) if element.tag == der.SEQUENCE else []
    if tuple(part.tag for part in parts) != tags:
        raise _wrong("a member, an attribute or an extension is of another shape")
    return parts


def _wrong(found: str) -> MalformedError:
    return MalformedError(f"the content is no catalog: {found}", code="other-purpose")
