# SPDX-License-Identifier: Apache-2.0
"""Content that is the signed content of another purpose.

A raw signature of CMS attributes is a CMS signature, and one of an SpcIndirectDataContent is an old PKCS #7 signature
without attributes. Looked at is the shape, never a digest or a name: of encodings the head, whatever follows, so that
nothing can be hidden behind a large first element; of text the first two sections, whatever their length.
"""

from __future__ import annotations

from signwright.errors import FormatError
from signwright.formats.first_sections import FirstSections
from signwright.model.view import View

_HEAD = 4 << 10
_SEQUENCE, _SET, _CONTEXT_0, _OID, _INTEGER = 0x30, 0x31, 0xA0, 0x06, 0x02
#: 1.3.6.1.4.1.311, below which Microsoft names kinds of indirect data and usages of trust lists.
_MICROSOFT = bytes.fromhex("2b060104018237")


class OtherPurposes:
    """Refuses content that is signed content of another purpose: CMS signed attributes (RFC 5652 5.4),
    SpcIndirectDataContent and certificate trust lists, among them catalogs (Authenticode), ``.SF`` files (JAR), NuGet
    signature text. `take` gets every block of the content in order, then `refuse` is called.
    """

    def __init__(self, view: View) -> None:
        self._encoded = _encoded_purpose(view.read(0, min(view.size, _HEAD)))
        self._text = FirstSections()
        self.take = self._text.take

    def refuse(self) -> None:
        """Raise `FormatError` (``other-purpose``)."""
        purpose = self._encoded or self._text.purpose
        if purpose is not None:
            raise FormatError(
                f"the content is {purpose}, which only the format that it belongs to may sign", code="other-purpose"
            )


def _encoded_purpose(head: bytes) -> str | None:
    if _begins_attribute_set(head):
        return "a set of CMS attributes"
    if _first_oid(head).startswith(_MICROSOFT):
        return "Authenticode indirect data or a certificate trust list"
    return None


def _inside(head: bytes, at: int) -> int:
    """Where the content of the element at ``at`` begins; any form of length, because verifiers read more than DER."""
    length = head[at + 1] if at + 1 < len(head) else 0
    return at + 2 + (length & 0x7F if length > 0x80 else 0)


def _tag(head: bytes, at: int) -> int | None:
    return head[at] if at < len(head) else None


def _begins_attribute_set(head: bytes) -> bool:
    """SET OF (or [0], as stored) whose first element is SEQUENCE { OBJECT IDENTIFIER, SET }: RFC 5652 5.3 Attribute."""
    if _tag(head, 0) not in (_SET, _CONTEXT_0):
        return False
    at = _inside(head, 0)
    if _tag(head, at) != _SEQUENCE:
        return False
    at = _inside(head, at)
    if _tag(head, at) != _OID:
        return False
    length = _tag(head, at + 1) or 0
    return length < 0x80 and _tag(head, at + 2 + length) == _SET


def _first_oid(head: bytes) -> bytes:
    """Content of the OBJECT IDENTIFIER that stands first within one to three SEQUENCEs, behind at most one version."""
    at, depth = 0, 0
    while depth < 3 and _tag(head, at) == _SEQUENCE:
        at, depth = _inside(head, at), depth + 1
        if head[at : at + 2] == bytes((_INTEGER, 1)):
            at += 3
    if not depth or _tag(head, at) != _OID:
        return b""
    start = _inside(head, at)
    return head[start : start + (_tag(head, at + 1) or 0)]
